//! `retune train`: its settings, from files and the command line.

use std::path::Path;

use crate::program::{Folder, lines, model, row};

const MISTAKEN: &str = "\
# Ten mistakes and more
model: nowhere
data: [a.json, 3]
learning_rate: 1e-4x
lora_rank: 0
lerning_rate: 2
fp16: true
r: 4
lr_scheduler_type: cosin
warmup_steps: 10
warmup_ratio: 0.2
memory: 8G
columns: {instruct: q, output: a}
early_stopping_patience: 3
validation_split: 0
";

#[test]
fn all_mistakes_are_told_at_once() {
    let folder = Folder::new();
    folder.write("train.yaml", MISTAKEN);
    insta::assert_snapshot!(folder.outcome(&[
        "train",
        "train.yaml",
        "--max-length",
        "1",
        "rank=3"
    ]));
    folder.write("train.toml", "r = 1\nr = 2\nmodel = m\nseed = = 3\n");
    insta::assert_snapshot!(folder.outcome(&["train", "train.toml"]));
}

#[test]
fn a_bare_command_says_what_it_needs() {
    insta::assert_snapshot!(Folder::new().outcome(&["train"]));
}

#[test]
fn the_help_has_every_setting_with_its_default() {
    let folder = Folder::new();
    insta::assert_snapshot!(folder.stdout(&["train", "-h"]));
    let script = folder.stdout(&["completions", "bash"]);
    assert!(script.contains("--gradient_accumulation_steps"));
}

#[test]
fn settings_are_printed_as_a_commented_file() {
    let folder = Folder::new();
    let printed = folder.stdout(&["train", "--print-config"]);
    insta::assert_snapshot!(printed);
    folder.write("all.yaml", &printed);
    assert_eq!(
        folder.stdout(&["train", "--print-config", "all.yaml"]),
        printed
    );
    // From one language to the other and back.
    let toml = folder.stdout(&["train", "all.yaml", "--print-config", "toml"]);
    folder.write("all.toml", &toml);
    assert_eq!(
        folder.stdout(&["train", "all.toml", "--print-config=yaml"]),
        printed
    );
}

#[test]
fn settings_of_the_builtin_base_that_others_make_void_are_printed_as_comments() {
    let folder = Folder::new();
    let own = [
        "train",
        "--model",
        "builtin",
        "--max_steps",
        "3",
        "--print-config",
    ];
    let printed = folder.stdout(&own);
    assert!(printed.contains("\n# num_train_epochs: 4.0\n"), "{printed}");
    folder.write("own.yaml", &printed);
    assert_eq!(
        folder.stdout(&["train", "--print-config", "own.yaml"]),
        printed
    );
}

#[test]
fn what_has_no_effect_of_another_programs_file_is_told_with_the_reason() {
    let folder = Folder::new();
    let rows: Vec<_> = (0..8)
        .map(|number| row(&format!("{number}?"), "Yes."))
        .collect();
    folder.write("data.jsonl", &lines(&rows));
    let theirs = "model_name_or_path: builtin\ndataset: data.jsonl\nval_size: 0\nstage: sft\n\
        plot_loss: true\nreport_to: none\nbf16: false\nmax_steps: -1\n";
    folder.write("theirs.yaml", theirs);
    let told = folder.stdout(&["plan", "theirs.yaml", "--trust_remote_code", "true"]);
    for line in [
        "left out   stage: answers are learned unless train_on says otherwise",
        "           plot_loss, report_to: logs are files in output_dir, TensorBoard's among them",
        "           trust_remote_code: no code of a model's folder is ever run",
    ] {
        assert!(told.lines().any(|told| told == line), "{line} in {told}");
    }
    assert!(told.contains(", f32\n"), "{told}");
}

#[test]
fn options_and_arguments_go_over_the_file() {
    let folder = Folder::new();
    folder.write("train.yaml", "r: 4\nseed: 1\nnum_train_epochs: 2\n");
    let printed = folder.stdout(&[
        "train",
        "train.yaml",
        "seed=7",
        "lora-alpha=16",
        "--learning-rate",
        "5e-5",
        "--lora_target",
        "q_proj,v_proj",
        "--use_rslora",
        "--data",
        "a.json",
        "--data",
        "b.json",
        "--sample_prompts",
        "well, who?",
        "--columns",
        "instruction=question",
        "--max_steps",
        "9",
        "--print-config",
    ]);
    for line in [
        "r: 4",
        "seed: 7",
        "lora_alpha: 16.0",
        "learning_rate: 0.00005",
        "target_modules: [q_proj, v_proj]",
        "use_rslora: true",
        "data: [a.json, b.json]",
        "sample_prompts: [\"well, who?\"]",
        "columns: {instruction: question}",
        "max_steps: 9",
        "# num_train_epochs: 3.0",
    ] {
        assert!(
            printed.lines().any(|printed| printed == line),
            "{line} in {printed}"
        );
    }
}

#[test]
fn a_mistake_on_the_command_line_names_the_option() {
    let folder = Folder::new();
    let arguments = [
        "train",
        "--print-config",
        "--r",
        "0",
        "--min-lr",
        "-3",
        "--fp16",
        "--seed",
        "1",
        "--seed",
        "2",
        "r=2",
        "lr=fast",
        "bogus=1",
    ];
    insta::assert_snapshot!(folder.outcome(&arguments));
    let refusal = folder.refusal(&["train", "a.yaml", "b.yaml"]);
    assert!(
        refusal.starts_with("error: b.yaml is a second file of settings"),
        "{refusal}"
    );
    let refusal = folder.refusal(&["train", "--lerning_rate", "1"]);
    assert!(
        refusal.contains("a similar argument exists: '--learning_rate'"),
        "{refusal}"
    );
}

#[test]
fn a_message_does_not_steer_the_terminal() {
    let folder = Folder::new();
    let refusal = folder.refusal(&["train", "--print-config", "--precision", "\u{1b}[2Jx"]);
    assert!(!refusal.contains('\u{1b}'), "{refusal:?}");
    let refusal = folder.refusal(&["train", "--print-config", "\u{1b}[2J.yaml"]);
    assert!(!refusal.contains('\u{1b}'), "{refusal:?}");
}

#[test]
fn good_settings_are_not_called_a_mistake() {
    let folder = Folder::new();
    folder.write("a.jsonl", &lines(&[row("a", "b")]));
    std::fs::create_dir(folder.path("m")).expect("a folder");
    folder.write("m/config.json", "{}");
    let outcome = folder.outcome(&["train", "--model", "m", "--data", "a.jsonl"]);
    assert!(
        !outcome.contains("mistake") && !outcome.contains("--model"),
        "{outcome}"
    );
    // The tokenizer's folder of the tests is no whole model.
    let refusal = folder.refusal(&["train", "--model", &model(), "--data", "a.jsonl"]);
    assert!(refusal.contains("holds no config.json"), "{refusal}");
}

#[test]
fn the_schema_in_the_repository_is_the_programs() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/train.schema.json");
    let kept = std::fs::read_to_string(path).expect("a schema");
    let printed = Folder::new().stdout(&["train", "--schema"]);
    assert!(
        printed == kept.replace("\r\n", "\n"),
        "the settings changed: retune train --schema > docs/train.schema.json"
    );
}
