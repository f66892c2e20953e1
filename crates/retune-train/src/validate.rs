//! How well a model does on samples that it does not learn from.

use std::time::{Duration, Instant};

use retune_compute::ops::sum;

use crate::batch::{Numbered, batches};
use crate::error::Result;
use crate::trainer::{Event, Observer, Trainer};

/// The outcome of a validation.
#[derive(Debug, Clone, PartialEq)]
pub struct Validation {
    /// The mean cross-entropy of all scored tokens.
    pub loss: f64,
    /// The share of scored tokens that had the largest logit.
    pub token_accuracy: f64,
    /// Samples.
    pub samples: u64,
    /// Scored tokens.
    pub scored: u64,
    /// What the model answers to the fixed prompts.
    pub answers: Vec<Answer>,
    /// How long it took.
    pub time: Duration,
}

/// A prompt, and what the model answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The user's turn.
    pub prompt: String,
    /// The assistant's.
    pub text: String,
}

impl Validation {
    /// `exp(loss)`.
    pub fn perplexity(&self) -> f64 {
        self.loss.exp()
    }
}

/// Samples that share a batch, and with it what they begin with.
const SAMPLES: usize = 64;

impl Trainer {
    /// Loss, perplexity and accuracy on the validation samples, without dropout,
    /// and answers to the fixed prompts; None if `observer` stops it.
    ///
    /// # Errors
    /// Those of data, model and `observer`.
    pub fn validate(&mut self, observer: &mut dyn Observer) -> Result<Option<Validation>> {
        let start = Instant::now();
        let total = self.data.validation_samples();
        let (mut loss, mut correct, mut scored) = (0.0, 0.0, 0);
        for first in (0..total).step_by(SAMPLES) {
            if observer.should_stop() {
                return Ok(None);
            }
            observer.event(self, Event::Validating(first, total))?;
            let numbers = first..(first + SAMPLES).min(total);
            let samples: Result<Vec<Numbered>> = numbers
                .map(|index| {
                    let tokens = self.data.validation_sample(index)?;
                    let number = index as u32;
                    Ok(Numbered { number, tokens })
                })
                .collect();
            for batch in batches(&samples?, self.fit.batch_tokens)? {
                let found = self.model.loss(&batch, None)?;
                loss += sum(&found.losses);
                correct += sum(&found.correct);
                scored += batch.rows.len();
            }
        }
        let answers = self.answers()?;
        let count = scored.max(1) as f64;
        Ok(Some(Validation {
            loss: loss / count,
            token_accuracy: correct / count,
            samples: total as u64,
            scored: scored as u64,
            answers,
            time: start.elapsed(),
        }))
    }
}
