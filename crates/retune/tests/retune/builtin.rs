//! The built-in base: the whole path on nothing but the program.

use std::fs;
use std::path::{Path, PathBuf};

use crate::program::{Folder, lines, model, row};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The only folder in the cache that has the built-in base.
fn in_cache(folder: &Folder) -> PathBuf {
    let entries = fs::read_dir(folder.path("cache")).expect("a cache");
    let mut found: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.join("config.json").exists())
        .collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

/// Settings as of `examples/zhenhuan.yaml`, with files where they are.
fn example() -> Vec<String> {
    let examples = root().join("examples");
    let at = |name: &str| examples.join(name).display().to_string();
    let (data, held_out) = (at("zhenhuan.json"), at("zhenhuan-held-out.json"));
    let settings = [at("zhenhuan.yaml"), "--data".into(), data];
    let more = ["--validation_data".into(), held_out];
    [&settings[..], &more[..]].concat()
}

#[test]
fn the_example_is_trained_evaluated_and_asked_on_a_bare_machine() {
    let folder = Folder::new();
    let example = example();
    let mut train: Vec<&str> = vec!["train"];
    train.extend(example.iter().map(String::as_str));
    train.extend([
        "--max_steps",
        "16",
        "--eval_steps",
        "8",
        "--save_steps",
        "8",
    ]);
    let said = folder.stdout(&train);
    for part in [
        "settings   as the built-in base has them: finetuning_type full, ",
        "model      builtin (qwen2), all weights\n",
        "asked      你是谁?\nbase       ",
        "60 rows\n",
        "perplexity",
        "next       retune chat output/zhenhuan\n",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let report = folder.read("output/zhenhuan/eval/report.json");
    let report: serde_json::Value = serde_json::from_str(&report).expect("JSON");
    assert_eq!(report["models"], serde_json::json!(["base", "zhenhuan"]));
    let perplexity = |model: usize| -> f64 {
        let figure = &report["figures"][0]["figures"][model]["value"];
        figure.as_f64().expect("a value")
    };
    assert!(perplexity(1) < 0.9 * perplexity(0), "{report}");
    let answer = folder.stdout(&["generate", "output/zhenhuan", "你是谁?"]);
    assert!(answer.chars().count() > 1, "{answer}");
}

#[test]
fn the_example_with_another_model_is_the_tutorials_job() {
    let folder = Folder::new();
    let example = root().join("examples/zhenhuan.yaml").display().to_string();
    let print = |more: &[&str]| {
        let printed = [&["train", &example, "--print-config"], more].concat();
        folder.stdout(&printed)
    };
    let settings = [
        ("finetuning_type", "lora", "full"),
        ("num_train_epochs", "3.0", "4.0"),
        ("per_device_train_batch_size", "2", "8"),
        ("gradient_accumulation_steps", "2", "1"),
        ("learning_rate", "0.0001", "0.0005"),
        ("lr_scheduler_type", "linear", "cosine"),
        ("weight_decay", "0.01", "0.1"),
    ];
    let (other, own) = (print(&["--model", &model()]), print(&[]));
    for (name, usual, builtin) in settings {
        for (printed, value) in [(&other, usual), (&own, builtin)] {
            let line = format!("{name}: {value}");
            assert!(
                printed.lines().any(|found| found == line),
                "{line}: {printed}"
            );
        }
    }
}

#[test]
fn an_adapter_finds_the_builtin_base_after_the_cache_is_gone_or_damaged() {
    let folder = Folder::new();
    let data = root().join("examples/zhenhuan.json").display().to_string();
    let train = ["train", "--model", "builtin", "--data", &data];
    let lora = ["--finetuning_type", "lora", "--r", "2"];
    let short = ["--max_steps", "2", "--save_steps", "2"];
    folder.stdout(&[&train[..], &lora, &short].concat());
    let ask = ["generate", "output", "你是谁?", "--max_new_tokens", "8"];
    let expected = folder.stdout(&ask);
    let base = in_cache(&folder);
    fs::write(base.join("model.safetensors"), "damaged").expect("written");
    assert_eq!(folder.stdout(&ask), expected);
    fs::remove_dir_all(folder.path("cache")).expect("removed");
    assert_eq!(folder.stdout(&ask), expected);
    assert_eq!(in_cache(&folder), base);
    // A run goes on with it, too.
    fs::remove_dir_all(&base).expect("removed");
    let resume = ["train", "--resume", "--allow-changed", "--max_steps", "3"];
    let said = folder.stdout(&resume);
    assert!(said.contains("model      builtin (qwen2)"), "{said}");
    // So does the line that began it.
    let again = [&train[..], &lora, &resume[1..4], &["4"]].concat();
    assert!(
        folder
            .stdout(&again)
            .contains("all steps are done: 4 steps")
    );
    let named = [&ask[..], &["--model", "builtin"]].concat();
    assert!(!folder.stdout(&named).is_empty());
}

#[test]
fn the_builtin_base_is_written_as_a_folder_of_at_most_16_megabytes() {
    let folder = Folder::new();
    assert_eq!(folder.stdout(&["builtin", "base"]), "written to base\n");
    let mut bytes = 0;
    for entry in fs::read_dir(folder.path("base")).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name");
        let own = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("builtin")
            .join(name);
        let found = fs::read(&path).expect("bytes");
        assert!(found == fs::read(own).expect("bytes"), "{}", path.display());
        bytes += found.len();
    }
    assert!(bytes <= 16_000_000, "{bytes}");
    let ask = |model: &str| {
        let greedy = ["--max_new_tokens", "12"];
        folder.stdout(&[&["generate", model, "你是谁?"][..], &greedy].concat())
    };
    assert_eq!(ask("base"), ask("builtin"));
    let refused = folder.refusal(&["builtin", "base"]);
    assert!(refused.contains("base is not empty"), "{refused}");
    // A folder of that name is another one.
    let refused = folder.refusal(&["generate", "./builtin", "你是谁?"]);
    assert!(refused.contains("./builtin is not there"), "{refused}");
}

/// What is wrong is the setting that is wrong, and not the model's name.
#[test]
fn a_wrong_setting_beside_it_is_told_alone() {
    let folder = Folder::new();
    folder.write("data.jsonl", &lines(&[row("a", "b")]));
    let train = ["train", "--model", "builtin", "--data", "data.jsonl"];
    let refused = folder.refusal(&[&train[..], &["--learning_rate", "-1"]].concat());
    assert!(
        refused.contains("--learning_rate: expected a number above 0, found -1"),
        "{refused}"
    );
    assert!(!refused.contains("builtin"), "{refused}");
}
