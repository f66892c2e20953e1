//! Names of settings and of values: other programs', and misspelt ones.

use retune_train::config::{ALIASES, FinetuningType, Precision, fields, foreign_names};
use retune_train::{Error, TrainConfig};

use super::{given, load, load_with, mistakes, problems};

#[test]
fn names_of_other_programs_are_understood() {
    let text = "model_name_or_path: m\ndataset: d.json\nlora_rank: 16\nlora_target: all\n\
        cutoff_len: 512\nval_size: 0.1\nlr: 1e-5\nnum_epochs: 1\n";
    let ours = "model: m\ndata: d.json\nr: 16\ntarget_modules: all-linear\n\
        max_length: 512\nvalidation_split: 0.1\nlearning_rate: 1e-5\nnum_train_epochs: 1\n";
    assert_eq!(
        load("a.yaml", text).expect("theirs"),
        load("a.yaml", ours).expect("ours")
    );
    let names: Vec<&str> = fields().iter().map(|field| field.name.as_str()).collect();
    for (alias, name) in ALIASES {
        assert!(
            names.contains(name),
            "{alias} means {name}, which there is not"
        );
        assert!(!names.contains(alias), "{alias} is a setting itself");
    }
}

#[test]
fn a_setting_and_its_other_name_are_twice_the_same() {
    let found = mistakes(load("a.yaml", "r: 8\nlora_rank: 8\n"));
    assert_eq!(found.len(), 1);
    assert_eq!(
        found[0]
            .to_string()
            .lines()
            .next()
            .map(|line| line.split_once(", line").expect("a line").1),
        Some(" 2, column 1, `lora_rank`: means r, which is given twice, first in line 1")
    );
}

/// As LLaMA-Factory's examples are written.
const FACTORY: &str = "\
model_name_or_path: m
trust_remote_code: true
stage: sft
do_train: true
finetuning_type: lora
lora_rank: 8
lora_target: q_proj,v_proj
dataset: a.json,b.json
template: qwen
cutoff_len: 2048
overwrite_cache: true
preprocessing_num_workers: 16
output_dir: saves/lora
plot_loss: true
report_to: none
per_device_train_batch_size: 1
learning_rate: 1.0e-4
lr_scheduler_type: constant_with_warmup
max_steps: -1
bf16: true
ddp_timeout: 180000000
resume_from_checkpoint: null
mask_history: true
";

/// As Axolotl's are.
const AXOLOTL: &str = "\
base_model: m
load_in_8bit: false
load_in_4bit: false
datasets:
  - path: a.json
    type: alpaca
  - path: b.json
    type: alpaca
dataset_prepared_path:
adapter: lora
lora_model_dir:
sequence_len: 2048
sample_packing: true
lora_r: 8
lora_target_linear: true
wandb_project:
micro_batch_size: 1
optimizer: adamw_torch
lr_scheduler: cosine
train_on_inputs: false
bf16: auto
flash_attention: true
special_tokens:
";

#[test]
fn a_file_of_llama_factory_is_taken_as_it_is() {
    let ours = "model: m\ntarget_modules: [q_proj, v_proj]\ndata: [a.json, b.json]\n\
        max_length: 2048\noutput_dir: saves/lora\nper_device_train_batch_size: 1\n\
        learning_rate: 1e-4\nlr_scheduler_type: constant\nprecision: bf16\ntrain_on: last-answer\n";
    let theirs = load("a.yaml", FACTORY).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(theirs, load("a.yaml", ours).expect("ours"));
}

#[test]
fn a_file_of_axolotl_is_taken_as_it_is() {
    let ours = "model: m\ntarget_modules: all-linear\ndata: [a.json, b.json]\nlayout: alpaca\n\
        max_length: 2048\nper_device_train_batch_size: 1\nlr_scheduler_type: cosine\n\
        precision: auto\ntrain_on: all-answers\n";
    let theirs = load("a.yaml", AXOLOTL).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(theirs, load("a.yaml", ours).expect("ours"));
}

#[test]
fn axolotl_trains_all_weights_where_no_adapter_is_named() {
    for (text, full) in [
        (
            "datasets: [{path: a.txt, type: completion}]\nadapter:\n",
            true,
        ),
        ("datasets: [{path: a.txt, type: completion}]\n", true),
        (
            "datasets: [{path: a.txt, type: completion}]\nadapter: lora\n",
            false,
        ),
        (
            "datasets: [{path: a.txt, type: completion}]\nfinetuning_type: lora\n",
            false,
        ),
        ("dataset: a.txt\n", false),
    ] {
        let config = load("a.yaml", text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(
            config.finetuning_type == FinetuningType::Full,
            full,
            "{text}"
        );
        assert_eq!(
            config.layout.is_some(),
            text.contains("completion"),
            "{text}"
        );
    }
}

#[test]
fn what_is_switched_off_or_said_twice_in_one_sense_is_no_mistake() {
    for text in [
        "load_in_4bit: no\nfp16: 0\nuse_dora: false\npure_bf16: false\nresize_vocab: false\ndeepspeed:\nfsdp: []\nspecial_tokens: {}\n",
        "train_on_prompt: false\nmask_history: true\n",
        "bf16: true\npure_bf16: true\n",
        "stage: pt\ntrain_on_prompt: true\n",
        "save_total_limit: null\n",
    ] {
        let loaded = load("a.yaml", text);
        assert!(loaded.is_ok(), "{text}: {loaded:?}");
    }
    let twice = problems(load("a.yaml", "bf16: true\nprecision: f32\n"));
    assert_eq!(twice, ["precision: is given twice, first in line 1"]);
    let qlora = "datasets: [{path: a.json, type: alpaca}]\nadapter: qlora\nlora_r: 16\n";
    assert_eq!(
        problems(load("a.yaml", qlora)),
        ["adapter: retune does not take \"qlora\""]
    );
    let list = given(&[("lora_target", "[q_proj, v_proj]")]);
    let config = load_with("a.yaml", "", &list).expect("settings");
    assert_eq!(config.target_modules, ["q_proj", "v_proj"]);
}

#[test]
fn what_is_passed_over_is_known_with_the_reason() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let path = folder.path().join("a.yaml");
    std::fs::write(&path, FACTORY).expect("a file is written");
    let found = TrainConfig::passed_over(Some(&path), &given(&[("report_to", "wandb")]));
    let keys: Vec<&str> = found.iter().map(|passed| passed.key.as_str()).collect();
    assert_eq!(
        keys,
        [
            "trust_remote_code",
            "stage",
            "do_train",
            "template",
            "overwrite_cache",
            "preprocessing_num_workers",
            "plot_loss",
            "report_to",
            "ddp_timeout",
            "resume_from_checkpoint",
            "report_to",
        ]
    );
    assert!(found.iter().all(|passed| !passed.reason.is_empty()));
}

#[test]
fn what_would_change_the_run_is_refused_and_says_what_to_write() {
    let none = "there is no such setting";
    for (text, problem, hint) in [
        ("load_in_4bit: true", none, "weights are not quantised"),
        (
            "adapter: qlora",
            "retune does not take \"qlora\"",
            "write adapter: lora",
        ),
        ("fp16: true", none, "write precision: bf16"),
        (
            "optim: lion_32bit",
            "retune does not take \"lion_32bit\"",
            "AdamW is the optimizer",
        ),
        (
            "stage: dpo",
            "retune does not take \"dpo\"",
            "for fine-tuning (sft)",
        ),
        (
            "do_train: false",
            "retune does not take false",
            "retune eval",
        ),
        (
            "eval_strategy: epoch",
            "retune does not take \"epoch\"",
            "eval_steps",
        ),
        ("use_dora: true", none, "there is LoRA"),
        ("max_samples: 100", none, "max_steps"),
        ("deepspeed: ds_z3_config.json", none, "one process"),
        (
            "datasets: [{path: a, type: alpaca}, {path: b, type: sharegpt}]",
            "retune does not take a list",
            "write data: FILE",
        ),
        (
            "datasets: [{path: a, type: completion}, {path: b, type: chat_template}]",
            "retune does not take a list",
            "write data: FILE",
        ),
        (
            "datasets: [{path: a, roles_to_train: [assistant]}]",
            "retune does not take a list",
            "write data: FILE",
        ),
        (
            "datasets: a.json",
            "retune does not take \"a.json\"",
            "write data: FILE",
        ),
    ] {
        let found = mistakes(load("a.yaml", text));
        assert_eq!(found.len(), 1, "{text}");
        assert_eq!(found[0].problem, problem, "{text}");
        let found = found[0].hint.as_deref().unwrap_or_default();
        assert!(found.contains(hint), "{text}: {found}");
    }
    // The command line is understood in the same way.
    let found = mistakes(load_with("a.yaml", "", &given(&[("load_in_4bit", "true")])));
    assert_eq!(found[0].problem, "there is no such setting");
    let config = load_with(
        "a.yaml",
        "",
        &given(&[("load_in_4bit", "false"), ("bf16", "true")]),
    );
    assert_eq!(config.expect("settings").precision, Precision::Bf16);
}

#[test]
fn names_of_others_are_none_of_ours_and_hints_name_settings_that_there_are() {
    let known: Vec<&str> = fields().iter().map(|field| field.name.as_str()).collect();
    for name in foreign_names() {
        assert!(!known.contains(&name), "{name} is a setting");
        assert!(
            !ALIASES.iter().any(|(alias, _)| *alias == name),
            "{name} is another name of one"
        );
        let Err(Error::Config { mistakes }) = load("a.yaml", format!("{name}: [1, {{a: 2}}]"))
        else {
            continue;
        };
        let hint = mistakes[0].hint.clone().unwrap_or_default();
        let words = hint.split(|c: char| !(c.is_alphanumeric() || c == '_'));
        for word in words.filter(|word| word.contains('_') && *word != "dataset_info") {
            assert!(known.contains(&word), "{name}: the hint names {word}");
        }
    }
}

#[test]
fn the_nearest_name_is_suggested_if_one_is_near() {
    let hint = |text: &str| {
        mistakes(load("a.yaml", text))[0]
            .hint
            .clone()
            .unwrap_or_default()
    };
    assert_eq!(hint("lerning_rate: 1\n"), "did you mean learning_rate?");
    assert_eq!(hint("Learning_Rate: 1\n"), "did you mean learning_rate?");
    assert_eq!(hint("target_module: a\n"), "did you mean target_modules?");
    assert_eq!(hint("lr_scheduler_type: cosin\n"), "did you mean cosine?");
    assert_eq!(
        hint("columns: {instructon: a}\n"),
        "did you mean instruction?"
    );
    assert_eq!(
        hint("zzz: 1\n"),
        "retune train --print-config shows all settings"
    );
    assert_eq!(hint("lr_scheduler_type: polynomial\n"), "");
}
