//! The learning rate of each step.

use std::f64::consts::PI;

use crate::config::SchedulerType;

/// Linear warm-up, then a fall to a floor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// How the rate falls.
    pub kind: SchedulerType,
    /// The highest rate.
    pub learning_rate: f64,
    /// The rate at the end.
    pub min_lr: f64,
    /// Optimizer steps in which the rate rises.
    pub warmup_steps: u64,
    /// Optimizer steps of the run.
    pub total_steps: u64,
}

impl Schedule {
    /// The rate of step `step`, the first being 0: `learning_rate · (step + 1) /
    /// warmup_steps` in the warm-up; behind it, the first step has the highest
    /// rate, and `min_lr` would be that of the step behind the last.
    pub fn rate(&self, step: u64) -> f64 {
        if step < self.warmup_steps {
            return self.learning_rate * (step + 1) as f64 / self.warmup_steps as f64;
        }
        let falling = self.total_steps.saturating_sub(self.warmup_steps).max(1);
        let gone = ((step - self.warmup_steps) as f64 / falling as f64).min(1.0);
        let left = match self.kind {
            SchedulerType::Linear => 1.0 - gone,
            SchedulerType::Cosine => 0.5 * (1.0 + (PI * gone).cos()),
            SchedulerType::Constant => 1.0,
        };
        self.min_lr + (self.learning_rate - self.min_lr) * left
    }
}
