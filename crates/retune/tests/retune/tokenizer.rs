//! `retune tokenizer train`, and a model from nothing.

use serde_json::{Value, json};

use crate::program::{Folder, lines};

/// A text in which a few words come again and again.
fn texts() -> String {
    let rows: Vec<Value> = (0..60)
        .map(|number| json!({"text": format!("the lantern and the river, 灯笼 and 河 number {number}")}))
        .collect();
    lines(&rows)
}

fn train(folder: &Folder, output: &str) -> String {
    folder.stdout(&[
        "tokenizer",
        "train",
        "texts.jsonl",
        "--output",
        output,
        "--vocab-size",
        "280",
    ])
}

#[test]
fn the_same_texts_give_the_same_tokenizer() {
    let folder = Folder::new();
    folder.write("texts.jsonl", &texts());
    let said = train(&folder, "one");
    assert!(
        said.contains("vocabulary  280 tokens, 3 of them special"),
        "{said}"
    );
    train(&folder, "two");
    for file in ["tokenizer.json", "tokenizer_config.json"] {
        assert_eq!(
            folder.read(&format!("one/{file}")),
            folder.read(&format!("two/{file}"))
        );
    }
    let refused = folder.refusal(&[
        "tokenizer",
        "train",
        "texts.jsonl",
        "--output",
        "one",
        "--vocab-size",
        "280",
    ]);
    assert!(refused.contains("one"), "{refused}");
}

#[test]
fn a_vocabulary_too_small_for_all_bytes_is_refused() {
    let folder = Folder::new();
    folder.write("texts.jsonl", &texts());
    let refused = folder.refusal(&[
        "tokenizer",
        "train",
        "texts.jsonl",
        "--output",
        "one",
        "--vocab-size",
        "200",
    ]);
    assert!(refused.contains("vocab"), "{refused}");
    assert!(!folder.path("one").exists());
}

#[test]
fn a_model_from_nothing_learns_a_text() {
    let folder = Folder::new();
    folder.write("texts.jsonl", &texts());
    train(&folder, "tokenizer");
    let size = [
        "--hidden-size=64",
        "--num-hidden-layers=1",
        "--num-attention-heads=4",
    ];
    folder.stdout(&[&["init", "model", "--tokenizer", "tokenizer"], &size[..]].concat());
    let said = folder.stdout(&[
        "train",
        "--model=model",
        "--data=texts.jsonl",
        "--finetuning_type=full",
        "--train_on=whole-text",
        "--learning_rate=1e-2",
        "--max_steps=40",
        "--eval_steps=40",
        "--logging_steps=1",
        "--output_dir=run",
    ]);
    assert!(said.contains("all steps are done"), "{said}");
    let text = folder.read("run/metrics.jsonl");
    let losses: Vec<f64> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"))
        .filter(|record| record["type"] == "train")
        .map(|record| record["loss"].as_f64().expect("a loss"))
        .collect();
    assert!(losses[39] < 0.3 * losses[0], "{losses:?}");
}
