//! `retune data`: inspect, stats, clean, split, convert.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::program::{Folder, lines, model, row};

fn parsed(lines: &str) -> Vec<Value> {
    let rows = lines.lines();
    rows.map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

#[test]
fn the_help_teaches() {
    let folder = Folder::new();
    insta::assert_snapshot!(folder.outcome(&["data", "--help"]));
    for command in ["lint", "clean", "stats", "split", "inspect", "convert"] {
        let help = folder.stdout(&["data", command, "--help"]);
        assert!(help.contains("Usage: retune data"), "{help}");
    }
    let script = folder.stdout(&["completions", "bash"]);
    assert!(
        script.contains("retune__") && script.contains("inspect"),
        "{script}"
    );
    assert!(folder.stdout(&["man"]).contains(".TH retune 1"));
    folder.stdout(&["man", "--dir", "pages"]);
    assert!(
        folder
            .read("pages/retune-data-lint.1")
            .contains("near\\-duplicates")
    );
}

#[test]
fn a_row_is_shown_token_by_token() {
    let folder = Folder::new();
    let hostile = "say <|im_end|> & <b>";
    folder.write(
        "a.jsonl",
        &lines(&[row("first", "one"), row(hostile, "好\t.")]),
    );
    let model = model();
    let arguments = [
        "data", "inspect", "a.jsonl", "--model", &model, "--row", "2", "--system", "s",
    ];
    insta::assert_snapshot!(folder.stdout(&arguments));
    let html = [&arguments[..], &["--html", "page.html"]].concat();
    folder.stdout(&html);
    let page = folder.read("page.html");
    assert!(
        page.contains("say &lt;|im_end|&gt; &amp; &lt;b&gt;"),
        "{page}"
    );
    assert!(!page.contains("<b>"), "{page}");
    let refusal = folder.refusal(&[
        "data", "inspect", "a.jsonl", "--model", &model, "--row", "3",
    ]);
    assert_eq!(
        refusal,
        "error: there is no row 3\nhint: rows are counted from 1, and there are 2\n"
    );
}

#[test]
fn what_is_there_is_counted_once_and_then_remembered() {
    let folder = Folder::new();
    let rows: Vec<Value> = (0..9)
        .map(|index| row(&"问".repeat(index % 4 + 1), &"答".repeat(3 * index + 1)))
        .collect();
    folder.write("a.jsonl", &lines(&rows));
    let model = model();
    let arguments = [
        "data",
        "stats",
        "a.jsonl",
        "--model",
        &model,
        "--max-length",
        "100",
    ];
    insta::assert_snapshot!(folder.stdout(&arguments));
    assert!(folder.stdout(&arguments).contains("from the cache"));
    // Another setting, other tokens.
    let other = [
        "data",
        "stats",
        "a.jsonl",
        "--model",
        &model,
        "--max-length",
        "90",
        "--json",
    ];
    let report: Value = serde_json::from_str(&folder.stdout(&other)).expect("JSON");
    assert_eq!(report["tokens"]["samples"], 7, "{report}");
    // A damaged cache is made anew.
    for entry in std::fs::read_dir(folder.path("cache")).expect("a cache") {
        let path = entry.expect("an entry").path();
        let mut bytes = std::fs::read(&path).expect("a file");
        let last = bytes.len() - 40;
        bytes[last] ^= 1;
        std::fs::write(&path, bytes).expect("written");
    }
    assert!(!folder.stdout(&arguments).contains("from the cache"));
}

#[test]
fn only_what_was_asked_for_is_cleaned() {
    let folder = Folder::new();
    let rows = [
        row("a", "<b>bold</b> &amp; plain"),
        row("b", "twice"),
        row("b", "twice"),
        row("c", "call 13812345678 now"),
        row("d", ""),
        row("e", " space "),
    ];
    folder.write("a.jsonl", &(lines(&rows) + "broken\n"));
    let refusal = folder.refusal(&["data", "clean", "a.jsonl", "-o", "kept.jsonl"]);
    assert!(
        refusal.starts_with("error: nothing to do\nhint: "),
        "{refusal}"
    );
    let refusal = folder.refusal(&[
        "data",
        "clean",
        "a.jsonl",
        "-o",
        "kept.jsonl",
        "--strip",
        "html",
    ]);
    assert!(
        refusal.starts_with("error: a.jsonl, row 7 (line 7): expected value"),
        "{refusal}"
    );
    assert!(!folder.path("kept.jsonl").exists());
    let arguments = [
        "data",
        "clean",
        "a.jsonl",
        "-o",
        "kept.jsonl",
        "--rejected",
        "rejected.jsonl",
        "--report",
        "report.json",
        "--drop",
        "exact-duplicate,empty-answer,unreadable-row",
        "--strip",
        "html",
        "--mask-personal-data",
    ];
    insta::assert_snapshot!(folder.stdout(&arguments));
    let expected = [
        row("a", "bold & plain"),
        row("b", "twice"),
        row("c", "call [mobile number] now"),
        row("e", " space "),
    ];
    assert_eq!(parsed(&folder.read("kept.jsonl")), expected);
    let rejected: Vec<(u64, String)> = parsed(&folder.read("rejected.jsonl"))
        .iter()
        .map(|row| {
            (
                row["row"].as_u64().unwrap(),
                row["reason"].as_str().unwrap().to_owned(),
            )
        })
        .collect();
    let reason = |index: usize| rejected[index].1.as_str();
    assert_eq!(
        rejected.iter().map(|(row, _)| *row).collect::<Vec<_>>(),
        [3, 5, 7]
    );
    assert_eq!((reason(0), reason(1)), ("exact-duplicate", "empty-answer"));
    assert!(reason(2).starts_with("unreadable-row: "), "{}", reason(2));
    let report: Value = serde_json::from_str(&folder.read("report.json")).expect("JSON");
    assert_eq!(report["kept"], 4);
    let refusal = folder.refusal(&arguments);
    assert!(
        refusal.starts_with("error: kept.jsonl is there already\nhint: "),
        "{refusal}"
    );
    let refusal = folder.refusal(&[
        "data",
        "clean",
        "a.jsonl",
        "-o",
        "x.jsonl",
        "--drop",
        "leakage-x",
    ]);
    assert!(
        refusal.contains("rows cannot be dropped by \"leakage-x\"; they can by "),
        "{refusal}"
    );
}

#[test]
fn groups_are_capped_and_words_segmented() {
    let folder = Folder::new();
    let rows: Vec<Value> = (0..20)
        .map(|index| {
            row(
                if index < 15 { "你好" } else { "再见" },
                &format!("第{index}句"),
            )
        })
        .collect();
    folder.write("a.jsonl", &lines(&rows));
    folder.stdout(&[
        "data",
        "clean",
        "a.jsonl",
        "-o",
        "b.jsonl",
        "--balance",
        "prompt=4",
    ]);
    let kept = parsed(&folder.read("b.jsonl"));
    let count = |prompt: &str| {
        kept.iter()
            .filter(|row| row["instruction"] == prompt)
            .count()
    };
    assert_eq!((count("你好"), count("再见")), (4, 4));
    folder.stdout(&[
        "data",
        "clean",
        "a.jsonl",
        "-o",
        "c.jsonl",
        "--balance",
        "phrase:第1=2",
    ]);
    assert_eq!(parsed(&folder.read("c.jsonl")).len(), 20 - 11 + 2);
    let refusal = folder.refusal(&[
        "data",
        "clean",
        "a.jsonl",
        "-o",
        "d.jsonl",
        "--balance",
        "prompt",
    ]);
    assert!(refusal.contains("expected prompt=N"), "{refusal}");
    folder.write("r.csv", "text,label\n我们喜欢这家酒店的早餐！,好\n");
    let outcome = folder.outcome(&["data", "clean", "r.csv", "-o", "words.csv", "--segment"]);
    assert!(outcome.contains("warning: segmented text"), "{outcome}");
    assert_eq!(
        folder.read("words.csv"),
        "text,label\n喜欢 这家 酒店 早餐,好\n"
    );
}

#[test]
fn a_split_keeps_what_belongs_together_on_one_side() {
    let folder = Folder::new();
    let mut rows: Vec<Value> = (0..200)
        .map(|index| {
            row(
                &format!("第{}个问题,关于{}", index, index * 31),
                &format!("答{index}"),
            )
        })
        .collect();
    rows.extend((0..30).map(|index| row("你好", &format!("好{index}"))));
    folder.write("a.jsonl", &lines(&rows));
    let sides = |seed: &str, name: &str| {
        let arguments = [
            "data",
            "split",
            "a.jsonl",
            "-o",
            name,
            "--validation",
            "0.2",
            "--test",
            "0.1",
            "--seed",
            seed,
        ];
        folder.stdout(&arguments);
        ["train", "validation", "test"].map(|side| folder.read(&format!("{name}/{side}.jsonl")))
    };
    let first = sides("1", "one");
    assert_eq!(first, sides("1", "again"));
    assert_ne!(first, sides("2", "two"));
    let prompts = first.clone().map(|side| {
        let rows = parsed(&side).into_iter();
        rows.map(|row| row["instruction"].as_str().unwrap().to_owned())
            .collect::<HashSet<_>>()
    });
    assert!(prompts[0].is_disjoint(&prompts[1]) && prompts[0].is_disjoint(&prompts[2]));
    assert!(prompts[1].is_disjoint(&prompts[2]));
    let sizes = first.map(|side| side.lines().count());
    assert_eq!(sizes.iter().sum::<usize>(), 230);
    assert!(
        (40..=60).contains(&sizes[1]) && (15..=35).contains(&sizes[2]),
        "{sizes:?}"
    );
    let refusal = folder.refusal(&[
        "data",
        "split",
        "a.jsonl",
        "-o",
        "x",
        "--validation",
        "0.9",
        "--test",
        "0.2",
    ]);
    assert!(
        refusal.starts_with("error: nothing is left for training"),
        "{refusal}"
    );
}

#[test]
fn classes_are_split_in_proportion() {
    let folder = Folder::new();
    let mut table = String::from("text,label\n");
    for index in 0..200 {
        let class = if index % 10 == 0 { "rare" } else { "common" };
        table.push_str(&format!(
            "text number {index} about {},{class}\n",
            index * 17
        ));
    }
    folder.write("a.csv", &table);
    folder.stdout(&["data", "split", "a.csv", "-o", "out", "--validation", "0.2"]);
    let validation = folder.read("out/validation.csv");
    let count = |class: &str| {
        validation
            .lines()
            .filter(|line| line.ends_with(class))
            .count()
    };
    assert_eq!((count("rare"), count("common")), (4, 36));
}

#[test]
fn layouts_are_converted() {
    let folder = Folder::new();
    let rows = [
        json!({"instruction": "a", "input": "b", "output": "c", "system": "s", "history": [["q", "r"]]}),
        row("x", "y"),
    ];
    folder.write("a.jsonl", &lines(&rows));
    folder.stdout(&[
        "data", "convert", "a.jsonl", "--to", "messages", "-o", "m.jsonl",
    ]);
    let messages = parsed(&folder.read("m.jsonl"));
    assert_eq!(
        messages[0]["messages"],
        json!([
            {"role": "system", "content": "s"}, {"role": "user", "content": "q"},
            {"role": "assistant", "content": "r"}, {"role": "user", "content": "a\nb"},
            {"role": "assistant", "content": "c"},
        ])
    );
    folder.stdout(&[
        "data", "convert", "m.jsonl", "--to", "sharegpt", "-o", "s.json",
    ]);
    folder.stdout(&[
        "data", "convert", "s.json", "--to", "alpaca", "-o", "b.jsonl",
    ]);
    let back = parsed(&folder.read("b.jsonl"));
    assert_eq!(back[0]["instruction"], "a\nb");
    assert_eq!(back[0]["history"], json!([["q", "r"]]));
    assert_eq!(back[1], rows[1]);
    let refusal = folder.refusal(&[
        "data",
        "convert",
        "a.jsonl",
        "--to",
        "prompt-completion",
        "-o",
        "p.csv",
    ]);
    assert!(
        refusal.starts_with("error: a.jsonl, row 1 (line 1): prompt-completion has a place for"),
        "{refusal}"
    );
    assert!(!folder.path("p.csv").exists());
    folder.stdout(&[
        "data",
        "convert",
        "a.jsonl",
        "--to",
        "prompt-completion",
        "-o",
        "p.csv",
        "--skip",
    ]);
    assert_eq!(folder.read("p.csv"), "prompt,completion\nx,y\n");
}

#[test]
fn rows_are_dropped_from_the_file_in_which_they_stand() {
    let folder = Folder::new();
    // A file without a row of its own comes first.
    folder.write("head.csv", "instruction,output\n");
    folder.write("unread.jsonl", "{\"instruction\": \"a\", \"output\": 5}\n");
    folder.write(
        "one.jsonl",
        &lines(&[row("a", "first answer"), row("b", "second answer")]),
    );
    let twice = row("c", "third answer");
    folder.write(
        "two.jsonl",
        &lines(&[twice.clone(), twice.clone(), row("d", "fourth answer")]),
    );
    let arguments = [
        "data",
        "clean",
        "unread.jsonl",
        "one.jsonl",
        "two.jsonl",
        "-o",
        "kept.jsonl",
        "--drop",
        "unreadable-row,exact-duplicate",
    ];
    folder.stdout(&arguments);
    let kept = parsed(&folder.read("kept.jsonl"));
    let asked: Vec<&str> = kept
        .iter()
        .map(|row| row["instruction"].as_str().unwrap())
        .collect();
    assert_eq!(asked, ["a", "b", "c", "d"]);
    let report = folder.outcome(&["data", "lint", "head.csv", "one.jsonl", "two.jsonl"]);
    assert!(
        report.contains("two.jsonl row 1 (line 1)") && report.contains("2 × c → third answer"),
        "{report}"
    );
}

#[test]
fn a_copy_stays_if_its_like_goes() {
    let folder = Folder::new();
    let long = "the garden by the river has many flowers in the spring, and some in autumn";
    folder.write(
        "a.jsonl",
        &lines(&[
            row("q", &format!("{long} <b>too</b>")),
            row("q", &format!("{long} too")),
        ]),
    );
    folder.stdout(&[
        "data",
        "clean",
        "a.jsonl",
        "-o",
        "b.jsonl",
        "--drop",
        "html,near-duplicate",
    ]);
    assert_eq!(
        parsed(&folder.read("b.jsonl")),
        [row("q", &format!("{long} too"))]
    );
}

#[test]
fn no_output_takes_the_place_of_another_file() {
    let folder = Folder::new();
    let text = lines(&[row("a", "b c d e f"), row("a", "b c d e f")]);
    folder.write("a.jsonl", &text);
    folder.write("page.html", "mine");
    for arguments in [
        &["lint", "a.jsonl", "--html", "a.jsonl", "--overwrite"][..],
        &["lint", "a.jsonl", "--html", "page.html"],
        &[
            "clean",
            "a.jsonl",
            "-o",
            "k.jsonl",
            "--drop",
            "exact-duplicate",
            "--report",
            "a.jsonl",
            "--overwrite",
        ],
        &[
            "clean",
            "a.jsonl",
            "-o",
            "k.jsonl",
            "--drop",
            "exact-duplicate",
            "--rejected",
            "k.jsonl",
            "--overwrite",
        ],
        &["convert", "a.jsonl", "-o", "a.jsonl", "--overwrite"],
        &["convert", "a.jsonl", "-o", "b.jsonl.gz"],
    ] {
        let refusal = folder.refusal(&[&["data"], arguments].concat());
        assert!(refusal.starts_with("error: "), "{refusal}");
        assert_eq!(
            (folder.read("a.jsonl"), folder.read("page.html")),
            (text.clone(), "mine".to_owned())
        );
        assert!(
            !folder.path("k.jsonl").exists() && !folder.path("b.jsonl.gz").exists(),
            "{arguments:?}"
        );
    }
}

#[test]
fn what_only_a_tokenizer_finds_is_not_promised_without_one() {
    let folder = Folder::new();
    folder.write("a.jsonl", &lines(&[row("a", "b")]));
    let refusal = folder.refusal(&[
        "data",
        "clean",
        "a.jsonl",
        "-o",
        "b.jsonl",
        "--drop",
        "over-long",
    ]);
    assert!(
        refusal.contains("hint: name the model's folder with --model"),
        "{refusal}"
    );
    let refusal = folder.refusal(&[
        "data",
        "stats",
        "a.jsonl",
        "--model",
        &model(),
        "--max-length",
        "3",
    ]);
    assert!(
        refusal.starts_with("error: none of 1 row is left to learn from: 1 had more tokens"),
        "{refusal}"
    );
}

#[test]
fn arguments_of_tools_stay_json_when_they_are_masked() {
    let folder = Folder::new();
    let call = json!({"conversations": [
        {"from": "human", "value": "ring 13812345678"},
        {"from": "function_call", "value": "{\"name\": \"ring\", \"arguments\": {\"phone\": \"13812345678\"}}"},
    ]});
    folder.write("a.jsonl", &format!("{call}\n"));
    folder.stdout(&[
        "data",
        "clean",
        "a.jsonl",
        "-o",
        "b.jsonl",
        "--mask-personal-data",
    ]);
    let kept = parsed(&folder.read("b.jsonl"));
    let value = kept[0]["conversations"][1]["value"].as_str().unwrap();
    let inner: Value = serde_json::from_str(value).unwrap();
    assert_eq!(inner["arguments"]["phone"], "[mobile number]");
    assert!(!folder.read("b.jsonl").contains("13812345678"));
}

#[test]
fn many_small_classes_add_up_to_the_share() {
    let folder = Folder::new();
    let mut table = String::from("text,label\n");
    for index in 0..400 {
        table.push_str(&format!(
            "text number {index} about {},class{}\n",
            index * 17,
            index / 4
        ));
    }
    folder.write("a.csv", &table);
    folder.stdout(&["data", "split", "a.csv", "-o", "out", "--validation", "0.1"]);
    let count = folder.read("out/validation.csv").lines().count() - 1;
    assert!((35..=45).contains(&count), "{count}");
}

#[test]
fn text_of_others_does_not_steer_the_terminal() {
    let folder = Folder::new();
    folder.write(
        "a.jsonl",
        &lines(&[
            row("q\u{1b}[2J", "a\u{1b}]0;x\u{7}"),
            row("q2", "\u{202e}b"),
        ]),
    );
    let mut shown = folder.outcome(&["data", "lint", "a.jsonl"]);
    shown += &folder.outcome(&[
        "data",
        "inspect",
        "a.jsonl",
        "--model",
        &model(),
        "--row",
        "1,2",
    ]);
    folder.write("b.jsonl", "{\"\u{1b}[2Jx\": 1}\n");
    shown += &folder.outcome(&["data", "stats", "b.jsonl"]);
    assert!(
        !shown.contains(['\u{1b}', '\u{7}', '\u{202e}']),
        "{shown:?}"
    );
}

#[test]
fn a_broken_first_row_is_one_row() {
    let folder = Folder::new();
    folder.write(
        "a.jsonl",
        &format!("{{}}\n{}", lines(&[row("a", "b"), row("c", "d")])),
    );
    let refusal = folder.refusal(&["data", "convert", "a.jsonl", "-o", "b.jsonl"]);
    assert!(
        refusal.starts_with("error: a.jsonl, row 1 (line 1)"),
        "{refusal}"
    );
    folder.stdout(&["data", "convert", "a.jsonl", "-o", "b.jsonl", "--skip"]);
    assert_eq!(parsed(&folder.read("b.jsonl")).len(), 2);
}

#[test]
fn other_names_of_columns_are_found_in_each_row() {
    let folder = Folder::new();
    let rows = [
        json!({"instruction": "Say hi", "response": "hi"}),
        json!({"instruction": "Sum up", "context": "much", "output": "little", "more": 1}),
    ];
    folder.write("a.jsonl", &lines(&rows));
    let convert = [
        "data", "convert", "a.jsonl", "-o", "b.jsonl", "--to", "messages",
    ];
    let outcome = folder.outcome(&convert);
    assert!(outcome.contains("left out: more\n"), "{outcome}");
    let written = parsed(&folder.read("b.jsonl"));
    let said = |row: usize, turn: usize| written[row]["messages"][turn]["content"].clone();
    assert_eq!(
        (said(0, 1), said(1, 0)),
        (json!("hi"), json!("Sum up\nmuch"))
    );
    assert_eq!(said(1, 1), json!("little"));
}

#[test]
fn a_preference_with_its_conversation_beside_is_one_turn() {
    let folder = Folder::new();
    let turn = |role: &str, content: &str| json!({"role": role, "content": content});
    let both = |answer: &str| json!([turn("user", "q"), turn("assistant", answer)]);
    let (good, bad) = (both("good"), both("bad"));
    let rows = [
        json!({"prompt": "q", "chosen": good, "rejected": bad, "messages": good}),
        json!({"chosen": turn("assistant", "good"), "rejected": turn("assistant", "bad"), "conversations": good}),
    ];
    for row in rows {
        folder.write("a.jsonl", &lines(std::slice::from_ref(&row)));
        let convert = [
            "data", "convert", "a.jsonl", "-o", "b.jsonl", "--to", "messages",
        ];
        folder.stdout(&[&convert[..], &["--overwrite"]].concat());
        assert_eq!(
            parsed(&folder.read("b.jsonl"))[0]["messages"],
            good,
            "{row}"
        );
    }
}

#[test]
fn answers_that_are_told_to_be_bad_are_refused_wherever_they_stand() {
    let folder = Folder::new();
    folder.write("kto.csv", "prompt,completion,label\nq,a,True\nr,b,False\n");
    let refusal = folder.refusal(&["data", "inspect", "kto.csv", "--model", &model()]);
    assert!(
        refusal.contains("as for KTO, which is not supported yet\nhint: "),
        "{refusal}"
    );
    let mut rows = vec![row("a", "b"), row("c", "d")];
    rows[1]["images"] = json!(["x.png"]);
    folder.write("a.jsonl", &lines(&rows));
    let refusal = folder.refusal(&["data", "convert", "a.jsonl", "-o", "b.jsonl"]);
    assert!(
        refusal.contains("row 2 (line 2): rows with images"),
        "{refusal}"
    );
}

#[test]
fn what_is_read_is_not_overwritten_by_any_name() {
    let folder = Folder::new();
    let rows: Vec<Value> = (0..20).map(|i| row(&format!("q{i}"), "a")).collect();
    std::fs::create_dir(folder.path("out")).expect("a folder");
    folder.write("out/train.jsonl", &lines(&rows));
    let refusals = [
        [
            "data",
            "split",
            "out/train.jsonl",
            "-o",
            "out",
            "--overwrite",
        ],
        ["data", "split", "out", "-o", "out/../out", "--overwrite"],
        [
            "data",
            "convert",
            "out",
            "-o",
            "out/train.jsonl",
            "--overwrite",
        ],
        [
            "data",
            "convert",
            "out/../out/train.jsonl",
            "-o",
            "out/train.jsonl",
            "--overwrite",
        ],
    ];
    for arguments in refusals {
        let refusal = folder.refusal(&arguments);
        assert!(
            refusal.contains("is read and would be overwritten\nhint: "),
            "{refusal}"
        );
    }
    assert_eq!(parsed(&folder.read("out/train.jsonl")).len(), 20);
}

#[test]
fn edits_leave_json_what_it_is() {
    let folder = Folder::new();
    let call = json!([{"name": "send", "arguments": {"from": "13812345678", "id": "13812345678"}}]);
    let row = json!({"messages": [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "{\n  \"id\": \"13812345678\",\n  \"sep\": \" \",\n  \"tel\": 13812345678\n}"},
        {"role": "user", "content": "r"},
        {"role": "assistant", "content": null, "tool_calls": call},
    ], "id": "13812345678"});
    folder.write("a.jsonl", &lines(&[row]));
    let clean = ["data", "clean", "a.jsonl", "-o", "b.jsonl", "--overwrite"];
    folder.stdout(&[&clean[..], &["--strip", "whitespace"]].concat());
    assert_eq!(folder.read("b.jsonl"), folder.read("a.jsonl"));
    folder.stdout(&[&clean[..], &["--mask-personal-data"]].concat());
    let written = &parsed(&folder.read("b.jsonl"))[0];
    // Of the row itself it is no one's speech.
    assert_eq!(written["id"], "13812345678");
    let answer = written["messages"][1]["content"].as_str().expect("text");
    let answer: Value = serde_json::from_str(answer).expect("still JSON");
    assert_eq!(
        answer,
        json!({"id": "[mobile number]", "sep": " ", "tel": "[mobile number]"})
    );
    let masked = json!({"from": "[mobile number]", "id": "[mobile number]"});
    assert_eq!(written["messages"][3]["tool_calls"][0]["arguments"], masked);
}

#[test]
fn conversations_that_begin_alike_stay_on_one_side() {
    let folder = Folder::new();
    let turn = |role: &str, content: String| json!({"role": role, "content": content});
    let rows: Vec<Value> = (0..100)
        .flat_map(|i| {
            let short = vec![turn("user", format!("q{i}")), turn("assistant", "a".into())];
            let mut long = short.clone();
            long.extend([turn("user", format!("r{i}")), turn("assistant", "b".into())]);
            [json!({"messages": short}), json!({"messages": long})]
        })
        .collect();
    folder.write("a.jsonl", &lines(&rows));
    folder.stdout(&[
        "data",
        "split",
        "a.jsonl",
        "-o",
        "out",
        "--validation",
        "0.2",
    ]);
    let first = |name: &str| -> HashSet<String> {
        let rows = parsed(&folder.read(name));
        rows.iter()
            .map(|row| row["messages"][0]["content"].to_string())
            .collect()
    };
    let (train, held) = (first("out/train.jsonl"), first("out/validation.jsonl"));
    assert!(!held.is_empty() && train.is_disjoint(&held));
    // What lint is told of the two as they were mixed up.
    folder.write("b.jsonl", &lines(&[rows[1].clone()]));
    folder.write("c.jsonl", &lines(&[rows[0].clone()]));
    let lint = [
        "data",
        "lint",
        "b.jsonl",
        "--validation",
        "c.jsonl",
        "--rule",
        "leakage",
    ];
    assert!(
        folder
            .outcome(&lint)
            .contains("c.jsonl, row 1 (line 1) asks what row 1 asks")
    );
}

#[test]
fn what_spreadsheets_leave_behind_is_left_out() {
    let folder = Folder::new();
    folder.write(
        "a.csv",
        "instruction,output,history,,\nq,a,,,\n,,,,\nr,b,\"[[\"\"x\"\",\"\"y\"\"]]\",,\n",
    );
    folder.stdout(&[
        "data", "convert", "a.csv", "-o", "b.jsonl", "--to", "messages",
    ]);
    let written = parsed(&folder.read("b.jsonl"));
    let turns = |row: usize| written[row]["messages"].as_array().map(Vec::len);
    assert_eq!((written.len(), turns(0), turns(1)), (2, Some(2), Some(4)));
    folder.write("c.csv", "instruction,output,\nq,a,more\n");
    let refusal = folder.refusal(&["data", "convert", "c.csv", "-o", "d.jsonl"]);
    assert!(
        refusal.contains("\"more\" in a column that has no name\nhint: "),
        "{refusal}"
    );
    folder.write("e.xlsx", "PK\u{3}\u{4}");
    let refusal = folder.refusal(&["data", "convert", "e.xlsx", "-o", "f.jsonl"]);
    assert!(refusal.contains("is a workbook\nhint: "), "{refusal}");
}
