//! What is wrong with settings that are good one by one.
//!
//! Bounds of single fields stand in the schema. These rules are plain code,
//! since each looks at several fields, and at where they were given.

use retune_data::layout::COLUMNS;
use retune_data::source::encoding_for_label;

use super::load::Given;
use super::names::nearest;
use super::overruled::overruled;
use super::{FinetuningType, SchedulerType, TrainConfig};
use crate::error::{Mistake, Place};

/// Contradictions in `config`; places are where `given` has them.
pub(super) fn mistakes(config: &TrainConfig, given: &Given) -> Vec<Mistake> {
    let mut rules = Rules {
        given,
        found: Vec::new(),
    };
    for overruled in overruled(config) {
        let Some(setting) = given.settings.get(overruled.name) else {
            continue;
        };
        // Nothing is lost with a 0, false or empty list.
        let nothing = match &setting.value {
            serde_json::Value::Bool(value) => !value,
            serde_json::Value::Array(items) => items.is_empty(),
            value => value.as_f64() == Some(0.0),
        };
        let problem = format!("has no effect, since {}", overruled.reason.why);
        let fields = [overruled.name, overruled.by];
        rules.when(!nothing, &fields, problem, overruled.reason.hint);
    }
    rules.of_model(config);
    rules.of_data(config);
    rules.of_training(config);
    rules.found
}

struct Rules<'a> {
    given: &'a Given,
    found: Vec<Mistake>,
}

impl Rules<'_> {
    /// A mistake of the first of `fields`, if `broken`. Nothing is said of
    /// fields whose value is a mistake by itself.
    fn when(&mut self, broken: bool, fields: &[&str], problem: impl Into<String>, hint: &str) {
        if !broken || fields.iter().any(|name| self.given.bad.contains(name)) {
            return;
        }
        let mistake = self.given.mistake(fields, problem);
        self.found.push(if hint.is_empty() {
            mistake
        } else {
            mistake.hint(hint)
        });
    }

    fn of_model(&mut self, config: &TrainConfig) {
        let full = config.finetuning_type == FinetuningType::Full;
        self.when(
            full && config.adapter.is_some(),
            &["adapter", "finetuning_type"],
            "an adapter is trained as LoRA, and finetuning_type is full",
            "leave it out, or write finetuning_type: lora",
        );
        // Products are computed in f32.
        self.when(
            config.lora_dropout as f32 >= 1.0,
            &["lora_dropout"],
            format!("expected less than 1, found {}", config.lora_dropout),
            "it is rounded to f32; 0.1 is usual",
        );
        self.when(
            !(config.lora_alpha as f32).is_finite(),
            &["lora_alpha"],
            format!(
                "expected a number that f32 holds, found {:e}",
                config.lora_alpha
            ),
            "twice r is usual",
        );
        let modules = &config.target_modules;
        self.when(
            !full && modules.is_empty(),
            &["target_modules"],
            "expected at least one layer, found none",
            "write all-linear for all of them",
        );
        self.when(
            !full && modules.len() > 1 && modules.iter().any(|name| name == "all-linear"),
            &["target_modules"],
            format!(
                "expected names of layers, or all-linear alone, found {}",
                modules.join(", ")
            ),
            "write target_modules: all-linear",
        );
    }

    fn of_data(&mut self, config: &TrainConfig) {
        if let Some(label) = &config.encoding {
            self.when(
                encoding_for_label(label).is_none(),
                &["encoding"],
                format!("there is no encoding {label:?}"),
                "known are utf-8, utf-16le, gb18030, big5, shift_jis, windows-1252, …",
            );
        }
        for name in config
            .columns
            .keys()
            .filter(|name| !COLUMNS.contains(&name.as_str()))
        {
            let hint = match nearest(name, COLUMNS.iter().copied()) {
                Some(near) => format!("did you mean {near}?"),
                None => format!("there are {}", COLUMNS.join(", ")),
            };
            self.when(
                true,
                &["columns"],
                format!("{name} is no column of a layout"),
                &hint,
            );
        }
        for path in &config.validation_data {
            self.when(
                config.data.contains(path),
                &["validation_data", "data"],
                format!(
                    "{} is trained on as well, so it says nothing of new data",
                    path.display()
                ),
                "leave it out and write validation_split: 0.05, or name another file",
            );
        }
        self.when(
            !config.replay_data.is_empty() && config.replay_ratio == 0.0,
            &["replay_data", "replay_ratio"],
            "has no effect, since replay_ratio is 0",
            "write replay_ratio: 0.1, or leave replay_data out",
        );
    }

    fn of_training(&mut self, config: &TrainConfig) {
        let (batch, times) = (
            config.per_device_train_batch_size,
            config.gradient_accumulation_steps,
        );
        self.when(
            batch
                .checked_mul(times)
                .is_none_or(|step| u32::try_from(step).is_err()),
            &["per_device_train_batch_size", "gradient_accumulation_steps"],
            format!(
                "expected steps of at most {} samples, found {batch} x {times}",
                u32::MAX
            ),
            "",
        );
        self.when(
            config.adam_epsilon as f32 <= 0.0,
            &["adam_epsilon"],
            format!(
                "expected a number that f32 holds, found {:e}",
                config.adam_epsilon
            ),
            "1e-8 is usual",
        );
        let (lowest, highest) = (config.min_lr, config.learning_rate);
        self.when(
            lowest > highest && config.lr_scheduler_type != SchedulerType::Constant,
            &["min_lr", "learning_rate"],
            format!("expected at most learning_rate, which is {highest:e}, found {lowest:e}"),
            "write min_lr: 0 to fall to nothing",
        );
        let (warmup, all) = (
            config.warmup_steps.unwrap_or(0),
            config.max_steps.unwrap_or(u64::MAX),
        );
        self.when(
            warmup > all,
            &["warmup_steps", "max_steps"],
            format!("expected at most max_steps, which is {all}, found {warmup}"),
            "",
        );
    }
}

impl Given {
    /// A mistake of the first of `fields`, or of the one among them that was given.
    pub(super) fn mistake(&self, fields: &[&str], problem: impl Into<String>) -> Mistake {
        let first = self.settings.get(fields[0]);
        let mut others = fields.iter().filter_map(|name| self.settings.get(name));
        match first.or_else(|| others.next()) {
            Some(setting) if first.is_some() => {
                Mistake::new(setting.place.clone(), &setting.key, problem)
            }
            // It is at its default, which the message has to name.
            Some(setting) => {
                let problem = format!("{}: {}", fields[0], problem.into());
                Mistake::new(setting.place.clone(), &setting.key, problem)
            }
            None => Mistake::new(Place::Nowhere, fields[0], problem),
        }
    }
}
