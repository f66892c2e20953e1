//! What is written down of a run: `metrics.jsonl`, and TensorBoard's files.

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::checkpoint::{has_saved, remove_file};
use crate::error::Result;
use crate::events::{
    EvalRecord, EventWriter, FinishReason, FinishRecord, Histogram, MetricRecord, MetricsWriter,
    NoticeRecord, SampleRecord, StartRecord, TrainRecord, system_clock, verbatim,
};
use crate::trainer::{Ending, Event, StepReport, Trainer};

/// The logs' names in the output folder.
const METRICS: &str = "metrics.jsonl";
const RUNS: &str = "runs";
/// What the first of them begins with.
const BEGINNING: &str = r#"{"type":"start","#;

/// Writes a run's events into its output folder.
pub struct RunLog {
    metrics: MetricsWriter,
    events: EventWriter,
    /// Steps since the last line.
    since: Since,
    /// Time of all steps.
    seconds: f64,
}

/// Where the logs of a run stand, for one that goes on from there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogPosition {
    /// Bytes of `metrics.jsonl`.
    metrics: u64,
    /// The file of TensorBoard's in `runs`.
    events_file: String,
    /// Bytes of it.
    events: u64,
    since: Since,
    seconds: f64,
}

impl LogPosition {
    /// Whether any of the logs is still in the run's folder `output`. A run whose logs
    /// were taken away begins new ones.
    pub fn is_there(&self, output: &Path) -> bool {
        let events = output.join(RUNS).join(&self.events_file);
        output.join(METRICS).exists() || events.exists()
    }
}

/// Sums over the steps since the last line.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Since {
    loss: f64,
    scored: u64,
    tokens: u64,
    time: Duration,
}

impl RunLog {
    /// Takes away the logs of a run in `output` that left no checkpoint, so that it can
    /// be begun again.
    ///
    /// # Errors
    /// `File` if they cannot be taken away.
    pub fn discard(output: &Path) -> Result<()> {
        let metrics = output.join(METRICS);
        let Ok(text) = std::fs::read_to_string(&metrics) else {
            return Ok(());
        };
        // Its first line is that of a run, or was on its way to become one.
        let ours = match text.split_once('\n') {
            Some((first, _)) => matches!(serde_json::from_str(first), Ok(MetricRecord::Start(_))),
            None => text.starts_with(BEGINNING) || BEGINNING.starts_with(&text),
        };
        if !ours || has_saved(output)? {
            return Ok(());
        }
        for entry in std::fs::read_dir(output.join(RUNS))
            .into_iter()
            .flatten()
            .flatten()
        {
            if EventWriter::wrote(&entry.file_name()) {
                remove_file(&entry.path())?;
            }
        }
        remove_file(&metrics)
    }

    /// Begins the logs of a new run in its output folder, which is there.
    ///
    /// # Errors
    /// `File` if the folder holds the log of another run, or cannot be written.
    pub fn create(trainer: &mut Trainer) -> Result<Self> {
        let folder = trainer.config.output_dir.clone();
        let mut log = Self {
            metrics: MetricsWriter::create(&folder.join(METRICS))?,
            events: EventWriter::create(&folder.join(RUNS))?,
            since: Since::default(),
            seconds: 0.0,
        };
        log.start(trainer)?;
        Ok(log)
    }

    /// Goes on with the logs of a run from where they stood at a checkpoint; what
    /// was written later is cut off.
    ///
    /// # Errors
    /// `File` if they are not there, or are others.
    pub fn resume(trainer: &mut Trainer, position: &LogPosition) -> Result<Self> {
        let folder = trainer.config.output_dir.clone();
        let events = folder.join(RUNS).join(&position.events_file);
        let mut log = Self {
            metrics: MetricsWriter::resume(&folder.join(METRICS), position.metrics)?,
            events: EventWriter::resume(&events, position.events)?,
            since: position.since.clone(),
            seconds: position.seconds,
        };
        log.start(trainer)?;
        Ok(log)
    }

    /// Brings the logs to the disk, and says where they stand.
    ///
    /// # Errors
    /// `File` if they cannot be written.
    pub fn position(&mut self) -> Result<LogPosition> {
        let name = self.events.path().file_name();
        Ok(LogPosition {
            metrics: self.metrics.sync()?,
            events_file: name.unwrap_or_default().to_string_lossy().into_owned(),
            events: self.events.sync()?,
            since: self.since.clone(),
            seconds: self.seconds,
        })
    }

    fn start(&mut self, trainer: &mut Trainer) -> Result<()> {
        let numbers = trainer.model.parameters();
        let trainable = numbers
            .iter()
            .map(|parameter| parameter.value.len() as u64)
            .sum();
        self.metrics.write(&MetricRecord::Start(StartRecord {
            step: trainer.progress.step,
            max_steps: trainer.schedule.total_steps,
            num_train_epochs: trainer.schedule.total_steps as f64
                / trainer.data.course.steps_per_epoch().max(1) as f64,
            train_samples: trainer.data.course.train().len() as u64,
            eval_samples: trainer.data.validation_samples() as u64,
            trainable_parameters: trainable,
            time: system_clock()(),
        }))?;
        self.flush()
    }

    /// Writes what belongs to `event`. Returned is the line of the steps that it
    /// closes, if it does.
    ///
    /// # Errors
    /// `File` if the logs cannot be written.
    pub fn record(
        &mut self,
        trainer: &mut Trainer,
        event: &Event<'_>,
    ) -> Result<Option<TrainRecord>> {
        let line = match event {
            Event::Step(report) => self.step(trainer, report)?,
            Event::Gradients(histogram) => {
                let step = trainer.progress.step + 1;
                self.events.histogram("train/gradients", step, histogram)?;
                None
            }
            Event::Validated(validation, _) => {
                self.validated(trainer, validation)?;
                None
            }
            Event::Skipped(problem) => self.notice(trainer.progress.step, problem)?,
            Event::Spike(spike) => self.notice(spike.step, &spike.to_string())?,
            _ => None,
        };
        if !matches!(event, Event::Validating(..)) {
            self.flush()?;
        }
        Ok(line)
    }

    fn step(&mut self, trainer: &Trainer, report: &StepReport) -> Result<Option<TrainRecord>> {
        self.seconds += report.time.as_secs_f64();
        let since = &mut self.since;
        since.loss += report.loss * report.scored as f64;
        since.scored += report.scored;
        since.tokens += report.tokens;
        since.time += report.time;
        let last = report.step == trainer.schedule.total_steps;
        if !last && !report.step.is_multiple_of(trainer.config.logging_steps) {
            return Ok(None);
        }
        let since = std::mem::take(since);
        let record = TrainRecord {
            step: report.step,
            epoch: trainer.epoch(),
            loss: since.loss / since.scored.max(1) as f64,
            learning_rate: report.learning_rate,
            grad_norm: report.grad_norm,
            tokens: trainer.progress.tokens,
            tokens_per_s: since.tokens as f64 / since.time.as_secs_f64().max(1e-9),
            seconds: self.seconds,
        };
        for (tag, value) in [
            ("train/loss", record.loss),
            ("train/learning_rate", record.learning_rate),
            ("train/grad_norm", record.grad_norm),
            ("train/tokens_per_s", record.tokens_per_s),
            ("train/epoch", record.epoch),
        ] {
            self.events.scalar(tag, record.step, value)?;
        }
        self.metrics.write(&MetricRecord::Train(record.clone()))?;
        Ok(Some(record))
    }

    fn notice(&mut self, step: u64, text: &str) -> Result<Option<TrainRecord>> {
        self.metrics.write(&MetricRecord::Notice(NoticeRecord {
            step,
            text: text.to_owned(),
        }))?;
        Ok(None)
    }

    fn validated(&mut self, trainer: &Trainer, found: &crate::Validation) -> Result<()> {
        let step = trainer.progress.step;
        let record = EvalRecord {
            step,
            epoch: trainer.epoch(),
            eval_loss: found.loss,
            eval_perplexity: found.perplexity(),
            eval_token_accuracy: found.token_accuracy,
            eval_samples: found.samples,
            eval_tokens: found.scored,
            seconds: found.time.as_secs_f64(),
        };
        for (tag, value) in [
            ("eval/loss", record.eval_loss),
            ("eval/perplexity", record.eval_perplexity),
            ("eval/token_accuracy", record.eval_token_accuracy),
        ] {
            self.events.scalar(tag, step, value)?;
        }
        self.metrics.write(&MetricRecord::Eval(record))?;
        for (index, answer) in found.answers.iter().enumerate() {
            let text = format!("{}\n\n{}", verbatim(&answer.prompt), verbatim(&answer.text));
            self.events.text(&format!("samples/{index}"), step, &text)?;
            self.metrics.write(&MetricRecord::Sample(SampleRecord {
                step,
                prompt: answer.prompt.clone(),
                answer: answer.text.clone(),
            }))?;
        }
        Ok(())
    }

    /// Writes how the run ended; None is a failure.
    ///
    /// # Errors
    /// `File` if the logs cannot be written.
    pub fn finish(&mut self, trainer: &Trainer, ending: Option<Ending>) -> Result<()> {
        let reason = match ending {
            Some(Ending::Completed) => FinishReason::Completed,
            Some(Ending::Early) => FinishReason::EarlyStopping,
            Some(Ending::Stopped) => FinishReason::Interrupted,
            None => FinishReason::Failed,
        };
        self.metrics.write(&MetricRecord::Finish(FinishRecord {
            step: trainer.progress.step,
            epoch: trainer.epoch(),
            reason,
            tokens: trainer.progress.tokens,
            seconds: self.seconds,
            time: system_clock()(),
        }))?;
        self.metrics.sync()?;
        self.events.sync()?;
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        self.metrics.flush()?;
        self.events.flush()
    }
}

/// The gradients of all parameters as they are now.
pub(crate) fn gradients(trainer: &mut Trainer) -> Histogram {
    let mut histogram = Histogram::default();
    for parameter in trainer.model.parameters() {
        histogram.add(&parameter.grad.to_f32_vec());
    }
    histogram
}
