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
    init(&folder, "model", "0");
    folder
}

/// A new model in the folder `name`.
fn init(folder: &Folder, name: &str, seed: &str) {
    let tokenizer = model();
    let what = ["init", name, "--seed", seed, "--tokenizer", &tokenizer];
    let shape = [
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
    ];
    folder.stdout(&[&what[..], &shape].concat());
}

/// `BASE` with another model.
fn of_model(name: &'static str) -> Vec<&'static str> {
    let words = BASE.into_iter();
    words
        .map(|word| if word == "model" { name } else { word })
        .collect()
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
    assert!(
        refused.contains("holds a run that is done\nhint: retune train --resume"),
        "{refused}"
    );
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
    let steps = ["--output_dir", "next", "--max_steps=6"];
    folder.stdout(&[&of_model("full/checkpoint-60")[..], &steps].concat());
    let first = records(&folder, "next", "train")[0]["loss"].as_f64();
    assert!(first.expect("a loss") < 0.6 * loss(0), "{first:?}");
}

#[test]
fn a_run_ends_early_where_the_validation_loss_no_longer_falls() {
    let folder = folder();
    let patience = [
        "--max_steps=60",
        "--early_stopping_patience=2",
        "--early_stopping_threshold=100",
    ];
    let said = train(&folder, "early", &patience);
    assert!(
        said.contains("the validation loss no longer fell: 9 steps"),
        "{said}"
    );
    // The threshold says only how long it goes on: the best is the one of the lowest loss.
    assert_eq!(folder.read("early/best"), "checkpoint-9");
    assert_eq!(folder.read("early/last"), "checkpoint-9");
    let next = "--resume --output_dir early --allow-changed --early_stopping_patience null --early_stopping_threshold 0";
    assert!(said.contains(&format!("{next}\n")), "{said}");
    let again = folder.stdout(&["train", "--resume", "--output_dir", "early"]);
    assert!(
        again.contains("the validation loss no longer fell: 9 steps"),
        "{again}"
    );
    let words: Vec<&str> = ["train"].into_iter().chain(next.split(' ')).collect();
    let on = folder.stdout(&[&words[..], &["--max_steps=12"]].concat());
    assert!(on.contains("all steps are done: 12 steps"), "{on}");
}

#[test]
fn a_run_goes_on_under_any_of_its_names_and_with_new_settings_that_rest_on_its_own() {
    let folder = folder();
    folder.write(
        "held.jsonl",
        &lines(&[row("How many are 1?", "They are 1.")]),
    );
    let held = [
        "--validation_data=held.jsonl",
        "--max_steps=3",
        "--save_steps=2",
    ];
    train(&folder, "run", &held);
    let on = |resume: &[&str], steps: &str| {
        let more = ["--allow-changed", "--max_steps", steps];
        let said = folder.stdout(&[&["train", "--resume"], resume, &more].concat());
        assert!(
            said.contains(&format!("all steps are done: {steps} steps")),
            "{said}"
        );
        said
    };
    on(&["run"], "4");
    on(&["run/last"], "5");
    assert!(
        on(&["run/best", "--output_dir", "run"], "6").contains("going on from run/checkpoint-")
    );
    // What the run itself says makes sense of it.
    assert!(on(&["run", "--do_predict"], "7").contains("perplexity"));
    let printed = folder.stdout(&["train", "--resume", "run", "--print-config"]);
    assert!(printed.contains("\nmax_steps: 7\n"), "{printed}");
    let other = ["train", "--resume", "run/last", "--output_dir", "elsewhere"];
    let refused = folder.refusal(&other);
    assert!(
        refused.contains("run/last belongs to the run in run"),
        "{refused}"
    );
}

#[test]
fn rows_that_training_leaves_out_are_left_out_of_what_it_is_measured_on() {
    let folder = folder();
    let held = [
        lines(&[row("How many are 1?", "They are 1.")]),
        "{\"instruction\": 5}\n".to_owned(),
    ];
    folder.write("held.jsonl", &held.concat());
    let skipping = [
        "--validation_data=held.jsonl",
        "--max_steps=1",
        "--skip_bad_rows",
        "--do_predict",
    ];
    let outcome = folder.outcome(&[&BASE[..], &["--output_dir", "run"], &skipping].concat());
    assert!(outcome.starts_with("exit 0\n"), "{outcome}");
    assert!(outcome.contains("left out: held.jsonl, row 2"), "{outcome}");
    let refused = folder.refusal(&["eval", "run", "--data", "held.jsonl"]);
    assert!(refused.contains("held.jsonl, row 2"), "{refused}");
    let said = folder.stdout(&[
        "eval",
        "run",
        "--data",
        "held.jsonl",
        "--skip",
        "--chrf-word-order",
        "2",
    ]);
    for part in ["1 row\n", "1 row left out", "nw:2"] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn an_adapter_is_learned_on_with_the_system_prompt_of_its_training() {
    let folder = folder();
    train(&folder, "first", &["--system=Count.", "--max_steps=2"]);
    let second = ["--adapter=first", "--max_steps=2"];
    let said = train(&folder, "second", &second);
    assert!(
        said.contains("system     that of the training before: Count."),
        "{said}"
    );
    let about: Value =
        serde_json::from_str(&folder.read("second/checkpoint-2/retune.json")).expect("JSON");
    assert_eq!(about["system"], "Count.");
    assert_eq!(about["settings"]["adapter"], "first/checkpoint-2");
    let none = ["--adapter=first", "--system=null", "--max_steps=1"];
    assert!(!train(&folder, "without", &none).contains("system  "));
    folder.write(
        "template.jinja",
        "{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}",
    );
    let other = [
        "--adapter=first",
        "--max_steps=1",
        "--chat_template=template.jinja",
    ];
    let outcome = folder.outcome(&[&BASE[..], &["--output_dir", "third"], &other].concat());
    assert!(
        outcome.contains("was trained with another chat template"),
        "{outcome}"
    );
}

#[test]
fn a_warm_up_beyond_the_run_is_refused() {
    let folder = folder();
    let more = ["--num_train_epochs=0.1", "--warmup_steps=1000"];
    let refused = folder.refusal(&[&BASE[..], &more].concat());
    assert!(
        refused.contains("warmup_steps: expected at most"),
        "{refused}"
    );
}

#[test]
fn general_data_are_mixed_into_every_step() {
    let folder = folder();
    folder.write("general.jsonl", &lines(&[row(&"a".repeat(300), "b")]));
    let tokens = |output: &str, more: &[&str]| {
        train(&folder, output, more);
        let steps = records(&folder, output, "train");
        steps
            .iter()
            .map(|step| step["tokens"].as_u64().expect("tokens"))
            .collect::<Vec<u64>>()
    };
    let alone = tokens("alone", &[]);
    let mixed = tokens(
        "mixed",
        &["--replay_data", "general.jsonl", "--replay_ratio", "0.5"],
    );
    // As many general samples as others, four a step, each above 300 tokens.
    for (step, (alone, mixed)) in alone.iter().zip(mixed).enumerate() {
        let general = mixed - alone;
        assert!(general > 4 * 300 * (step as u64 + 1), "{step}: {general}");
    }
}

#[test]
fn a_tensor_may_have_a_rate_of_its_own() {
    let folder = folder();
    train(&folder, "own", &["--learning_rates", "lora_B=1e-30"]);
    let bytes = adapter(&folder, "own");
    let tensors = safetensors::SafeTensors::deserialize(&bytes).expect("tensors");
    for (name, tensor) in tensors.tensors() {
        let values = tensor.data().chunks_exact(4);
        let largest = values
            .map(|value| f32::from_le_bytes(value.try_into().expect("4 bytes")).abs())
            .fold(0.0, f32::max);
        // B begins at zero.
        assert_eq!(
            largest < 1e-20,
            name.contains("lora_B"),
            "{name}: {largest}"
        );
    }
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

/// Rows that are not used are counted and shown, whichever file they stand in.
#[test]
fn rows_that_are_left_out_are_told_of_each_file() {
    let folder = folder();
    let long = row("How many?", &"They are 3. ".repeat(40));
    folder.write("data.jsonl", &format!("{}{long}\n", rows()));
    folder.write(
        "held.jsonl",
        &format!("{}{}", rows(), format!("{long}\n").repeat(7)),
    );
    let more = ["--validation_data", "held.jsonl", "--max_length", "200"];
    let plan = [&["plan"], &BASE[1..], &more].concat();
    let said = folder.stdout(&plan);
    for part in [
        "data: 1 row left out, too long",
        "validation_data: 7 rows left out, too long",
        "  held.jsonl, row 201 (line 201)",
        "  … and 2 more",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn what_cannot_be_trained_is_said_before_anything_is_written() {
    let folder = folder();
    for (more, part) in [
        (vec!["--model", "nowhere"], "nowhere"),
        (
            vec!["--target_modules", "q_proj,x_proj"],
            "target_modules: x_proj is no linear layer of a block; there are down_proj, gate_proj, k_proj, ",
        ),
        (
            vec!["--finetuning_type", "full", "--freeze", "embed_token"],
            "freeze: embed_token is no tensor; there are down_proj, embed_tokens, ",
        ),
        (
            vec!["--finetuning_type", "full", "--freeze", "*"],
            "nothing of the model is trained",
        ),
        (
            vec!["--learning_rates", "lora_C=1e-3"],
            "learning_rates: lora_C is nothing that is trained; there are lora_A, lora_B",
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
    // An adapter of a model with other sizes.
    train(&folder, "narrow", &["--target_modules", "q_proj"]);
    let config = folder.read("narrow/checkpoint-6/adapter_config.json");
    folder.write(
        "narrow/checkpoint-6/adapter_config.json",
        &config.replace("q_proj", "down_proj"),
    );
    let refused = folder.refusal(&[&BASE[..], &["--adapter", "narrow/checkpoint-6"]].concat());
    for part in [
        "down_proj.lora_A.weight [8, 192] is missing",
        "q_proj.lora_A.weight has no place",
    ] {
        assert!(refused.contains(part), "{part}: {refused}");
    }
    // One of a model with the same sizes and other weights.
    init(&folder, "twin", "7");
    let steps = ["--output_dir", "other", "--max_steps=6"];
    folder.stdout(&[&of_model("twin")[..], &steps].concat());
    let refused = folder.refusal(&[&BASE[..], &["--adapter", "other/checkpoint-6"]].concat());
    assert!(
        refused.contains("other/checkpoint-6 was trained on another base model"),
        "{refused}"
    );
    let config = folder.read("model/config.json");
    let small = config.replace("\"vocab_size\": 258", "\"vocab_size\": 90");
    assert_ne!(config, small);
    folder.write("model/config.json", &small);
    let refused = folder.refusal(&BASE);
    assert!(
        refused.contains("gives ids up to 257, but the model's vocab_size is 90"),
        "{refused}"
    );
    folder.write("model/config.json", &config);
    let weights = std::fs::read(folder.path("model/model.safetensors")).expect("weights");
    std::fs::write(
        folder.path("model/model.safetensors"),
        &weights[..weights.len() / 2],
    )
    .expect("written");
    let refused = folder.refusal(&BASE);
    assert!(refused.contains("it may be cut off"), "{refused}");
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 988097824\n";
    folder.write("model/model.safetensors", pointer);
    let refused = folder.refusal(&BASE);
    assert!(refused.contains("git lfs pull"), "{refused}");
    std::fs::remove_file(folder.path("model/model.safetensors")).expect("removed");
    folder.write("model/pytorch_model.bin", "a pickle");
    let refused = folder.refusal(&BASE);
    assert!(
        refused.contains("pytorch_model.bin is a pickle"),
        "{refused}"
    );
}
