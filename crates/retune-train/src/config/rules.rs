//! What settings say together: contradictions, and settings without effect.
//!
//! Bounds of single fields stand in the schema. These rules are plain code,
//! since each looks at several fields, and at where they were given.

use retune_data::layout::COLUMNS;
use retune_data::source::{Format, encoding_for_label};

use super::load::Given;
use super::names::nearest;
use super::{DeviceType, FinetuningType, SchedulerType, TrainConfig};
use crate::error::{Mistake, Place};

/// A setting that has no effect beside another.
pub(super) struct Overruled {
    pub name: &'static str,
    /// The other, which may be at its default.
    pub by: &'static str,
    /// Why, in words.
    why: &'static str,
    hint: &'static str,
}

/// The settings that have no effect beside the others of `config`.
pub(super) fn overruled(config: &TrainConfig) -> Vec<Overruled> {
    let mut found = Vec::new();
    let mut when = |holds: bool, names: &[&'static str], by, why, hint| {
        let overruled = |name: &&'static str| Overruled {
            name,
            by,
            why,
            hint,
        };
        found.extend(names.iter().filter(|_| holds).map(overruled));
    };
    let full = config.finetuning_type == FinetuningType::Full;
    let lora = ["r", "lora_alpha", "use_rslora", "target_modules"];
    let (why, hint) = (
        "finetuning_type is full",
        "leave it out, or write finetuning_type: lora",
    );
    when(full, &lora, "finetuning_type", why, hint);
    when(full, &["lora_dropout"], "finetuning_type", why, hint);
    let (why, hint) = (
        "finetuning_type is lora",
        "leave it out, or write finetuning_type: full",
    );
    when(!full, &["freeze"], "finetuning_type", why, hint);
    let (why, hint) = (
        "the adapter to start from has its own",
        "leave it out, or leave out adapter",
    );
    when(config.adapter.is_some(), &lora, "adapter", why, hint);

    let (why, hint) = ("max_steps says when training ends", "keep one of them");
    when(
        config.max_steps.is_some(),
        &["num_train_epochs"],
        "max_steps",
        why,
        hint,
    );
    let (why, hint) = (
        "warmup_steps says how long the rate rises",
        "keep one of them",
    );
    when(
        config.warmup_steps.is_some(),
        &["warmup_ratio"],
        "warmup_steps",
        why,
        hint,
    );
    let constant = config.lr_scheduler_type == SchedulerType::Constant;
    let (why, hint) = (
        "lr_scheduler_type is constant",
        "leave it out, or write lr_scheduler_type: linear",
    );
    when(constant, &["min_lr"], "lr_scheduler_type", why, hint);
    let (why, hint) = (
        "there is no replay_data",
        "name files in replay_data, or leave it out",
    );
    when(
        config.replay_data.is_empty(),
        &["replay_ratio"],
        "replay_data",
        why,
        hint,
    );
    let of_lines = config.format.is_none_or(|format| format == Format::Text);
    let (why, hint) = (
        "it is for plain text, and format is not text",
        "leave it out",
    );
    when(!of_lines, &["sample_by"], "format", why, hint);

    let files = !config.validation_data.is_empty();
    let (why, hint) = (
        "validation_data says what is validated on",
        "keep one of them",
    );
    when(files, &["validation_split"], "validation_data", why, hint);
    let (why, hint) = (
        "nothing is validated on: validation_split is 0 and there is no validation_data",
        "write validation_split: 0.05, or name files in validation_data",
    );
    let none = !files && config.validation_split == 0.0;
    let of_validation = ["eval_steps", "sample_prompts", "early_stopping_patience"];
    when(none, &of_validation, "validation_split", why, hint);
    let (why, hint) = (
        "there are no sample_prompts",
        "write sample_prompts, or leave it out",
    );
    when(
        config.sample_prompts.is_empty(),
        &["sample_max_new_tokens"],
        "sample_prompts",
        why,
        hint,
    );
    let (why, hint) = (
        "there is no early_stopping_patience",
        "write early_stopping_patience, or leave it out",
    );
    let patience = config.early_stopping_patience.is_some();
    when(
        !patience,
        &["early_stopping_threshold"],
        "early_stopping_patience",
        why,
        hint,
    );
    found
}

/// The settings as a struct, and `given` without what a file says that the
/// command line overrules: `--max_steps 10` goes over a file's
/// `num_train_epochs`, which it replaces.
///
/// # Errors
/// In words, if the struct does not take what its schema does.
pub(super) fn without_overruled(given: &mut Given) -> Result<TrainConfig, String> {
    let mut ours: Vec<&str> = Vec::new();
    let on_command_line = |given: &Given, name| {
        let setting = given.settings.get(name);
        setting.is_some_and(|setting| matches!(setting.place, Place::CommandLine { .. }))
    };
    loop {
        let config = given.config()?;
        let dropped = overruled(&config).into_iter().find(|found| {
            let over = on_command_line(given, found.by) || ours.contains(&found.by);
            let in_file =
                given.settings.contains_key(found.name) && !on_command_line(given, found.name);
            over && in_file
        });
        let Some(dropped) = dropped else {
            return Ok(config);
        };
        given.settings.remove(dropped.name);
        ours.push(dropped.name);
    }
}

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
        let problem = format!("has no effect, since {}", overruled.why);
        let fields = [overruled.name, overruled.by];
        rules.when(!nothing, &fields, problem, overruled.hint);
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
        let absent = match config.device {
            DeviceType::Cuda => "cuda",
            DeviceType::Mps => "mps",
            DeviceType::Auto | DeviceType::Cpu => "",
        };
        self.when(
            !absent.is_empty(),
            &["device"],
            format!("expected auto or cpu, found {absent}: this build computes on the CPU only"),
            "write device: auto",
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
