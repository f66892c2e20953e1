//! Two runs in one folder, numbers that are none, and too little memory.

use std::fs;

use serde_json::Value;

use crate::run::{Kind, Runs, ended, send};

#[test]
fn a_second_run_in_the_same_folder_is_refused() {
    let runs = Runs::new();
    let endless = ["--max_steps", "100000"];
    let begin: Vec<&str> = runs.begin(Kind::Lora, "run");
    let begin: Vec<&str> = begin
        .into_iter()
        .filter(|text| !["--max_steps", "80"].contains(text))
        .collect();
    let child = runs.start(&[&begin[..], &endless].concat());
    while !runs.folder.path("run/last").exists() {}
    for arguments in [&begin[..], &["train", "--resume", "--output_dir", "run"]] {
        let refused = runs.folder.refusal(arguments);
        assert!(refused.contains("is in use by another run"), "{refused}");
        assert!(refused.contains(&child.id().to_string()), "{refused}");
    }
    send(&child, "TERM");
    assert_eq!(ended(child).code(), Some(143));
    // It is free again, and says how to go on.
    let refused = runs.folder.refusal(&begin);
    assert!(
        refused.contains("hint: retune train --resume --output_dir run goes on with it"),
        "{refused}"
    );
}

/// A model in which the letter Z leads to NaN, and one row with it.
fn poisoned() -> Runs {
    let runs = Runs::with_model(&["--tie-word-embeddings", "false"]);
    let rows = runs
        .folder
        .read("data.jsonl")
        .replace("How many are 77?", "How many are ZZ?");
    runs.folder.write("data.jsonl", &rows);
    let path = runs.folder.path("model/model.safetensors");
    let mut bytes = fs::read(&path).expect("weights");
    let header = u64::from_le_bytes(bytes[..8].try_into().expect("8 bytes")) as usize;
    let index: Value = serde_json::from_slice(&bytes[8..8 + header]).expect("a header");
    let start = index["model.embed_tokens.weight"]["data_offsets"][0]
        .as_u64()
        .expect("an offset");
    let row = 8 + header + start as usize + usize::from(b'Z') * 64 * 4;
    bytes[row..row + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(&path, bytes).expect("weights");
    runs
}

#[test]
fn a_step_that_is_not_finite_changes_nothing_and_is_named() {
    let runs = poisoned();
    let refused = runs.folder.refusal(&runs.begin(Kind::Lora, "stopped"));
    assert!(
        refused.contains("the loss is not finite; nothing was changed by this step"),
        "{refused}"
    );
    assert!(refused.contains("How many are ZZ?"), "{refused}");
    let step: u64 = refused
        .split("step ")
        .nth(1)
        .and_then(|text| text.split(':').next())
        .expect("a step")
        .parse()
        .expect("a step");
    // What was learned before is saved.
    assert_eq!(
        runs.folder.read("stopped/last"),
        format!("checkpoint-{}", step - 1)
    );
    let resume = ["train", "--resume", "--output_dir", "stopped"];
    let again = runs.folder.refusal(&resume);
    assert!(
        again.contains(&format!("step {step}: the loss is not finite")),
        "{again}"
    );
    let said = runs
        .folder
        .stdout(&[&resume[..], &["--on_nonfinite", "skip"]].concat());
    assert!(
        said.contains("left out: step ") && said.contains("all steps are done: 80 steps"),
        "{said}"
    );
    let metrics = runs.folder.read("stopped/metrics.jsonl");
    assert!(metrics.contains("\"type\":\"notice\""), "{metrics}");
}

#[test]
fn a_loss_far_above_those_before_it_is_reported_with_its_samples() {
    let runs = Runs::new();
    let usual = runs.folder.read("data.jsonl");
    let strange = crate::program::row(
        "How many?",
        "\u{7}~#^`|\u{6}{}@~^#`\u{7}|~".repeat(6).as_str(),
    );
    runs.folder.write("data.jsonl", &usual);
    runs.folder
        .write("strange.jsonl", &format!("{}{strange}\n", usual.repeat(3)));
    let said = runs.folder.stdout(&[
        "train",
        "--model",
        "model",
        "--data",
        "strange.jsonl",
        "--finetuning_type",
        "full",
        "--learning_rate",
        "5e-3",
        "--num_train_epochs",
        "1",
        "--validation_split",
        "0",
        "--disable_shuffling",
        "--output_dir",
        "spike",
    ]);
    assert!(said.contains("where the 32 steps before had"), "{said}");
    assert!(said.contains("How many?"), "{said}");
    let metrics = runs.folder.read("spike/metrics.jsonl");
    assert!(
        metrics.contains("\"type\":\"notice\",\"step\":106"),
        "{metrics}"
    );
}

#[test]
fn memory_that_runs_out_is_a_clear_end() {
    let runs = Runs::new();
    let refused = runs
        .folder
        .refusal(&[&runs.begin(Kind::Lora, "small")[..], &["--memory", "30MB"]].concat());
    assert!(refused.contains("memory sets the limit"), "{refused}");
}

/// Nothing of it is left that another could spoil, so the same command begins again.
#[test]
fn a_run_that_left_no_checkpoint_is_begun_again() {
    let runs = poisoned();
    let begin = [&runs.begin(Kind::Lora, "first")[..], &["--seed", "3"]].concat();
    // All rows are the one that is not finite, so that the first step is.
    let rows = runs.folder.read("data.jsonl");
    runs.folder
        .write("data.jsonl", &rows.replace("are", "are ZZ"));
    let refused = runs.folder.refusal(&begin);
    assert!(
        refused.contains("step 1: the loss is not finite"),
        "{refused}"
    );
    let resume = ["train", "--resume", "--output_dir", "first"];
    let refused = runs.folder.refusal(&resume);
    assert!(
        refused.contains("hint: leave out --resume to begin a run"),
        "{refused}"
    );
    runs.folder.write("data.jsonl", &rows);
    let said = runs
        .folder
        .stdout(&[&begin[..], &["--on_nonfinite", "skip"]].concat());
    assert!(said.contains("all steps are done: 80 steps"), "{said}");
    let metrics = runs.folder.read("first/metrics.jsonl");
    assert_eq!(metrics.matches("\"type\":\"start\"").count(), 1);
    let events = fs::read_dir(runs.folder.path("first/runs")).expect("a folder");
    assert_eq!(events.count(), 1);
    // One that was ended before its first line leaves no more than its name.
    fs::create_dir(runs.folder.path("second")).expect("a folder");
    runs.folder.write("second/metrics.jsonl", "");
    let second: Vec<&str> = begin
        .iter()
        .map(|word| if *word == "first" { "second" } else { word })
        .collect();
    runs.folder
        .stdout(&[&second[..], &["--on_nonfinite", "skip"]].concat());
    // What was saved was once there, wherever it is now.
    for (_, folder) in retune_train::checkpoints(&runs.folder.path("second")).expect("a folder") {
        fs::remove_dir_all(folder).expect("removed");
    }
    let kept = runs.folder.read("second/metrics.jsonl");
    let refused = runs.folder.refusal(&second);
    assert!(refused.contains("second holds another run"), "{refused}");
    assert_eq!(runs.folder.read("second/metrics.jsonl"), kept);
    // A step that is left out is no update: the moments count those that were made.
    let step = runs.folder.read("first/last").replace("checkpoint-", "");
    let state = runs
        .folder
        .read(&format!("first/checkpoint-{step}/trainer_state.json"));
    let state: Value = serde_json::from_str(&state).expect("JSON");
    let left_out = metrics.matches("nothing was changed by this step").count();
    assert!(left_out > 0);
    assert_eq!(state["progress"]["skipped"], left_out);
}

/// One that is no number is not the best, and a checkpoint that knows of it can be used.
#[test]
fn a_validation_that_is_not_finite_is_never_the_best() {
    let runs = poisoned();
    let bad = crate::program::row("How many are ZZ?", "None.");
    runs.folder.write("held.jsonl", &format!("{bad}\n"));
    let rows = runs.folder.read("data.jsonl").replace("ZZ", "77");
    runs.folder.write("data.jsonl", &rows);
    let held = ["--validation_data", "held.jsonl"];
    let begin = [&runs.begin(Kind::Lora, "run")[..], &held].concat();
    let said = runs.folder.outcome(&begin);
    assert!(said.contains("all steps are done: 80 steps"), "{said}");
    assert!(said.starts_with("exit 1\n"), "{said}");
    assert!(
        said.contains("step 80 the validation loss is no number"),
        "{said}"
    );
    assert!(!runs.folder.path("run/best").exists());
    let longer = ["--allow-changed", "--max_steps", "84"];
    let resume = ["train", "--resume", "--output_dir", "run"];
    let said = runs.folder.outcome(&[&resume[..], &longer].concat());
    assert!(said.contains("all steps are done: 84 steps"), "{said}");
}
