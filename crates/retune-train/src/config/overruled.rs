//! Settings that have no effect beside others.
//!
//! To write one down is a mistake, since it would be announced and never
//! applied. On the command line a setting replaces those of a file that it
//! overrules; in a printed file they are commented out.

use retune_data::source::Format;

use super::load::Given;
use super::{FinetuningType, SchedulerType, TrainConfig};
use crate::error::Place;

/// A setting that has no effect.
pub(super) struct Overruled {
    pub name: &'static str,
    /// The setting that decides it, which may be at its default.
    pub by: &'static str,
    pub reason: Reason,
}

#[derive(Clone, Copy)]
pub(super) struct Reason {
    pub why: &'static str,
    pub hint: &'static str,
}

/// Of LoRA, what stands in an adapter that is there already.
const OF_ADAPTER: [&str; 4] = ["r", "lora_alpha", "use_rslora", "target_modules"];
const OF_VALIDATION: [&str; 3] = ["eval_steps", "sample_prompts", "early_stopping_patience"];

const IS_FULL: Reason = Reason {
    why: "finetuning_type is full",
    hint: "leave it out, or write finetuning_type: lora",
};
const IS_LORA: Reason = Reason {
    why: "finetuning_type is lora",
    hint: "leave it out, or write finetuning_type: full",
};
const IN_ADAPTER: Reason = Reason {
    why: "the adapter to start from has its own",
    hint: "leave it out, or leave out adapter",
};
/// Of settings that say the same in two ways.
const KEEP_ONE: &str = "keep one of them";
const STEPS_END: Reason = Reason {
    why: "max_steps says when training ends",
    hint: KEEP_ONE,
};
const STEPS_WARM: Reason = Reason {
    why: "warmup_steps says how long the rate rises",
    hint: KEEP_ONE,
};
const IS_CONSTANT: Reason = Reason {
    why: "lr_scheduler_type is constant",
    hint: "leave it out, or write lr_scheduler_type: linear",
};
const NO_REPLAY: Reason = Reason {
    why: "there is no replay_data",
    hint: "name files in replay_data, or leave it out",
};
const NOT_TEXT: Reason = Reason {
    why: "it is for plain text, and format is not text",
    hint: "leave it out",
};
const FILES_VALIDATE: Reason = Reason {
    why: "validation_data says what is validated on",
    hint: KEEP_ONE,
};
const NO_VALIDATION: Reason = Reason {
    why: "nothing is validated on: validation_split is 0 and there is no validation_data",
    hint: "write validation_split: 0.05, or name files in validation_data",
};
const NO_PROMPTS: Reason = Reason {
    why: "there are no sample_prompts",
    hint: "write sample_prompts, or leave it out",
};
const NO_FILES: Reason = Reason {
    why: "there is no validation_data to answer",
    hint: "name files in validation_data, or leave it out",
};
const NO_PATIENCE: Reason = Reason {
    why: "there is no early_stopping_patience",
    hint: "write early_stopping_patience, or leave it out",
};

/// The settings that have no effect beside the others of `config`.
pub(super) fn overruled(config: &TrainConfig) -> Vec<Overruled> {
    let full = config.finetuning_type == FinetuningType::Full;
    let constant = config.lr_scheduler_type == SchedulerType::Constant;
    let not_text = config.format.is_some_and(|format| format != Format::Text);
    let files = !config.validation_data.is_empty();
    let unvalidated = !files && config.validation_split == 0.0;
    let unprompted = config.sample_prompts.is_empty();
    let without_patience = config.early_stopping_patience.is_none();
    let mut found = Vec::new();
    let mut when = |holds: bool, names: &[&'static str], by: &'static str, reason: Reason| {
        let overruled = |name: &&'static str| Overruled { name, by, reason };
        found.extend(names.iter().filter(|_| holds).map(overruled));
    };
    when(full, &OF_ADAPTER, "finetuning_type", IS_FULL);
    when(full, &["lora_dropout"], "finetuning_type", IS_FULL);
    when(!full, &["freeze"], "finetuning_type", IS_LORA);
    when(
        config.adapter.is_some() && !full,
        &OF_ADAPTER,
        "adapter",
        IN_ADAPTER,
    );
    when(
        config.max_steps.is_some(),
        &["num_train_epochs"],
        "max_steps",
        STEPS_END,
    );
    when(
        config.warmup_steps.is_some(),
        &["warmup_ratio"],
        "warmup_steps",
        STEPS_WARM,
    );
    when(constant, &["min_lr"], "lr_scheduler_type", IS_CONSTANT);
    when(
        config.replay_data.is_empty(),
        &["replay_ratio"],
        "replay_data",
        NO_REPLAY,
    );
    when(not_text, &["sample_by"], "format", NOT_TEXT);
    when(
        files,
        &["validation_split"],
        "validation_data",
        FILES_VALIDATE,
    );
    when(
        unvalidated,
        &OF_VALIDATION,
        "validation_split",
        NO_VALIDATION,
    );
    when(
        unprompted,
        &["sample_max_new_tokens"],
        "sample_prompts",
        NO_PROMPTS,
    );
    when(!files, &["do_predict"], "validation_data", NO_FILES);
    when(
        without_patience,
        &["early_stopping_threshold"],
        "early_stopping_patience",
        NO_PATIENCE,
    );
    found
}

/// The settings as a struct, and `given` without what a file says that the
/// command line overrules: `--max_steps 10` goes over a file's
/// `num_train_epochs`, which it replaces, and the other way round.
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
        let in_file = |name| given.settings.contains_key(name) && !on_command_line(given, name);
        let dropped = overruled(&config).into_iter().find_map(|found| {
            let over = on_command_line(given, found.by) || ours.contains(&found.by);
            if over && in_file(found.name) {
                return Some(found.name);
            }
            // What says the same in a stronger way gives way as well.
            let said = found.reason.hint == KEEP_ONE && on_command_line(given, found.name);
            (said && in_file(found.by)).then_some(found.by)
        });
        let Some(dropped) = dropped else {
            return Ok(config);
        };
        given.settings.remove(dropped);
        ours.push(dropped);
    }
}
