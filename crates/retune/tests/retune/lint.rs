//! `retune data lint` and the template gate.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::program::{Folder, lines, model, row};

/// The rows of each finding.
fn findings(report: &str) -> BTreeMap<String, Vec<u64>> {
    let report: Value = serde_json::from_str(report).expect("JSON");
    let findings = report["findings"].as_array().expect("findings").iter();
    findings
        .map(|finding| {
            let rows = finding["rows"].as_array().expect("rows").iter();
            let rows = rows
                .map(|row| row["row"].as_u64().expect("a number"))
                .collect();
            (finding["rule"].as_str().expect("a name").to_owned(), rows)
        })
        .collect()
}

#[test]
fn each_fault_is_found_where_it_stands() {
    let folder = Folder::new();
    let clean = "花园里的海棠昨夜开了,今早落了一地。";
    let mut rows = vec![
        row("园中可好?", clean),
        row("园中可好?", clean),
        row("园中可好?", "花谢了,园丁说要等到来年春天才会再开。"),
        row("天气如何?", ""),
        row("", "问也不问,便有了这一句回答。"),
        row("茶呢?", "好。"),
        row("信上说什么?", "浣犲ソ锛屾垜鏄洯涓�"),
        row("写一段。", "第一行<br>第二行<b>粗体</b>"),
        row("谁?", "我是{{name}},在园中看守。"),
        row("电话?", "打我的手机13812345678便可。"),
        row("标记?", "说完了便止<|eot_id|>"),
        row("自己的标记?", "说完了便止<|im_end|>"),
        row("零宽?", "看\u{200b}不\u{200b}见的字也在这里。\u{7}"),
        row(
            "循环?",
            "又是一年春好处又是一年春好处又是一年春好处又是一年春好处",
        ),
        row("长话?", &"说来话长,".repeat(40)),
    ];
    rows.push(json!({"instruction": "缺", "input": "", "output": 5}));
    let mut text = lines(&rows);
    text.push_str("{\"instruction\": \"断\n");
    folder.write("train.jsonl", &text);
    folder.write(
        "val.jsonl",
        &lines(&[
            row("茶呢?", "已经沏好了,请慢用。"),
            row("别的?", "没有了。"),
        ]),
    );
    let report = folder.outcome(&[
        "data",
        "lint",
        "train.jsonl",
        "--validation",
        "val.jsonl",
        "--model",
        &model(),
        "--json",
        "--ignore",
        "length-skew",
    ]);
    assert!(report.starts_with("exit 1\n"), "{report}");
    let json = report
        .split("--- stdout\n")
        .nth(1)
        .unwrap()
        .split("--- stderr")
        .next()
        .unwrap();
    let found = findings(json);
    let expected = [
        ("conflicting-answers", vec![1, 2, 3]),
        ("control-character", vec![13]),
        ("empty-answer", vec![4]),
        ("empty-prompt", vec![5]),
        ("exact-duplicate", vec![2]),
        ("foreign-marker", vec![11]),
        ("html", vec![8]),
        ("leakage", vec![]),
        ("mojibake", vec![7]),
        ("over-long", vec![15]),
        ("own-marker", vec![12]),
        ("personal-data", vec![10]),
        ("placeholder", vec![9]),
        ("repetitive-answer", vec![14, 15]),
        ("short-answer", vec![6]),
        ("unreadable-row", vec![16, 17]),
    ];
    let expected = expected.map(|(rule, rows)| (rule.to_owned(), rows));
    assert_eq!(found, BTreeMap::from(expected));
    // A report for people, of the same.
    let shown = folder.outcome(&[
        "data",
        "lint",
        "train.jsonl",
        "--model",
        &model(),
        "--rule",
        "unreadable-row,personal-data",
    ]);
    insta::assert_snapshot!(shown.replace(&model(), "MODEL"));
}

#[test]
fn near_duplicates_are_told_from_copies() {
    let folder = Folder::new();
    let long = "海棠花开在园子的东边,每年春天总要落一地的花瓣,扫也扫不完";
    folder.write(
        "a.jsonl",
        &lines(&[
            row("说说园子", &format!("{long}。")),
            row("说说园子", &format!("{long}……")),
            row("说说天气", "今天下了雨,路上很滑。"),
        ]),
    );
    let report = folder.stdout(&["data", "lint", "a.jsonl", "--json"]);
    let found = findings(&report);
    assert_eq!(found.get("near-duplicate"), Some(&vec![2]), "{report}");
    assert_eq!(found.get("exact-duplicate"), None);
    let report = folder.stdout(&["data", "lint", "a.jsonl", "--json", "--no-near-duplicates"]);
    assert_eq!(findings(&report).get("near-duplicate"), None);
}

#[test]
fn leakage_is_what_split_would_have_prevented() {
    let folder = Folder::new();
    folder.write(
        "train.jsonl",
        &lines(&[row("你是谁？", "我是看园子的人。")]),
    );
    folder.write(
        "val.jsonl",
        &lines(&[
            row("你是谁?", "我是新来的人。"),
            row("天气好吗?", "今天很好。"),
        ]),
    );
    let report = folder.outcome(&[
        "data",
        "lint",
        "train.jsonl",
        "--validation",
        "val.jsonl",
        "--rule",
        "leakage",
    ]);
    assert!(
        report.starts_with("exit 1\n")
            && report.contains("val.jsonl, row 1 (line 1) asks what row 1 asks"),
        "{report}"
    );
    assert!(!report.contains("row 2"), "{report}");
}

#[test]
fn what_many_answers_share_is_shown() {
    let folder = Folder::new();
    let rows: Vec<Value> = (0..100)
        .map(|index| {
            let answer = match index % 10 {
                0 => format!("家父是看园子的人,排行第{index}"),
                1 => format!("The weather is nice today, number {index} of them all in a row"),
                _ => format!("{}号门外站着一个人,{}岁", index * 7, index + 20),
            };
            row(&format!("第{index}问"), &answer)
        })
        .collect();
    folder.write("a.json", &json!(rows).to_string());
    let report = folder.stdout(&[
        "data",
        "lint",
        "a.json",
        "--json",
        "--phrase",
        "尽义务",
        "--phrase",
        "家父",
        "--language",
        "zh",
    ]);
    let found = findings(&report);
    let english: Vec<u64> = (0..10).map(|index| 10 * index + 2).collect();
    assert_eq!(found.get("wrong-language"), Some(&english));
    let report: Value = serde_json::from_str(&report).unwrap();
    let count = |phrase: &str| {
        let phrases = report["phrases"].as_array().unwrap().iter();
        let found = { phrases }.find(|entry| entry["phrase"] == phrase);
        found.map(|entry| {
            (
                entry["answers"].as_u64().unwrap(),
                entry["asked"].as_bool().unwrap(),
            )
        })
    };
    assert_eq!(count("尽义务"), Some((0, true)));
    assert_eq!(count("家父"), Some((10, true)));
    assert_eq!(
        count("家父是看园子的人,排行第"),
        Some((10, false)),
        "{report}"
    );
}

#[test]
fn the_exit_code_follows_the_severity() {
    let folder = Folder::new();
    folder.write(
        "a.jsonl",
        &lines(&[row("问", "好。"), row("再问", "这一句要长一些才好。")]),
    );
    let code = |level: &str| {
        let outcome = folder.outcome(&["data", "lint", "a.jsonl", "--fail-on", level]);
        outcome.lines().next().map(str::to_owned)
    };
    assert_eq!(code("error").as_deref(), Some("exit 0"));
    assert_eq!(code("warning").as_deref(), Some("exit 1"));
    assert_eq!(code("never").as_deref(), Some("exit 0"));
    let refusal = folder.refusal(&["data", "lint", "a.jsonl", "--rule", "no-such-rule"]);
    assert!(
        refusal.starts_with("error: there is no rule no-such-rule; there are unreadable-file, "),
        "{refusal}"
    );
    let refusal = folder.refusal(&["data", "lint", "nowhere.jsonl"]);
    assert!(
        refusal.starts_with("error: nowhere.jsonl cannot be opened: "),
        "{refusal}"
    );
    assert!(
        folder
            .stdout(&["data", "lint", "--rules"])
            .contains("foreign-marker")
    );
}

/// The prompt of the tutorial: Llama 3's markers, one of them misspelt, for a
/// tokenizer of ChatML.
const TUTORIAL: &str = "{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id>\n\n\
                        {{ m.content }}<|eot_id|>{% endfor %}\
                        {% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id>\n\n{% endif %}";

#[test]
fn a_template_of_another_model_is_refused_by_name() {
    let folder = Folder::new();
    folder.write("a.jsonl", &lines(&[row("问", "这是一句回答。")]));
    folder.write("tutorial.jinja", TUTORIAL);
    let refusal = folder.refusal(&[
        "data",
        "stats",
        "a.jsonl",
        "--model",
        &model(),
        "--chat-template",
        "tutorial.jinja",
    ]);
    insta::assert_snapshot!(refusal);
    let report = folder.outcome(&[
        "data",
        "lint",
        "a.jsonl",
        "--model",
        &model(),
        "--chat-template",
        "tutorial.jinja",
        "--json",
    ]);
    assert!(report.starts_with("exit 1\n"), "{report}");
    for rule in ["template-marker", "template-terminator"] {
        assert!(report.contains(rule), "{report}");
    }
    // The same markers in a system prompt.
    let refusal = folder.refusal(&[
        "data",
        "stats",
        "a.jsonl",
        "--model",
        &model(),
        "--system",
        "<|begin_of_text|>你是园丁",
    ]);
    assert!(
        refusal.contains("the system prompt writes <|begin_of_text|>, a marker of Llama 3"),
        "{refusal}"
    );
}

#[test]
fn a_template_that_trains_what_is_not_asked_is_refused() {
    let folder = Folder::new();
    let conversation = json!({"messages": [
        {"role": "user", "content": "一"}, {"role": "assistant", "content": "这是第一句回答。"},
        {"role": "user", "content": "二"}, {"role": "assistant", "content": "这是第二句回答。"},
    ]});
    folder.write("a.jsonl", &format!("{conversation}\n"));
    // Thoughts are written into the last turn only, as Qwen3 does.
    folder.write(
        "thinking.jinja",
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' and loop.last %}(thought)\n\
         {% endif %}{{ m.content }}<|im_end|>\n{% endfor %}\
         {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    );
    let model = model();
    let arguments = [
        "data",
        "lint",
        "a.jsonl",
        "--model",
        &model,
        "--chat-template",
        "thinking.jinja",
        "--json",
    ];
    let report = folder.outcome(&arguments);
    assert!(
        report.starts_with("exit 1\n") && report.contains("template-prefix"),
        "{report}"
    );
    let last = [&arguments[..], &["--train-on", "last-answer"]].concat();
    let report = folder.stdout(&last);
    assert!(!report.contains("template-prefix"), "{report}");
}

#[test]
fn rows_that_are_too_long_are_told_by_how_much() {
    let folder = Folder::new();
    folder.write(
        "a.jsonl",
        &lines(&[
            row("问", "这一句要长一些才好。"),
            row("问长的", &"很长的话,".repeat(30)),
        ]),
    );
    for policy in ["drop", "truncate-answer", "error"] {
        let model = model();
        let arguments = [
            "data",
            "lint",
            "a.jsonl",
            "--model",
            &model,
            "--over-long",
            policy,
        ];
        let report = folder.stdout(&arguments);
        // Ten tokens of markers and roles more than the bytes of the texts.
        assert!(
            report.contains("1 row has more tokens than max_length 384; the longest has 4"),
            "{report}"
        );
    }
}
