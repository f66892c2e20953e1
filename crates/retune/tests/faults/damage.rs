//! Checkpoints that are not what was written.

use std::fs;

use crate::program::Folder;
use crate::run::{Dice, Kind, Runs, STEPS, ended, report, send, times};

/// A run with three checkpoints, the last at `STEPS`.
fn saved(runs: &Runs) -> String {
    runs.unbroken(Kind::Lora)
}

fn copy(folder: &Folder, from: &str, to: &str) {
    let target = folder.path(to);
    let _ = fs::remove_dir_all(&target);
    fs::create_dir(&target).expect("a folder");
    for entry in fs::read_dir(folder.path(from)).expect("a folder") {
        let entry = entry.expect("an entry");
        let name = entry.file_name().into_string().expect("a name");
        match entry.path().is_dir() {
            true => copy(folder, &format!("{from}/{name}"), &format!("{to}/{name}")),
            false => drop(fs::copy(entry.path(), target.join(name)).expect("a copy")),
        }
    }
}

/// Breaks a file of the last checkpoint; the run has to name it, go on from the one
/// before, and come to the same bytes.
fn is_found(runs: &Runs, unbroken: &str, file: &str, change: &dyn Fn(&mut Vec<u8>)) {
    copy(&runs.folder, unbroken, "damaged");
    let path = runs
        .folder
        .path(&format!("damaged/checkpoint-{STEPS}/{file}"));
    let mut bytes = fs::read(&path).expect("a file");
    change(&mut bytes);
    fs::write(&path, bytes).expect("a file");
    let outcome = runs
        .folder
        .outcome(&["train", "--resume", "--output_dir", "damaged"]);
    let named = format!("warning: damaged/checkpoint-{STEPS}/");
    assert!(
        outcome.starts_with("exit 0\n") && outcome.contains(&named),
        "{file}: {outcome}"
    );
    assert!(
        outcome.contains("going on from damaged/checkpoint-76, step 76 of 80"),
        "{outcome}"
    );
    runs.assert_same(Kind::Lora, unbroken, "damaged");
}

#[test]
fn a_damaged_checkpoint_is_named_and_the_one_before_it_used() {
    let runs = Runs::new();
    let unbroken = saved(&runs);
    let folder = runs.folder.path(&format!("{unbroken}/checkpoint-{STEPS}"));
    let mut files: Vec<(String, u64)> = fs::read_dir(folder)
        .expect("a checkpoint")
        .map(|entry| {
            let entry = entry.expect("an entry");
            let name = entry.file_name().into_string().expect("a name");
            (name, entry.metadata().expect("a size").len())
        })
        .collect();
    files.sort();
    assert_eq!(files.len(), 6, "{files:?}");
    let mut dice = Dice::new(4);
    let (cuts, flips) = (times(1, 20), times(6, 500));
    for (name, size) in &files {
        for _ in 0..cuts {
            let length = dice.below(*size) as usize;
            is_found(&runs, &unbroken, name, &|bytes| bytes.truncate(length));
        }
    }
    for number in 0..flips {
        let (name, size) = &files[number % files.len()];
        let (at, bit) = (dice.below(*size) as usize, dice.below(8));
        is_found(&runs, &unbroken, name, &|bytes| bytes[at] ^= 1 << bit);
    }
    report("files cut off", files.len() * cuts);
    report("bits flipped", flips);
}

#[test]
fn a_run_is_never_begun_again_in_silence() {
    let runs = Runs::new();
    let refused = runs
        .folder
        .refusal(&["train", "--resume", "--output_dir", "nowhere"]);
    assert!(refused.contains("there is no run in nowhere"), "{refused}");
    let unbroken = saved(&runs);
    for (step, folder) in
        retune_train::checkpoints(&runs.folder.path(&unbroken)).expect("checkpoints")
    {
        fs::write(folder.join("manifest.json"), "{}").unwrap_or_else(|_| panic!("{step}"));
    }
    let refused = runs
        .folder
        .refusal(&["train", "--resume", "--output_dir", &unbroken]);
    assert!(
        refused.contains("holds no checkpoint that is whole"),
        "{refused}"
    );
    let elsewhere = format!("{unbroken}/checkpoint-{STEPS}");
    let refused = runs
        .folder
        .refusal(&["train", "--resume", &elsewhere, "--output_dir", "other"]);
    assert!(
        refused.contains("belongs to the run in unbroken-Lora"),
        "{refused}"
    );
    // By name, a damaged one is not replaced by another.
    let named = format!("{unbroken}/checkpoint-{STEPS}");
    let refused = runs.folder.refusal(&["train", "--resume", &named]);
    assert!(refused.contains("manifest.json is damaged"), "{refused}");
}

#[test]
fn what_changes_the_numbers_is_refused_and_named() {
    let runs = Runs::new();
    let child = runs.start(&runs.begin(Kind::Lora, "run"));
    while !runs.folder.path("run/last").exists() {}
    send(&child, "TERM");
    ended(child);
    let resume = ["train", "--resume", "--output_dir", "run"];
    let refused = |more: &[&str]| runs.folder.refusal(&[&resume[..], more].concat());
    for (more, part) in [
        (
            ["--seed", "7"],
            "seed was 42, and is 7\nhint: begin a run of its own",
        ),
        (["--lora_alpha", "8"], "lora_alpha was 32.0, and is 8.0"),
        (
            ["--learning_rate", "1e-3"],
            "learning_rate was 0.0001, and is 0.001\nhint: --allow-changed",
        ),
        (
            ["--gradient_accumulation_steps", "3"],
            "gradient_accumulation_steps was 2, and is 3",
        ),
    ] {
        let said = refused(&more);
        assert!(said.contains(part), "{said}");
    }
    let said = refused(&["--seed", "7", "--allow-changed"]);
    assert!(said.contains("seed was 42"), "{said}");
    // The same bytes elsewhere are the same data; other bytes are not.
    let data = runs.folder.read("data.jsonl");
    runs.folder.write("moved.jsonl", &data);
    runs.folder
        .write("other.jsonl", &data.replace("They are 1.", "They are 2."));
    let said = refused(&["--data", "other.jsonl"]);
    assert!(
        said.contains("the data, the tokenizer or the chat template has other contents"),
        "{said}"
    );
    let model = fs::read(runs.folder.path("model/model.safetensors")).expect("weights");
    let mut changed = model.clone();
    *changed.last_mut().expect("bytes") ^= 1;
    fs::write(runs.folder.path("model/model.safetensors"), changed).expect("weights");
    let said = refused(&[]);
    assert!(said.contains("the base model has other contents"), "{said}");
    fs::write(runs.folder.path("model/model.safetensors"), model).expect("weights");
    // A folder may be moved, and its logs taken away.
    fs::rename(runs.folder.path("run"), runs.folder.path("kept")).expect("moved");
    for log in ["metrics.jsonl", "runs/"] {
        let path = runs.folder.path(&format!("kept/{log}"));
        fs::remove_file(&path)
            .or_else(|_| fs::remove_dir_all(&path))
            .expect("removed");
    }
    let resume = ["train", "--resume", "--output_dir", "kept"];
    let more = [
        "--data",
        "moved.jsonl",
        "--max_steps",
        "90",
        "--allow-changed",
        "--per_device_train_batch_size=4",
        "--gradient_accumulation_steps=1",
    ];
    let said = runs.folder.stdout(&[&resume[..], &more].concat());
    assert!(said.contains("all steps are done: 90 steps"), "{said}");
}

/// What a run goes back from is kept under other names: it is no longer of this run.
#[test]
fn going_back_sets_later_checkpoints_aside() {
    let runs = Runs::new();
    let unbroken = saved(&runs);
    copy(&runs.folder, &unbroken, "back");
    let folder = runs.folder.path("back");
    let steps = || -> Vec<u64> {
        let found = retune_train::checkpoints(&folder).expect("checkpoints");
        found.into_iter().map(|(step, _)| step).collect()
    };
    let first = steps()[0];
    let named = format!("back/checkpoint-{first}");
    // `precision: auto` and the type that it means here are one setting; the other is not.
    let accepted = ["f32", "bf16"].map(|precision| {
        let resume = ["train", "--resume", &named, "--precision", precision];
        runs.folder.outcome(&resume).starts_with("exit 0\n")
    });
    assert_eq!(accepted.iter().filter(|accepted| **accepted).count(), 1);
    assert!(
        folder
            .join(format!("checkpoint-{STEPS}.abandoned"))
            .is_dir()
    );
    assert_eq!(steps().last(), Some(&STEPS));
    runs.assert_same(Kind::Lora, &unbroken, "back");
    // Once more: what was set aside stays, and the best of a later step is none.
    let first = steps()[0];
    let named = format!("back/checkpoint-{first}");
    fs::write(folder.join("best"), format!("checkpoint-{STEPS}")).expect("written");
    let longer = ["--max_steps", "84", "--allow-changed"];
    let resume = ["train", "--resume", &named];
    let said = runs.folder.stdout(&[&resume[..], &longer].concat());
    let aside = format!("back/checkpoint-{STEPS}.abandoned-2");
    assert!(said.contains(&format!("set aside  {aside}")), "{said}");
    assert!(runs.folder.path(&aside).is_dir());
    assert!(
        folder
            .join(format!("checkpoint-{STEPS}.abandoned"))
            .is_dir()
    );
    let best = fs::read_to_string(folder.join("best")).unwrap_or_default();
    assert!(
        best.is_empty() || folder.join(best.trim()).is_dir(),
        "{best}"
    );
}
