//! Printed settings load back to the same.

use std::collections::BTreeMap;
use std::path::PathBuf;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::select;
use retune_compute::DeviceChoice;
use retune_data::layout::{COLUMNS, Layout};
use retune_data::source::{Format, SampleBy};
use retune_data::{Learn, OverLong};
use retune_train::TrainConfig;
use retune_train::config::{FinetuningType, MemorySize, Precision, SchedulerType, Switch, fields};

use super::load;

/// Any text, also with what steers terminals and languages of settings.
fn text() -> impl Strategy<Value = String> {
    let awkward = select(vec![
        '"', '\\', '\n', '\r', '\t', ':', '#', '\'', ' ', '\0', '\u{85}', '\u{feff}',
    ]);
    let c = prop_oneof![any::<char>(), awkward, proptest::char::range('a', 'z')];
    let odd = select(vec![
        "null",
        "~",
        "true",
        "on",
        "1e3",
        "0x1f",
        ".inf",
        "- a",
        "",
        "2024-01-01",
        "<<",
    ]);
    let odd = odd.prop_map(str::to_owned);
    prop_oneof![vec(c, 0..12).prop_map(String::from_iter), odd]
}

/// The same, with something in it.
fn word() -> impl Strategy<Value = String> {
    text().prop_filter("not blank", |text| !text.trim().is_empty())
}

fn words() -> impl Strategy<Value = Vec<String>> {
    vec(word(), 0..4)
}

fn paths() -> impl Strategy<Value = Vec<PathBuf>> {
    words().prop_map(|words| words.into_iter().map(PathBuf::from).collect())
}

fn positive() -> impl Strategy<Value = f64> {
    use proptest::num::f64::{NORMAL, POSITIVE, SUBNORMAL};
    POSITIVE | NORMAL | SUBNORMAL
}

/// What products are computed in holds it.
fn positive_f32() -> impl Strategy<Value = f64> {
    use proptest::num::f32::{NORMAL, POSITIVE};
    (POSITIVE | NORMAL).prop_map(f64::from)
}

fn share() -> impl Strategy<Value = f64> {
    prop_oneof![Just(0.0), 0.0..1.0]
}

fn named<T: Copy + std::fmt::Debug + 'static>(
    names: &'static [(&'static str, T)],
) -> impl Strategy<Value = T> {
    select(names).prop_map(|(_, value)| value)
}

prop_compose! {
    fn model_and_lora()(
        model in text(),
        data in paths(),
        output_dir in text(),
        full in any::<bool>(),
        r in 1..usize::MAX,
        lora_alpha in positive_f32(),
        lora_dropout in share(),
        use_rslora in any::<bool>(),
        target_modules in words().prop_filter("a layer", |words| !words.is_empty()),
        adapter in proptest::option::of(text()),
        freeze in words(),
    ) -> TrainConfig {
        let default = TrainConfig::default();
        let config = TrainConfig {
            model: model.into(), data, output_dir: output_dir.into(), ..default
        };
        if full {
            return TrainConfig { finetuning_type: FinetuningType::Full, freeze, ..config };
        }
        let config = TrainConfig { lora_dropout, ..config };
        match adapter {
            Some(adapter) => TrainConfig { adapter: Some(adapter.into()), ..config },
            None => TrainConfig { r, lora_alpha, use_rslora, target_modules, ..config },
        }
    }
}

prop_compose! {
    fn with_data()(
        config in model_and_lora(),
        format in proptest::option::of(named(&Format::NAMES)),
        encoding in proptest::option::of(select(vec!["utf-8", "gb18030", "UTF-16LE"])),
        layout in proptest::option::of(named(&Layout::NAMES)),
        columns in btree_map(select(COLUMNS.to_vec()), text(), 0..3),
        sample_by in named(&SampleBy::NAMES),
        skip_bad_rows in any::<bool>(),
        chat_template in proptest::option::of(text()),
        system in proptest::option::of(text()),
        train_on in named(&Learn::NAMES),
        max_length in 2_usize..=1 << 24,
        over_long in named(&OverLong::NAMES),
    ) -> TrainConfig {
        let is_text = format.is_none_or(|format| format == Format::Text);
        TrainConfig {
            format, layout, skip_bad_rows, system, train_on, max_length, over_long,
            encoding: encoding.map(str::to_owned),
            columns: columns.into_iter().map(|(name, column)| (name.to_owned(), column)).collect(),
            sample_by: if is_text { sample_by } else { SampleBy::Line },
            chat_template: chat_template.map(PathBuf::from),
            ..config
        }
    }
}

prop_compose! {
    fn with_validation()(
        config in with_data(),
        how in 0..3,
        validation_split in share(),
        validation_data in paths(),
        eval_steps in 1..u64::MAX,
        sample_prompts in words(),
        sample_max_new_tokens in 1..usize::MAX,
        do_predict in any::<bool>(),
        early_stopping_patience in proptest::option::of(1..=u32::MAX),
        early_stopping_threshold in positive(),
        replay_data in paths(),
        replay_ratio in 0.1..1.0,
    ) -> TrainConfig {
        let mut config = config;
        match how {
            0 => config.validation_split = 0.0,
            1 => config.validation_split = validation_split,
            _ => config.validation_data = validation_data
                .into_iter().filter(|path| !config.data.contains(path)).collect(),
        }
        if !config.validation_data.is_empty() || config.validation_split > 0.0 {
            config.eval_steps = eval_steps;
            config.sample_prompts = sample_prompts;
            config.early_stopping_patience = early_stopping_patience;
        }
        if !config.sample_prompts.is_empty() {
            config.sample_max_new_tokens = sample_max_new_tokens;
        }
        if !config.validation_data.is_empty() {
            config.do_predict = do_predict;
        }
        if config.early_stopping_patience.is_some() {
            config.early_stopping_threshold = early_stopping_threshold;
        }
        if !replay_data.is_empty() {
            config.replay_ratio = replay_ratio;
        }
        config.replay_data = replay_data;
        config
    }
}

prop_compose! {
    fn with_training()(
        config in with_validation(),
        num_train_epochs in positive(),
        max_steps in proptest::option::of(1..u64::MAX),
        rates in (positive(), positive()),
        lr_scheduler_type in select(vec![SchedulerType::Linear, SchedulerType::Cosine, SchedulerType::Constant]),
        warmup_ratio in share(),
        warmup_steps in proptest::option::of(0..u64::MAX),
        learning_rates in btree_map(text(), positive(), 0..3),
        layerwise_lr_decay in 0.01..=1.0,
        decays in (share(), share()),
        weight_decay in prop_oneof![Just(0.0), positive()],
        seed in any::<u64>(),
    ) -> TrainConfig {
        let (lowest, highest) = (rates.0.min(rates.1), rates.0.max(rates.1));
        let default = TrainConfig::default();
        let constant = lr_scheduler_type == SchedulerType::Constant;
        let within = warmup_steps.map(|steps| steps.min(max_steps.unwrap_or(u64::MAX)));
        TrainConfig {
            max_steps, lr_scheduler_type, learning_rates, layerwise_lr_decay, weight_decay, seed,
            num_train_epochs: if max_steps.is_some() { default.num_train_epochs } else { num_train_epochs },
            learning_rate: highest,
            min_lr: if constant { default.min_lr } else { lowest },
            warmup_ratio: if within.is_some() { default.warmup_ratio } else { warmup_ratio },
            warmup_steps: within,
            adam_beta1: decays.0,
            adam_beta2: decays.1,
            ..config
        }
    }
}

prop_compose! {
    fn any_config()(
        config in with_training(),
        device in prop_oneof![Just(DeviceChoice::Auto), Just(DeviceChoice::Cpu), any::<usize>().prop_map(DeviceChoice::Cuda)],
        threads in proptest::option::of(1..usize::MAX),
        precision in select(vec![Precision::Auto, Precision::F32, Precision::Bf16]),
        gradient_checkpointing in select(vec![Switch::Auto, Switch::On, Switch::Off]),
        memory in proptest::option::of(1..u64::MAX),
        logging_histograms in any::<bool>(),
        save_total_limit in any::<usize>(),
    ) -> TrainConfig {
        let memory = memory.map(|bytes| format!("{bytes}B").parse::<MemorySize>().expect("a size"));
        TrainConfig {
            device, threads, precision, gradient_checkpointing, memory, logging_histograms, save_total_limit, ..config
        }
    }
}

proptest! {
    #[test]
    fn what_is_printed_loads_back(config in any_config()) {
        let yaml = load("a.yaml", config.to_yaml());
        prop_assert_eq!(yaml.as_ref().ok(), Some(&config), "{:?}\n{}", yaml, config.to_yaml());
        let toml = load("a.toml", config.to_toml());
        prop_assert_eq!(toml.as_ref().ok(), Some(&config), "{:?}\n{}", toml, config.to_toml());
    }
}

#[test]
fn every_setting_is_printed_under_what_it_is() {
    let config = TrainConfig {
        learning_rates: BTreeMap::from([("lora_B".to_owned(), 1e-3)]),
        ..TrainConfig::default()
    };
    for (printed, between) in [(config.to_yaml(), ":"), (config.to_toml(), " =")] {
        let mut lines = printed.lines();
        for field in fields() {
            let comment = format!("# {}", field.description);
            assert!(lines.any(|line| line == comment), "{} in order", field.name);
            let setting = lines.next().expect("a line");
            let setting = setting.strip_prefix("# ").unwrap_or(setting);
            assert!(
                setting.starts_with(&format!("{}{between}", field.name)),
                "{setting}"
            );
        }
    }
}
