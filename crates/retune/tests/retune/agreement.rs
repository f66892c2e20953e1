//! `retune data agreement`: exit codes, stdout and stderr.

use crate::program::Folder;

fn folder(name: &str, text: &str) -> Folder {
    let folder = Folder::new();
    folder.write(name, text);
    folder
}

fn outcome(folder: &Folder, arguments: &[&str]) -> String {
    folder.outcome(&[&["data", "agreement"], arguments].concat())
}

/// Three annotators of thirty lines, of whom the third is careless and did not
/// see all.
fn reviews() -> String {
    let labels = ["negative", "neutral", "positive"];
    let mut text = "id,text,annotator,label\n".to_owned();
    for id in 0..30 {
        let truth = id * 7 % 3;
        let slips = [id % 11 == 0, id % 7 == 0, id % 3 == 1];
        for (name, slip) in ["ann", "bob", "甄嬛"].into_iter().zip(slips) {
            if name == "甄嬛" && id % 5 == 0 {
                continue;
            }
            let label = labels[(truth + usize::from(slip)) % 3];
            text.push_str(&format!("{id},review {id},{name},{label}\n"));
        }
    }
    text
}

#[test]
fn help() {
    insta::assert_snapshot!(outcome(&Folder::new(), &["--help"]));
}

#[test]
fn a_table_of_three_annotators() {
    let exports = folder("reviews.csv", &reviews());
    insta::assert_snapshot!(outcome(
        &exports,
        &["reviews.csv", "--relabel", "4", "--seed", "3"]
    ));
}

#[test]
fn stars_in_columns_with_a_scale() {
    let wide = "item\trater_a\trater_b\n1\t1\t2\n2\t5\t5\n3\t3\t\n4\t4\t4\n5\t2\t4\n6\t1\t1\n";
    let exports = folder("stars.tsv", wide);
    let arguments = [
        "stars.tsv",
        "--level",
        "interval",
        "--weights",
        "quadratic",
        "--bootstrap",
        "0",
    ];
    insta::assert_snapshot!(outcome(&exports, &arguments));
    insta::assert_snapshot!(outcome(
        &exports,
        &[&arguments[..], &["--json", "--relabel", "1"]].concat()
    ));
}

#[test]
fn spans_of_a_tool() {
    let row = |hash: u32, who: &str, spans: &str| {
        format!(
            r#"{{"text":"My name is Freya.","_input_hash":{hash},"_task_hash":{hash},"_view_id":"ner_manual","spans":[{spans}],"answer":"accept","_annotator_id":"ner-{who}","_session_id":"ner-{who}"}}"#
        ) + "\n"
    };
    let freya = r#"{"start":11,"end":16,"token_start":3,"token_end":3,"label":"PERSON"}"#;
    let name = r#"{"start":3,"end":16,"token_start":1,"token_end":3,"label":"PERSON"}"#;
    let text = [
        row(1, "ann", freya),
        row(1, "bob", freya),
        row(2, "ann", freya),
        row(2, "bob", name),
        row(3, "ann", ""),
        row(3, "bob", freya),
    ];
    let exports = folder("ner.jsonl", &text.concat());
    insta::assert_snapshot!(outcome(
        &exports,
        &["ner.jsonl", "--bootstrap", "50", "--confidence", "0.9"]
    ));
}

#[test]
fn figures_that_are_not_defined_say_why() {
    let exports = folder(
        "one.csv",
        "annotator_1,annotator_2,annotator_3\nyes,yes,\nyes,yes,\n,,yes\n",
    );
    insta::assert_snapshot!(outcome(&exports, &["one.csv"]));
}

#[test]
fn wrong_input_is_explained() {
    let exports = folder(
        "data.jsonl",
        "{\"instruction\": \"a\", \"output\": \"b\"}\n",
    );
    exports.write("alone.csv", "item,annotator,label\n1,ann,x\n2,ann,y\n");
    exports.write("words.csv", "item,annotator,label\n1,ann,low\n1,bob,high\n");
    exports.write("broken.csv", "item,annotator,label\n1,ann,low\n1,,high\n");
    let all = [
        &["data.jsonl"][..],
        &["alone.csv"],
        &["words.csv", "--level", "interval"],
        &["words.csv", "--order", "high"],
        &["broken.csv"],
        &["words.csv", "--confidence", "95"],
        &["words.csv", "--from", "label-studio"],
    ];
    let outcomes = all.map(|arguments| {
        let outcome = outcome(&exports, arguments);
        format!("== {}\n{outcome}", arguments.join(" "))
    });
    insta::assert_snapshot!(outcomes.join("\n"));
    // What the system says differs between systems.
    let missing = outcome(&exports, &["missing.csv"]);
    assert!(
        missing.starts_with("exit 1") && missing.contains("missing.csv cannot be opened"),
        "{missing}"
    );
}

#[test]
fn text_of_others_does_not_steer_the_terminal() {
    let csv = "item,annotator,label\n1,a\u{1b}[31m,\u{202e}x\n1,b,y\u{7}\n";
    let shown = outcome(&folder("evil.csv", csv), &["evil.csv"]);
    assert!(shown.starts_with("exit 0"), "{shown}");
    assert!(
        !shown.contains(['\u{1b}', '\u{7}', '\u{202e}']),
        "{shown:?}"
    );
}
