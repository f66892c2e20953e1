//! The training loop.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use retune_compute::Device;
use retune_compute::ops::{norm, sum};
use retune_model::{Activations, Decoder, Tuning};
use serde::{Deserialize, Serialize};

use crate::batch::{Numbered, batches};
use crate::checkpoint::{LateOrigin, Origin, Saving};
use crate::config::{OnNonfinite, TrainConfig};
use crate::data::{TrainData, named};
use crate::error::{Error, Result};
use crate::events::Histogram;
use crate::fit::Fit;
use crate::log::{LogPosition, gradients};
use crate::optimizer::Optimizer;
use crate::schedule::Schedule;
use crate::spike::{Losses, Spike};
use crate::validate::Validation;

/// Where a run stands.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Optimizer steps that are done.
    pub step: u64,
    /// Tokens of all samples that were learned from.
    pub tokens: u64,
    /// The lowest validation loss, and the step behind which it was found.
    pub best: Option<(u64, f64)>,
    /// Validations since the loss last fell by more than `early_stopping_threshold`.
    #[serde(alias = "validations_since_best")]
    pub validations_without_progress: u32,
    /// The step behind which the model was validated last.
    pub validated: Option<u64>,
    /// Steps that were left out.
    #[serde(default)]
    pub skipped: u64,
    /// Those since the last one that was not.
    pub skipped_in_a_row: u32,
}

/// What one optimizer step did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepReport {
    /// Its number, the first being 1.
    pub step: u64,
    /// The mean cross-entropy of its scored tokens, before its update.
    pub loss: f64,
    /// The norm of all gradients, before clipping.
    pub grad_norm: f64,
    /// The rate that the schedule gave.
    pub learning_rate: f64,
    /// Tokens of its samples.
    pub tokens: u64,
    /// Those of them that were scored.
    pub scored: u64,
    /// How long it took.
    pub time: Duration,
}

/// What a run tells while it goes on.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A step is done.
    Step(&'a StepReport),
    /// The gradients of a step before its update, where they are logged.
    Gradients(&'a Histogram),
    /// A validation is on its way: samples done, and of how many.
    Validating(usize, usize),
    /// A validation is done.
    Validated(&'a Validation, &'a Progress),
    /// A step's loss is far above those before it.
    Spike(&'a Spike),
    /// A step was left out, since its loss or gradient is not finite; why, in words.
    Skipped(&'a str),
    /// A checkpoint was written.
    Saved(PathBuf),
}

/// Listens to a run.
pub trait Observer {
    /// Is told what happened.
    ///
    /// # Errors
    /// An error ends the run.
    fn event(&mut self, trainer: &mut Trainer, event: Event<'_>) -> Result<()>;

    /// Whether the run should end behind the current step.
    fn should_stop(&self) -> bool {
        false
    }

    /// Where the logs of the run stand, to be kept in a checkpoint.
    ///
    /// # Errors
    /// `File` if they cannot be brought to the disk; then there is no checkpoint.
    fn log_position(&mut self) -> Result<Option<LogPosition>> {
        Ok(None)
    }
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// All steps are done.
    Completed,
    /// The validation loss did not fall any more.
    Early,
    /// The observer asked for it.
    Stopped,
}

/// A run: a model, what it learns from, and how far it is.
#[derive(Debug)]
pub struct Trainer {
    /// The settings.
    pub config: TrainConfig,
    /// What of the model is trained.
    pub tuning: Tuning,
    /// The model.
    pub model: Decoder,
    /// The moments of its parameters.
    pub optimizer: Optimizer,
    /// The samples.
    pub data: TrainData,
    /// The rates.
    pub schedule: Schedule,
    /// How steps fit into memory.
    pub fit: Fit,
    /// Where the run stands.
    pub progress: Progress,
    /// What it was begun with.
    pub(crate) origin: LateOrigin,
    /// Later checkpoints of a run that went back, by their new names.
    pub set_aside: Vec<PathBuf>,
    /// The step of the last checkpoint.
    pub(crate) saved: Option<u64>,
    /// A checkpoint that is on its way.
    pub(crate) saving: Option<Saving>,
    /// Losses of the last steps.
    pub(crate) losses: Losses,
}

/// Steps that are left out in a row before a run ends all the same.
const MOST_SKIPPED: u32 = 20;

impl Trainer {
    /// Trains until the last step, or until the run has to end before.
    ///
    /// # Errors
    /// `NonFinite` if the loss or the gradient is, once what was learned before is
    /// saved; those of data, model and `observer`.
    pub fn run(&mut self, observer: &mut dyn Observer) -> Result<Ending> {
        let find = self.find_origin();
        self.origin.begin(find);
        let ending = self.run_to_its_end(observer);
        // Whatever happened, a checkpoint that was begun is finished.
        let saved = self.finish_saving(observer);
        let ending = ending?;
        saved?;
        Ok(ending)
    }

    /// What finds what the run is made of.
    pub(crate) fn find_origin(&self) -> impl FnOnce() -> Result<Origin> + Send + 'static {
        let (config, fingerprints) = (self.config.clone(), self.data.fingerprints());
        let precision = self.model.dtype().into();
        move || Origin::of(&config, fingerprints, precision)
    }

    fn run_to_its_end(&mut self, observer: &mut dyn Observer) -> Result<Ending> {
        let total = self.schedule.total_steps;
        loop {
            let better = self.validation_is_due() && self.validation(observer)?;
            let step = self.progress.step;
            let (stop, early) = (observer.should_stop(), self.is_early());
            let ends = step >= total || stop || early;
            let due = ends || step.is_multiple_of(self.config.save_steps);
            if better || (due && step > 0 && self.saved != Some(step)) {
                self.checkpoint(better, observer)?;
            }
            if ends {
                return Ok(match (step >= total, early) {
                    _ if self.validation_is_due() => Ending::Stopped,
                    (true, _) => Ending::Completed,
                    (_, true) => Ending::Early,
                    _ => Ending::Stopped,
                });
            }
            match self.step(observer) {
                Ok(report) => observer.event(self, Event::Step(&report))?,
                Err(error @ Error::NonFinite { .. }) => self.unusable(error, observer)?,
                Err(error) => return Err(error),
            }
        }
    }

    /// Leaves out a step whose gradient cannot be used, or ends the run.
    fn unusable(&mut self, error: Error, observer: &mut dyn Observer) -> Result<()> {
        let in_a_row = self.progress.skipped_in_a_row + 1;
        let stops = self.config.on_nonfinite == OnNonfinite::Stop || in_a_row >= MOST_SKIPPED;
        if stops {
            let step = self.progress.step;
            if step > 0 && self.saved != Some(step) {
                self.checkpoint(false, observer)?;
            }
            return Err(error);
        }
        self.progress.step += 1;
        self.progress.skipped += 1;
        self.progress.skipped_in_a_row = in_a_row;
        observer.event(self, Event::Skipped(&error.to_string()))
    }

    /// Writes a checkpoint; what is left of the work is done beside the steps that follow.
    fn checkpoint(&mut self, best: bool, observer: &mut dyn Observer) -> Result<()> {
        self.finish_saving(observer)?;
        let log = observer.log_position()?;
        self.saving = Some(self.save(best, log)?);
        self.saved = Some(self.progress.step);
        Ok(())
    }

    /// Waits for the checkpoint that is on its way.
    fn finish_saving(&mut self, observer: &mut dyn Observer) -> Result<()> {
        match self.saving.take() {
            Some(saving) => {
                let folder = saving.finish()?;
                observer.event(self, Event::Saved(folder))
            }
            None => Ok(()),
        }
    }

    /// One optimizer step: an [`update`](Self::update) by its samples.
    ///
    /// # Errors
    /// `NonFinite`, and then no parameter has changed; those of data, model and `observer`.
    pub fn step(&mut self, observer: &mut dyn Observer) -> Result<StepReport> {
        let samples = self.data.step(self.progress.step)?;
        self.update(&samples, observer)
    }

    /// Learns from `samples`: the gradient of the mean loss over all their scored tokens,
    /// clipped, and AdamW.
    ///
    /// # Errors
    /// As for [`step`](Self::step).
    pub fn update(
        &mut self,
        samples: &[Numbered],
        observer: &mut dyn Observer,
    ) -> Result<StepReport> {
        let start = Instant::now();
        let step = self.progress.step;
        let (loss, scored) = self.backward(samples, step)?;
        let mut parameters = self.model.parameters();
        let grad_norm = norm(parameters.iter().map(|parameter| &parameter.grad));
        if !(loss.is_finite() && grad_norm.is_finite()) {
            for parameter in &mut parameters {
                parameter.grad.fill_zero();
            }
            return Err(self.non_finite(samples, loss));
        }
        let logged = self.config.logging_histograms;
        if logged && (step + 1).is_multiple_of(self.config.logging_steps) {
            let histogram = gradients(self);
            observer.event(self, Event::Gradients(&histogram))?;
        }
        let learning_rate = self.schedule.rate(step);
        let clip = clip_factor(grad_norm, self.config.max_grad_norm);
        let parameters = self.model.parameters();
        let update = step + 1 - self.progress.skipped;
        self.optimizer
            .step(parameters, learning_rate, clip, update)?;
        let tokens = samples
            .iter()
            .map(|s| s.tokens.input_ids.len() as u64)
            .sum();
        self.progress.step += 1;
        self.progress.tokens += tokens;
        self.progress.skipped_in_a_row = 0;
        if let Some(mean) = self.losses.add(loss) {
            let spike = Spike {
                step: step + 1,
                loss,
                mean,
                samples: samples.iter().map(|sample| self.describe(sample)).collect(),
            };
            observer.event(self, Event::Spike(&spike))?;
        }
        Ok(StepReport {
            step: step + 1,
            loss,
            grad_norm,
            learning_rate,
            tokens,
            scored,
            time: start.elapsed(),
        })
    }

    /// Adds the gradients of a step's samples. Returned are the mean loss, and
    /// over how many scored tokens.
    fn backward(&mut self, samples: &[Numbered], step: u64) -> Result<(f64, u64)> {
        let batches = batches(samples, self.fit.batch_tokens)?;
        let scored: usize = batches.iter().map(|batch| batch.rows.len()).sum();
        let share = 1.0 / scored as f32;
        let activations = match self.fit.recompute {
            true => Activations::Recompute,
            false => Activations::Keep,
        };
        let mut loss = 0.0;
        for batch in &batches {
            let found = self
                .model
                .loss_and_backward(batch, share, step as u32, activations)?;
            loss += sum(&found.losses) / scored as f64;
        }
        Ok((loss, scored as u64))
    }

    /// Tells a step whose gradient cannot be used, sample by sample.
    fn non_finite(&self, samples: &[Numbered], loss: f64) -> Error {
        let named = samples.iter().map(|sample| self.describe(sample));
        Error::NonFinite {
            step: self.progress.step + 1,
            what: if loss.is_finite() {
                "norm of the gradients"
            } else {
                "loss"
            },
            samples: named.collect(),
        }
    }

    /// Whether there is anything to validate on.
    pub fn validates(&self) -> bool {
        self.data.validation_samples() > 0
    }

    /// Whether the model has to be validated before the next step. Before the first
    /// one, it shows where training begins.
    fn validation_is_due(&self) -> bool {
        let step = self.progress.step;
        let last = step == self.schedule.total_steps;
        self.validates()
            && (last || step.is_multiple_of(self.config.eval_steps))
            && self.progress.validated != Some(step)
    }

    /// Whether the model is better than it ever was; no if the run has to stop
    /// before that is known.
    fn validation(&mut self, observer: &mut dyn Observer) -> Result<bool> {
        let Some(found) = self.validate(observer)? else {
            return Ok(false);
        };
        self.progress.validated = Some(self.progress.step);
        if self.progress.step == 0 {
            let progress = self.progress.clone();
            observer.event(self, Event::Validated(&found, &progress))?;
            return Ok(false);
        }
        let best = self.progress.best.map(|(_, loss)| loss);
        // One that is no number is never the best, whatever there was before.
        let lower_by = |least: f64| {
            found.loss.is_finite() && best.is_none_or(|best| found.loss < best - least)
        };
        // As in Hugging Face, the threshold says only how long training goes on.
        match lower_by(self.config.early_stopping_threshold) {
            true => self.progress.validations_without_progress = 0,
            false => self.progress.validations_without_progress += 1,
        }
        let better = lower_by(0.0);
        if better {
            self.progress.best = Some((self.progress.step, found.loss));
        }
        let progress = self.progress.clone();
        observer.event(self, Event::Validated(&found, &progress))?;
        Ok(better)
    }

    /// A sample in words: what it begins with.
    fn describe(&self, sample: &Numbered) -> String {
        let ids = &sample.tokens.input_ids;
        let text = self.data.tokenizer().decode(&ids[..ids.len().min(64)]);
        format!("{}: {text:?}", named(sample.number))
    }

    /// The device that the model is on.
    pub fn device(&mut self) -> Device {
        let parameters = self.model.parameters();
        parameters[0].value.device().clone()
    }

    /// Samples of the data that an optimizer step learns from.
    pub fn samples_per_step(&self) -> usize {
        self.config.per_device_train_batch_size * self.config.gradient_accumulation_steps
    }

    /// How often the data were gone through.
    pub fn epoch(&self) -> f64 {
        self.progress.step as f64 / self.data.course.steps_per_epoch().max(1) as f64
    }

    fn is_early(&self) -> bool {
        let patience = self.config.early_stopping_patience;
        patience.is_some_and(|patience| self.progress.validations_without_progress >= patience)
    }
}

/// What gradients are multiplied by so that their norm is at most `limit`, as
/// PyTorch's `clip_grad_norm_` does; 0 is no limit.
fn clip_factor(norm: f64, limit: f64) -> f32 {
    match limit > 0.0 {
        true => (limit / (norm + 1e-6)).min(1.0) as f32,
        false => 1.0,
    }
}
