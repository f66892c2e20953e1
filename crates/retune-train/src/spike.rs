//! Losses that are far above those before them.

use std::collections::VecDeque;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Steps whose losses are compared with.
const STEPS: usize = 32;
/// How many standard deviations above their mean a loss has to be,
const DEVIATIONS: f64 = 6.0;
/// and what multiple of it.
const MULTIPLE: f64 = 1.3;

/// A loss that is far above those before it.
#[derive(Debug, Clone, PartialEq)]
pub struct Spike {
    /// The step, the first being 1.
    pub step: u64,
    /// Its loss.
    pub loss: f64,
    /// The mean of the losses before.
    pub mean: f64,
    /// Its samples, in words.
    pub samples: Vec<String>,
}

impl fmt::Display for Spike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "step {}: a loss of {:.3}, where the {STEPS} steps before had {:.3} on average\n  {}",
            self.step,
            self.loss,
            self.mean,
            self.samples.join("\n  ")
        )
    }
}

/// The losses of the last steps.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Losses {
    recent: VecDeque<f64>,
}

impl Losses {
    /// Takes the loss of a step; returns the mean of those before if it is far
    /// above them.
    pub(crate) fn add(&mut self, loss: f64) -> Option<f64> {
        let count = self.recent.len();
        let mean = self.recent.iter().sum::<f64>() / count.max(1) as f64;
        let squares = self.recent.iter().map(|value| (value - mean).powi(2));
        let deviation = (squares.sum::<f64>() / count.max(1) as f64).sqrt();
        let far = loss > mean + DEVIATIONS * deviation && loss > MULTIPLE * mean;
        if count == STEPS {
            self.recent.pop_front();
        }
        self.recent.push_back(loss);
        (far && count == STEPS).then_some(mean)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spike_is_far_above_what_is_usual_and_known() {
        let mut losses = Losses::default();
        for step in 0..40 {
            let usual = 2.0 + 0.1 * f64::from(step % 3);
            assert_eq!(losses.add(usual), None, "{step}");
        }
        assert_eq!(losses.add(2.5), None);
        let mean = losses.add(8.0).expect("a spike");
        assert!((2.0..2.3).contains(&mean), "{mean}");
        // Nothing is known at first.
        assert_eq!(Losses::default().add(100.0), None);
    }
}
