//! `retune eval`, of an adapter that learned something against its base.

use serde_json::Value;

use crate::generate::tuned;
use crate::program::{Folder, lines, row};

/// Rows that were not learned from.
fn held_out(folder: &Folder) {
    let rows: Vec<Value> = (100..120)
        .map(|number| row(&format!("How many are {number}?"), "They are free."))
        .collect();
    folder.write("held_out.jsonl", &lines(&rows));
}

#[test]
fn an_adapter_is_set_beside_its_base() {
    let folder = tuned();
    held_out(&folder);
    folder.write("general.txt", "Nobody said a thing like this before.\n");
    let ask = [
        "eval",
        "lora",
        "--data",
        "held_out.jsonl",
        "--max_new_tokens",
        "20",
    ];
    let more = ["--general", "general.txt", "--output", "report"];
    let said = folder.stdout(&[&ask[..], &more].concat());
    for part in [
        "20 rows\n",
        "BLEU nrefs:1|case:mixed|eff:no|tok:13a|",
        "Best rows of lora",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let report: Value = serde_json::from_str(&folder.read("report/report.json")).expect("JSON");
    assert_eq!(report["models"], serde_json::json!(["base", "lora"]));
    let value = |name: &str, model: usize| -> f64 {
        let lines = report["figures"].as_array().expect("figures");
        let line = lines.iter().find(|line| line["name"] == name);
        let line = line.unwrap_or_else(|| panic!("no {name}"));
        line["figures"][model]["value"].as_f64().expect("a value")
    };
    // One says "few", the other "free".
    assert_eq!(
        (value("exact match", 0), value("exact match", 1)),
        (0.0, 1.0)
    );
    assert!((value("BLEU", 1) - 100.0).abs() < 1e-9 && value("BLEU", 0) < 80.0);
    assert_eq!(value("ROUGE-1", 1), 1.0);
    assert!((value("ROUGE-1", 0) - 2.0 / 3.0).abs() < 1e-9);
    assert_eq!(
        (value("characters", 0), value("characters", 1)),
        (13.0, 14.0)
    );
    assert!(1.0 < value("perplexity", 1) && value("perplexity", 1) < value("perplexity", 0));
    assert!(value("general perplexity", 0) > 10.0);
    assert_eq!(report["characters"]["lora"]["p95"], 14.0);
    let rows = folder.read("report/rows.jsonl");
    assert_eq!(rows.lines().count(), 20);
    let first: Value = serde_json::from_str(rows.lines().next().expect("a row")).expect("JSON");
    assert_eq!(first["reference"], "They are free.");
    assert_eq!(first["models"]["base"]["answer"], "They are few.");
    assert_eq!(first["models"]["lora"]["answer"], "They are free.");
    let page = folder.read("report/report.html");
    assert!(page.contains("<svg") && page.contains("perplexity") && page.contains("Best rows"));
    // A report is not written over unasked, and that is said before the work.
    let refused = folder.refusal(&[&ask[..], &more].concat());
    assert!(
        refused.contains("report.html is there already"),
        "{refused}"
    );
}

#[test]
fn perplexity_is_what_validation_of_the_training_said() {
    let folder = tuned();
    let base = format!("run/{}", folder.read("run/best"));
    held_out(&folder);
    folder.stdout(&[
        "train",
        "--model",
        &base,
        "--data",
        "data.jsonl",
        "--validation_data",
        "held_out.jsonl",
        "--max_steps",
        "8",
        "--eval_steps",
        "8",
        "--save_steps",
        "8",
        "--system",
        "Count.",
        "--output_dir",
        "again",
    ]);
    let metrics = folder.read("again/metrics.jsonl");
    let validated = metrics.lines().rev().find_map(|line| {
        let event: Value = serde_json::from_str(line).expect("JSON");
        event["eval_loss"].as_f64()
    });
    let expected = validated.expect("a validation").exp();
    let ask = [
        "eval",
        "again",
        "--data",
        "held_out.jsonl",
        "--no-answers",
        "--no-base",
    ];
    folder.stdout(&[&ask[..], &["--output", "report"]].concat());
    let report: Value = serde_json::from_str(&folder.read("report/report.json")).expect("JSON");
    let found = report["figures"][0]["figures"][0]["value"]
        .as_f64()
        .expect("a value");
    assert!((found / expected - 1.0).abs() < 1e-5, "{found} {expected}");
}

#[test]
fn labels_are_told_apart() {
    let folder = tuned();
    // The model answers the same to all; half of the rows have that label.
    let rows: Vec<Value> = (0..20)
        .map(|number| {
            let label = ["They are free.", "They are few."][number % 2];
            row(&format!("How many are {number}?"), label)
        })
        .collect();
    folder.write("held_out.jsonl", &lines(&rows));
    let ask = [
        "eval",
        "lora",
        "--data",
        "held_out.jsonl",
        "--no-base",
        "--output",
        "report",
    ];
    folder.stdout(&ask);
    let report: Value = serde_json::from_str(&folder.read("report/report.json")).expect("JSON");
    let labels = &report["labels"]["lora"];
    assert_eq!(labels["accuracy"], 0.5);
    assert_eq!(labels["confusion"], serde_json::json!([[0, 10], [0, 10]]));
    let lines = report["figures"].as_array().expect("figures");
    let f1 = lines
        .iter()
        .find(|line| line["name"] == "macro F1")
        .expect("F1");
    let value = f1["figures"][0]["value"].as_f64().expect("a value");
    assert!((value - 1.0 / 3.0).abs() < 1e-9, "{value}");
    // As texts, there are none.
    folder.stdout(&[&ask[..], &["--no-labels", "--overwrite"]].concat());
    let report: Value = serde_json::from_str(&folder.read("report/report.json")).expect("JSON");
    assert_eq!(report["labels"], serde_json::json!({}));
}

#[test]
fn repetition_is_measured_and_explained() {
    let folder = tuned();
    held_out(&folder);
    let ask = ["eval", "lora", "--data", "held_out.jsonl", "--repetition"];
    // A model that is made to say one letter turns in a circle.
    let forced = [
        "--logit_bias",
        "97:1000000",
        "--max_new_tokens",
        "30",
        "--output",
        "report",
    ];
    let said = folder.stdout(&[&ask[..], &forced].concat());
    for part in [
        "20 prompts, 7 settings of sampling",
        "100.0 % [100.0 %, 100.0 %]",
        "likely cause: the template or the end of turns",
        "for example, asked How many are 100?: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let report: Value = serde_json::from_str(&folder.read("report/report.json")).expect("JSON");
    assert_eq!(report["grid"]["rows"].as_array().map(Vec::len), Some(2));
    let said = folder.stdout(&ask);
    assert!(said.contains("lora loops under no setting"), "{said}");
}

#[test]
fn what_cannot_be_measured_is_a_clear_error() {
    let folder = tuned();
    held_out(&folder);
    folder.write("empty.jsonl", "");
    folder.write(
        "broken.jsonl",
        "{\"instruction\": \"a\", \"output\": \"b\"}\n{\"instruction\"\n",
    );
    folder.write("text.txt", "A text without turns.\n");
    for (arguments, part) in [
        (
            vec!["nowhere", "--data", "held_out.jsonl"],
            "nowhere is not there",
        ),
        (vec!["lora", "--data", "missing.jsonl"], "missing.jsonl"),
        (vec!["lora", "--data", "empty.jsonl"], "empty.jsonl"),
        (
            vec!["lora", "--data", "broken.jsonl"],
            "broken.jsonl, row 2 (line 2)",
        ),
        (
            vec!["lora", "--data", "text.txt", "--repetition"],
            "to which nothing can be answered",
        ),
        (
            vec!["model", "--data", "held_out.jsonl", "--checkpoints"],
            "model holds no checkpoints",
        ),
    ] {
        let refused = folder.refusal(&[&["eval"][..], &arguments].concat());
        assert!(refused.contains(part), "{part}: {refused}");
    }
}

#[test]
fn rows_that_one_model_cannot_take_count_for_none() {
    let folder = tuned();
    let rows: Vec<Value> = (0..12)
        .map(|number| {
            let long = "x".repeat(if number < 5 { 300 } else { 0 });
            row(&format!("How many are {number}?{long}"), "They are free.")
        })
        .collect();
    folder.write("held_out.jsonl", &lines(&rows));
    // The same model, but for how much it takes.
    let base = format!("run/{}", folder.read("run/best"));
    std::fs::create_dir(folder.path("short")).expect("a folder");
    for entry in std::fs::read_dir(folder.path(&base))
        .expect("a folder")
        .flatten()
    {
        let to = folder.path("short").join(entry.file_name());
        std::fs::copy(entry.path(), to).expect("a copy");
    }
    let config = folder.read("short/config.json");
    let mut config: Value = serde_json::from_str(&config).expect("JSON");
    config["max_position_embeddings"] = 200.into();
    folder.write("short/config.json", &config.to_string());
    let both = [
        "eval",
        "short",
        &base,
        "--data",
        "held_out.jsonl",
        "--output",
        "report",
    ];
    let said = folder.stdout(&both);
    assert!(said.contains("5 rows longer than a model takes"), "{said}");
    let report: Value = serde_json::from_str(&folder.read("report/report.json")).expect("JSON");
    assert_eq!(report["rows_too_long"], 5);
    for line in report["figures"].as_array().expect("figures") {
        let [one, other] = [0, 1].map(|model| line["figures"][model]["value"].as_f64());
        assert_eq!(one, other, "{line}");
    }
    // Of few rows there is no verdict; of none no figure.
    let said = folder.stdout(&[
        "eval",
        "lora",
        "--data",
        "held_out.jsonl",
        "--max_samples",
        "3",
    ]);
    assert!(
        said.contains("too few rows") && !said.contains("better"),
        "{said}"
    );
    folder.write("held_out.jsonl", &lines(&rows[..3]));
    for more in [&[][..], &["--repetition"]] {
        let ask = ["eval", "short", "--data", "held_out.jsonl"];
        let refused = folder.refusal(&[&ask[..], more].concat());
        assert!(refused.contains("none of the 3 rows fits"), "{refused}");
    }
    // The same model twice has two names.
    let twice = [
        "eval",
        "short",
        "short",
        "--data",
        "held_out.jsonl",
        "--no-answers",
    ];
    folder.write("held_out.jsonl", &lines(&rows[5..]));
    let said = folder.stdout(&twice);
    assert!(said.contains("short (2)"), "{said}");
}
