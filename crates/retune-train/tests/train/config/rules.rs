//! Bounds of single settings, and settings that contradict each other.

use retune_train::config::{FinetuningType, SchedulerType};

use super::{given, load, load_with, mistakes, problems};

/// Values that a setting does not take, and the nearest that it does.
const BOUNDS: [(&str, &[&str], &[&str]); 34] = [
    (
        "r",
        &["0", "-1", "1.5", "true", "'8'", "null", "[8]"],
        &["1", "4096"],
    ),
    (
        "lora_alpha",
        &["0", "-1", ".nan", ".inf", "x"],
        &["0.1", "16"],
    ),
    ("lora_dropout", &["1", "-0.1", "1.5"], &["0", "0.99"]),
    (
        "use_rslora",
        &["yes", "1", "'true'", "null"],
        &["true", "false"],
    ),
    (
        "target_modules",
        &[
            "[]",
            "[a, '']",
            "[[a]]",
            "{a: b}",
            "3",
            "[all-linear, q_proj]",
        ],
        &["a", "[a, b]", "all"],
    ),
    (
        "max_length",
        &["1", "0", "16777217", "18446744073709551616"],
        &["2", "16777216"],
    ),
    ("validation_split", &["1", "-0.1", "100"], &["0", "0.5"]),
    ("eval_steps", &["0", "0.5"], &["1"]),
    ("save_steps", &["0"], &["1"]),
    ("logging_steps", &["0"], &["1"]),
    (
        "early_stopping_patience",
        &["0", "4294967296"],
        &["1", "null"],
    ),
    ("num_train_epochs", &["0", "-1"], &["0.5", "3"]),
    ("max_steps", &["0", "-2", "1.0"], &["1", "-1", "null"]),
    ("per_device_train_batch_size", &["0"], &["1"]),
    ("gradient_accumulation_steps", &["0"], &["1"]),
    (
        "learning_rate",
        &["0", "-1e-4", ".nan", ".inf", "-.inf", "'1e-4'", "1e-4x"],
        &["1e-4", "1E-4", "1.0e-4", "1"],
    ),
    ("warmup_ratio", &["1", "-0.1"], &["0", "0.5"]),
    ("min_lr", &["-1e-6", "1"], &["0", "1e-4"]),
    ("layerwise_lr_decay", &["0", "1.1"], &["0.5", "1"]),
    ("weight_decay", &["-0.1"], &["0"]),
    ("adam_beta1", &["1", "-0.1"], &["0", "0.9"]),
    ("adam_beta2", &["1"], &["0.95"]),
    ("adam_epsilon", &["0"], &["1e-8"]),
    ("max_grad_norm", &["-1"], &["0", "1"]),
    (
        "seed",
        &["-1", "1.5", "18446744073709551616"],
        &["0", "18446744073709551615"],
    ),
    ("threads", &["0"], &["1", "null"]),
    ("memory", &["8", "8G", "much", "0GB"], &["8GB", "null"]),
    (
        "device",
        &["mps", "gpu", "'cuda:'", "cuda:x", "cuda:-1", "0", "null"],
        &["auto", "cpu", "cuda", "cuda:1"],
    ),
    ("precision", &["fp16", "true"], &["auto", "f32", "bf16"]),
    (
        "gradient_checkpointing",
        &["yes", "1"],
        &["true", "false", "on", "off", "auto"],
    ),
    ("encoding", &["klingon", "3"], &["gb18030", "UTF-8"]),
    (
        "columns",
        &[
            "{nothing: a}",
            "a",
            "[a]",
            "{output: 1}",
            "{output: a, output: b}",
        ],
        &["{output: a}", "{}"],
    ),
    (
        "learning_rates",
        &["{a: 0}", "{a: x}", "{a: .inf}"],
        &["{a: 1e-3}"],
    ),
    (
        "system",
        &["3", "true", "[a]"],
        &["'3'", "yes", "''", "null"],
    ),
];

#[test]
fn each_setting_has_its_bounds() {
    for (name, bad, good) in BOUNDS {
        for value in bad {
            let found = mistakes(load("a.yaml", format!("{name}: {value}\n")));
            assert_eq!(found.len(), 1, "{name}: {value}: {found:?}");
            assert_eq!(found[0].key.as_deref(), Some(name), "{value}");
        }
        for value in good {
            let loaded = load("a.yaml", format!("{name}: {value}\n"));
            assert!(loaded.is_ok(), "{name}: {value}: {loaded:?}");
        }
    }
}

#[test]
fn names_of_values_are_those_of_the_data_commands() {
    let names = [
        (
            "format",
            retune_data::source::Format::NAMES
                .map(|(name, _)| name)
                .to_vec(),
        ),
        (
            "layout",
            retune_data::layout::Layout::NAMES
                .map(|(name, _)| name)
                .to_vec(),
        ),
        (
            "sample_by",
            retune_data::source::SampleBy::NAMES
                .map(|(name, _)| name)
                .to_vec(),
        ),
        (
            "train_on",
            retune_data::Learn::NAMES.map(|(name, _)| name).to_vec(),
        ),
        (
            "over_long",
            retune_data::OverLong::NAMES.map(|(name, _)| name).to_vec(),
        ),
    ];
    for (setting, names) in names {
        for name in &names {
            let config = load("a.yaml", format!("{setting}: {name}\n"));
            let config = config.unwrap_or_else(|error| panic!("{error}"));
            let json = serde_json::to_value(&config).expect("JSON");
            assert_eq!(json[setting], **name);
        }
        let (last, rest) = names.split_last().expect("names");
        let expected = format!(
            "{setting}: expected {} or {last}, found \"zz\"",
            rest.join(", ")
        );
        assert_eq!(
            problems(load("a.yaml", format!("{setting}: zz\n"))),
            [expected]
        );
    }
}

/// Settings that do not go together, and the one that is told.
const CONTRADICTIONS: [(&str, &str, &str); 26] = [
    (
        "finetuning_type: full\nr: 4\n",
        "r",
        "finetuning_type is full",
    ),
    (
        "finetuning_type: full\nlora_dropout: 0.1\n",
        "lora_dropout",
        "finetuning_type is full",
    ),
    (
        "finetuning_type: full\nadapter: a\n",
        "adapter",
        "finetuning_type is full",
    ),
    (
        "freeze: embed_tokens\n",
        "freeze",
        "finetuning_type is lora",
    ),
    (
        "adapter: a\nlora_alpha: 16\n",
        "lora_alpha",
        "the adapter to start from has its own",
    ),
    (
        "max_steps: 9\nnum_train_epochs: 1\n",
        "num_train_epochs",
        "max_steps",
    ),
    (
        "warmup_steps: 9\nwarmup_ratio: 0.1\n",
        "warmup_ratio",
        "warmup_steps",
    ),
    (
        "warmup_steps: 9\nmax_steps: 8\n",
        "warmup_steps",
        "max_steps, which is 8, found 9",
    ),
    (
        "lr_scheduler_type: constant\nmin_lr: 1e-6\n",
        "min_lr",
        "is constant",
    ),
    (
        "learning_rate: 1e-4\nmin_lr: 1e-3\n",
        "min_lr",
        "learning_rate, which is 1e-4, found 1e-3",
    ),
    (
        "learning_rate: 1e-7\n",
        "learning_rate",
        "min_lr: expected at most learning_rate",
    ),
    (
        "validation_data: v\nvalidation_split: 0.1\n",
        "validation_split",
        "validation_data",
    ),
    (
        "data: [a, b]\nvalidation_data: b\n",
        "validation_data",
        "b is trained on as well",
    ),
    (
        "validation_split: 0\neval_steps: 5\n",
        "eval_steps",
        "nothing is validated on",
    ),
    (
        "validation_split: 0\nsample_prompts: hi\n",
        "sample_prompts",
        "nothing is validated on",
    ),
    (
        "validation_split: 0\nearly_stopping_patience: 2\n",
        "early_stopping_patience",
        "nothing is validated on",
    ),
    (
        "do_predict: true\n",
        "do_predict",
        "no validation_data to answer",
    ),
    (
        "early_stopping_threshold: 0.1\n",
        "early_stopping_threshold",
        "no early_stopping_patience",
    ),
    (
        "sample_max_new_tokens: 9\n",
        "sample_max_new_tokens",
        "no sample_prompts",
    ),
    ("replay_ratio: 0.1\n", "replay_ratio", "no replay_data"),
    ("replay_data: a\n", "replay_data", "replay_ratio is 0"),
    (
        "replay_data: a\nreplay_ratio: 0\n",
        "replay_data",
        "replay_ratio is 0",
    ),
    (
        "format: csv\nsample_by: line\n",
        "sample_by",
        "format is not text",
    ),
    (
        "finetuning_type: lora\ntarget_modules: []\n",
        "target_modules",
        "at least one layer",
    ),
    (
        "finetuning_type: full\ntarget_modules: [a]\n",
        "target_modules",
        "finetuning_type is full",
    ),
    (
        "finetuning_type: lora\nfreeze: [a]\n",
        "freeze",
        "finetuning_type is lora",
    ),
];

#[test]
fn what_contradicts_itself_or_has_no_effect_is_told() {
    for (text, key, part) in CONTRADICTIONS {
        let found = mistakes(load("a.yaml", text));
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        assert_eq!(found[0].key.as_deref(), Some(key), "{text}");
        assert!(
            found[0].problem.contains(part),
            "{text}: {}",
            found[0].problem
        );
        // The same on the command line alone.
        let over: Vec<(&str, &str)> = text
            .lines()
            .filter_map(|line| line.split_once(": "))
            .collect();
        let over = given(&over);
        assert_eq!(mistakes(load_with("a.yaml", "", &over)).len(), 1, "{text}");
    }
}

#[test]
fn nothing_is_said_of_a_setting_that_asks_for_nothing() {
    for text in [
        "warmup_steps: 9\nwarmup_ratio: 0\n",
        "validation_data: v\nvalidation_split: 0\n",
        "freeze: []\nreplay_ratio: 0\nearly_stopping_threshold: 0\n",
        "finetuning_type: full\nuse_rslora: false\ntarget_modules: []\n",
        "validation_split: 0\nsample_prompts: []\nearly_stopping_patience: null\n",
        "min_lr: 0\nlr_scheduler_type: constant\n",
    ] {
        load("a.yaml", text).unwrap_or_else(|error| panic!("{text}{error}"));
    }
}

#[test]
fn another_kind_of_device_is_told_what_there_is() {
    for (name, hint) in [
        ("mps", "there is no device for GPUs of Apple's; write cpu"),
        (
            "gpu",
            "cuda is a GPU of NVIDIA's, cuda:1 the second; auto takes one if it is there",
        ),
    ] {
        let found = mistakes(load("a.yaml", format!("device: {name}\n")));
        let problem = format!("expected auto, cpu, cuda or cuda:N, found \"{name}\"");
        assert_eq!(found[0].problem, problem);
        assert_eq!(found[0].hint.as_deref(), Some(hint));
    }
}

#[test]
fn a_mistake_makes_no_second_one() {
    // min_lr is not held against a learning rate that is none.
    assert_eq!(
        problems(load("a.yaml", "learning_rate: x\nmin_lr: 1\n")).len(),
        1
    );
    assert_eq!(
        problems(load("a.yaml", "finetuning_type: x\nfreeze: a\n")).len(),
        1
    );
}

#[test]
fn on_the_command_line_a_setting_replaces_those_that_it_overrules() {
    let file = "num_train_epochs: 5\nr: 16\nlora_dropout: 0\nvalidation_split: 0.1\neval_steps: 7\n\
        early_stopping_patience: 2\nearly_stopping_threshold: 0.1\nmin_lr: 1e-5\n";
    let over = given(&[
        ("max_steps", "3"),
        ("finetuning_type", "full"),
        ("validation_split", "0"),
        ("lr_scheduler_type", "constant"),
    ]);
    let config = load_with("a.yaml", file, &over).expect("settings");
    assert_eq!((config.max_steps, config.num_train_epochs), (Some(3), 3.0));
    assert_eq!(
        (config.finetuning_type, config.r),
        (FinetuningType::Full, 8)
    );
    assert_eq!(
        (config.eval_steps, config.early_stopping_patience),
        (100, None)
    );
    assert_eq!(config.early_stopping_threshold, 0.0);
    assert_eq!(config.lr_scheduler_type, SchedulerType::Constant);
    // So does what says the same in a weaker way.
    let over = given(&[("num_train_epochs", "1"), ("validation_split", "0.1")]);
    let file = "max_steps: 3\nvalidation_data: [b.json]\n";
    let config = load_with("a.yaml", file, &over).expect("settings");
    assert_eq!((config.max_steps, config.num_train_epochs), (None, 1.0));
    assert_eq!(
        (config.validation_data.len(), config.validation_split),
        (0, 0.1)
    );
    // What is given beside it stays a mistake.
    let both = given(&[("num_train_epochs", "1"), ("max_steps", "3")]);
    assert_eq!(
        problems(load_with("a.yaml", "", &both)),
        ["num_train_epochs: has no effect, since max_steps says when training ends"]
    );
}
