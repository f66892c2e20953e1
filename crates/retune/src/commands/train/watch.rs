//! A run as one sees it go on.

use std::io::Write as _;

use indicatif::{ProgressBar, ProgressStyle};
use retune_train::events::TrainRecord;
use retune_train::{Event, LogPosition, Observer, Progress, Result, RunLog, Trainer, Validation};

use crate::output::plain;
use crate::signals::Signals;

/// Draws a bar, prints lines, and writes the logs.
pub(crate) struct Watch<'a> {
    log: &'a mut RunLog,
    signals: &'a Signals,
    bar: ProgressBar,
}

impl<'a> Watch<'a> {
    /// For a run of `steps` steps, `done` of which an earlier process did.
    pub(crate) fn new(log: &'a mut RunLog, signals: &'a Signals, done: u64, steps: u64) -> Self {
        let bar = ProgressBar::new(steps).with_position(done);

        let template = "{bar:24} {pos}/{len} steps, {msg}{elapsed} gone, {eta} left";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        // The time that is left follows from the steps behind those that are seen here.
        bar.tick();
        bar.reset_eta();
        Self { log, signals, bar }
    }

    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn line(&self, text: &str) {
        // The bar is on standard error. A run does not end because nobody reads on.
        self.bar
            .suspend(|| drop(writeln!(anstream::stdout(), "{text}")));
    }

    fn trained(&self, record: &TrainRecord) {
        self.line(&format!(
            "step {:>6}  epoch {:.2}  loss {:.4}  rate {:.2e}  norm {:.3}  {:.0} tokens/s",
            record.step,
            record.epoch,
            record.loss,
            record.learning_rate,
            record.grad_norm,
            record.tokens_per_s
        ));
    }

    fn validated(&self, found: &Validation, progress: &Progress) {
        let best = progress.best.is_some_and(|(step, _)| step == progress.step);
        self.line(&format!(
            "step {:>6}  validation: loss {:.4}, perplexity {:.2}, {:.1} % of tokens right{}",
            progress.step,
            found.loss,
            found.perplexity(),
            100.0 * found.token_accuracy,
            if best { ", the best so far" } else { "" }
        ));
        for answer in &found.answers {
            self.line(&format!("  {}", plain(&answer.prompt)));
            self.line(&format!("  → {}", plain(&answer.text)));
        }
    }
}

impl Observer for Watch<'_> {
    fn event(&mut self, trainer: &mut Trainer, event: Event<'_>) -> Result<()> {
        let line = self.log.record(trainer, &event)?;
        if let Some(record) = &line {
            self.trained(record);
        }
        match event {
            Event::Step(report) => {
                self.bar.set_position(report.step);
                let speed = report.tokens as f64 / report.time.as_secs_f64().max(1e-9);
                self.bar.set_message(format!(
                    "loss {:.3}, rate {:.1e}, {speed:.0} tokens/s, ",
                    report.loss, report.learning_rate
                ));
            }
            Event::Validating(done, total) => {
                self.bar.set_message(format!("validating {done}/{total}, "));
            }
            Event::Validated(found, progress) => self.validated(found, progress),
            Event::Spike(spike) => self.line(&plain(&spike.to_string())),
            Event::Skipped(problem) => self.line(&plain(&format!("left out: {problem}"))),
            _ => {}
        }
        Ok(())
    }

    fn should_stop(&self) -> bool {
        self.signals.caught().is_some()
    }

    fn log_position(&mut self) -> Result<Option<LogPosition>> {
        self.log.position().map(Some)
    }
}
