//! Going on from a checkpoint: what must be as it was, and putting it back.

use std::collections::BTreeMap;

use retune_compute::DType;
use retune_model::{Tuning, Weights};
use serde_json::Value as Json;

use super::OPTIMIZER;
use super::find::Checkpoint;
use super::state::Origin;
use super::write::moment_names;
use crate::config::{TrainConfig, fields};
use crate::error::{Error, Result};
use crate::fit::Fit;
use crate::trainer::Trainer;

/// Settings that change no number of the model, and those of which what they come to
/// is compared ([`Origin`]): the contents of paths, the type of products.
const FREE: [&str; 20] = [
    "model",
    "data",
    "validation_data",
    "replay_data",
    "adapter",
    "chat_template",
    "output_dir",
    "device",
    "precision",
    "threads",
    "gradient_checkpointing",
    "memory",
    "logging_steps",
    "logging_histograms",
    "save_steps",
    "save_total_limit",
    "sample_prompts",
    "sample_max_new_tokens",
    "do_predict",
    "on_nonfinite",
];
/// Settings that change what comes, but under which what was done still makes sense.
const CHANGEABLE: [&str; 12] = [
    "num_train_epochs",
    "max_steps",
    "learning_rate",
    "lr_scheduler_type",
    "warmup_ratio",
    "warmup_steps",
    "min_lr",
    "weight_decay",
    "max_grad_norm",
    "eval_steps",
    "early_stopping_patience",
    "early_stopping_threshold",
];

/// Whether settings may differ from those of the checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changes {
    /// Only where no number changes.
    Refused,
    /// Also steps, rates and how often is validated.
    Allowed,
}

/// Whether a setting may change between a checkpoint and the run that goes on
/// from it: freely, or where the user allows changes.
fn may_change(setting: &str, changes: Changes) -> bool {
    FREE.contains(&setting) || (changes == Changes::Allowed && CHANGEABLE.contains(&setting))
}

impl Checkpoint {
    /// Holds the settings of a run that is to go on from here against those that
    /// the checkpoint was made with.
    ///
    /// # Errors
    /// `Data` with all that differ and may not.
    pub fn check_settings(&self, config: &TrainConfig, changes: Changes) -> Result<()> {
        let values = |config: &TrainConfig| serde_json::to_value(config).unwrap_or_default();
        let (then, now) = (values(&self.state.settings), values(config));
        let per_step = |values: &Json| {
            let factor = |name: &str| values[name].as_u64().unwrap_or(1);
            factor("per_device_train_batch_size") * factor("gradient_accumulation_steps")
        };
        // Any split of a step gives the same numbers.
        let same_step = per_step(&then) == per_step(&now);
        let is_split = |name: &str| {
            ["per_device_train_batch_size", "gradient_accumulation_steps"].contains(&name)
        };
        let mut problems = Vec::new();
        let mut could_be_allowed = true;
        for field in fields() {
            let name = field.name.as_str();
            let same = then[name] == now[name] || (is_split(name) && same_step);
            if same || may_change(name, changes) {
                continue;
            }
            could_be_allowed &= may_change(name, Changes::Allowed);
            problems.push(format!("{name} was {}, and is {}", then[name], now[name]));
        }
        if problems.is_empty() {
            return Ok(());
        }
        Err(self.refused(
            &problems,
            match could_be_allowed {
                true => "--allow-changed lets the run go on with the new settings",
                false => "begin a run of its own with them, in another output_dir; adapter: CHECKPOINT starts it from what was learned",
            },
        ))
    }

    /// Holds what a run is made of against what the checkpoint was made of.
    pub(crate) fn check_origin(&self, origin: &Origin) -> Result<()> {
        match &self.state.origin.differences(origin)[..] {
            [] => Ok(()),
            problems => {
                let problems: Vec<String> = problems.iter().map(|&text| text.to_owned()).collect();
                Err(self.refused(
                    &problems,
                    "put back what was there, or begin a run of its own in another output_dir",
                ))
            }
        }
    }

    fn refused(&self, problems: &[String], hint: &str) -> Error {
        Error::Data {
            problem: format!(
                "{} cannot be gone on from: the numbers would not be those of one run\n  {}\nhint: {hint}",
                self.folder.display(),
                problems.join("\n  ")
            ),
        }
    }

    /// How steps were fitted into memory.
    pub(crate) fn fit(&self) -> Fit {
        self.state.fit
    }

    /// Puts parameters, moments and progress into `trainer`, whose model was opened
    /// as for a new run, or if all is trained from the checkpoint's folder.
    pub(crate) fn restore(&self, trainer: &mut Trainer) -> Result<()> {
        if matches!(trainer.tuning, Tuning::Lora(_)) {
            let adapter = Weights::open_adapter(&self.folder)?;
            trainer.model.load_adapter(&adapter)?;
        }
        let weights = Weights::open_file(&self.folder.join(OPTIMIZER))?;
        let parameters = trainer.model.parameters();
        let mut wanted = BTreeMap::new();
        for parameter in &parameters {
            for name in moment_names(&parameter.name) {
                wanted.insert(name, parameter.value.shape().to_vec());
            }
        }
        weights.check(&wanted, |_| false)?;
        for (parameter, moments) in parameters.iter().zip(trainer.optimizer.moments()) {
            let device = parameter.value.device();
            let [mean, square] = moment_names(&parameter.name);
            moments.exp_avg = weights.tensor(device, &mean, DType::F32)?;
            moments.exp_avg_sq = weights.tensor(device, &square, DType::F32)?;
        }
        trainer.progress = self.state.progress.clone();
        trainer.losses = self.state.losses.clone();
        trainer.saved = Some(trainer.progress.step);
        trainer.set_aside = self.point()?;
        Ok(())
    }
}
