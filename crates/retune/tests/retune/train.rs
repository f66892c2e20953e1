//! `retune init`, `plan` and `train`, end to end on a small model.

use serde_json::Value;

use crate::program::{Folder, lines, model, row};

/// Two hundred rows with something to learn.
fn rows() -> String {
    let rows: Vec<Value> = (0..200)
        .map(|number| {
            let prompt = format!("How many are {number}?");
            row(&prompt, &format!("They are {}.", number % 7))
        })
        .collect();
    lines(&rows)
}

/// A folder with a new model and data.
fn folder() -> Folder {
    let folder = Folder::new();
    folder.write("data.jsonl", &rows());
    folder.stdout(&[
        "init",
        "model",
        "--tokenizer",
        &model(),
        "--model-type",
        "qwen2",
        "--hidden-size",
        "64",
        "--num-hidden-layers",
        "2",
        "--num-attention-heads",
        "4",
        "--num-key-value-heads",
        "2",
    ]);
    folder
}

const BASE: [&str; 11] = [
    "train",
    "--model",
    "model",
    "--data",
    "data.jsonl",
    "--logging_steps",
    "1",
    "--eval_steps",
    "3",
    "--precision",
    "f32",
];

fn train(folder: &Folder, output: &str, more: &[&str]) -> String {
    let steps: &[&str] = match more.iter().any(|option| option.starts_with("--max_steps")) {
        true => &[],
        false => &["--max_steps=6"],
    };
    let arguments = [&BASE[..], &["--output_dir", output], steps, more].concat();
    folder.stdout(&arguments)
}

fn records(folder: &Folder, output: &str, kind: &str) -> Vec<Value> {
    let text = folder.read(&format!("{output}/metrics.jsonl"));
    let records = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"));
    records
        .filter(|record: &Value| record["type"] == kind)
        .collect()
}

fn adapter(folder: &Folder, output: &str) -> Vec<u8> {
    let name = format!("{output}/checkpoint-6/adapter_model.safetensors");
    std::fs::read(folder.path(&name)).expect("an adapter")
}

#[test]
fn a_run_gives_the_same_bytes_at_any_number_of_threads_and_split() {
    let folder = folder();
    train(&folder, "one", &["--threads", "1"]);
    for (output, more) in [
        ("two", ["--threads", "2"]),
        ("recomputed", ["--gradient_checkpointing", "on"]),
    ] {
        train(&folder, output, &more);
        assert_eq!(
            adapter(&folder, "one"),
            adapter(&folder, output),
            "{output}"
        );
    }
    let split = [
        "--per_device_train_batch_size=4",
        "--gradient_accumulation_steps=1",
    ];
    train(&folder, "split", &split);
    assert_eq!(adapter(&folder, "one"), adapter(&folder, "split"));
    train(&folder, "other", &["--seed", "7"]);
    assert_ne!(adapter(&folder, "one"), adapter(&folder, "other"));
}

#[test]
fn a_run_says_and_leaves_what_it_did() {
    let folder = folder();
    let prompt = [
        "--sample_prompts",
        "How many are 3?",
        "--sample_max_new_tokens",
        "4",
    ];
    let said = train(&folder, "run", &prompt);
    for part in [
        "190 samples to learn from, 10 to validate on",
        "all steps are done: 6 steps",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let steps = records(&folder, "run", "train");
    assert_eq!(steps.len(), 6);
    assert_eq!(steps[0]["learning_rate"], 1e-4);
    assert!(steps[5]["learning_rate"].as_f64().expect("a rate") < 3e-5);
    // Before the first step, and behind the third and the sixth.
    assert_eq!(records(&folder, "run", "eval").len(), 3);
    assert_eq!(records(&folder, "run", "sample").len(), 3);
    let best = folder.read("run/best");
    for file in [
        "adapter_model.safetensors",
        "adapter_config.json",
        "retune.json",
    ] {
        assert!(
            folder.path(&format!("run/{best}/{file}")).exists(),
            "{file}"
        );
    }
    assert!(folder.read("run/loss.svg").starts_with("<svg"));
    let refused = folder.refusal(&[&BASE[..], &["--output_dir", "run"]].concat());
    assert!(refused.contains("holds another run\nhint: "), "{refused}");
}

#[test]
fn all_weights_learn_and_what_is_frozen_stays() {
    let folder = folder();
    let full = [
        "--finetuning_type=full",
        "--learning_rate=5e-3",
        "--max_steps=60",
        "--freeze=layers.0.self_attn",
        "--save_steps=60",
        "--warmup_ratio=0",
    ];
    train(&folder, "full", &full);
    let steps = records(&folder, "full", "train");
    let loss = |index: usize| steps[index]["loss"].as_f64().expect("a loss");
    assert!(loss(59) < 0.5 * loss(0), "{} {}", loss(0), loss(59));
    let everything = ["--finetuning_type=full", "--freeze=*", "--max_steps=1"];
    let refused = folder.refusal(&[&BASE[..], &everything].concat());
    assert!(
        refused.contains("nothing of the model is trained"),
        "{refused}"
    );
    // What was written is a model that can be trained on.
    let next = [&BASE[..], &["--output_dir", "next", "--max_steps=6"]].concat();
    let next: Vec<&str> = next
        .into_iter()
        .map(|argument| match argument {
            "model" => "full/checkpoint-60",
            other => other,
        })
        .collect();
    folder.stdout(&next);
    let first = records(&folder, "next", "train")[0]["loss"].as_f64();
    assert!(first.expect("a loss") < 0.6 * loss(0), "{first:?}");
}

#[test]
fn a_plan_measures_what_training_takes_and_writes_nothing() {
    let folder = folder();
    let plan: Vec<&str> = ["plan"]
        .into_iter()
        .chain(BASE[1..].iter().copied())
        .chain(["--max_steps=6"])
        .collect();
    let said = folder.stdout(&plan);
    for part in ["a step of ", " of what was expected", "for 6 steps of "] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(!folder.path("output").exists());
    let profile = folder.stdout(&[&plan[..], &["--profile", "2"]].concat());
    for part in ["linear_forward ", "adamw ", "a step ", "2 steps, "] {
        assert!(profile.contains(part), "{part}: {profile}");
    }
    let refused = folder.refusal(&[&plan[..], &["--memory", "1MB"]].concat());
    assert!(refused.contains("this run takes at least"), "{refused}");
}

#[test]
fn what_cannot_be_trained_is_said_before_anything_is_written() {
    let folder = folder();
    let ids = folder
        .read("model/config.json")
        .replace("\"vocab_size\": ", "\"vocab_size\": 1");
    assert!(ids.contains("\"vocab_size\": 1"));
    for (more, part) in [
        (vec!["--model", "nowhere"], "nowhere"),
        (
            vec!["--target_modules", "x_proj"],
            "nothing of the model is trained",
        ),
        (vec!["--learning_rate", "nan"], "learning_rate"),
        (
            vec!["--validation_split", "0.001"],
            "leaves 200 samples to train and 0",
        ),
        (vec!["--adapter", "nowhere"], "nowhere"),
    ] {
        let mut arguments = BASE.to_vec();
        if more[0] == "--model" {
            arguments.drain(1..3);
        }
        let refused = folder.refusal(&[arguments, more].concat());
        assert!(refused.contains(part), "{part}: {refused}");
    }
    let weights = std::fs::read(folder.path("model/model.safetensors")).expect("weights");
    std::fs::write(
        folder.path("model/model.safetensors"),
        &weights[..weights.len() / 2],
    )
    .expect("written");
    let refused = folder.refusal(&BASE);
    assert!(refused.contains("it may be cut off"), "{refused}");
}
