//! Which samples each optimizer step learns from: a function of the step alone,
//! so that a run that is resumed needs no more than its number.

use retune_data::{epoch_order, epoch_steps};

/// General data that is mixed in.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Replay {
    /// How many samples there are.
    pub samples: u32,
    /// The share of all samples of a step that comes from them, below 1.
    pub ratio: f64,
}

/// The order of a run.
#[derive(Debug)]
pub struct Course {
    seed: u64,
    /// The samples that are trained on, by their number in the token file.
    train: Vec<u32>,
    per_step: usize,
    replay: Option<Replay>,
    /// Whether every epoch has an order of its own.
    shuffled: bool,
    /// The epoch that was asked for last, and its steps.
    epoch: Option<(u64, Vec<Vec<u32>>)>,
    /// The same of the general data: its samples in order.
    replay_epoch: Option<(u64, Vec<u32>)>,
}

/// The samples of one optimizer step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepSamples {
    /// Numbers in the token file of the data.
    pub train: Vec<u32>,
    /// Numbers in the token file of the general data.
    pub replay: Vec<u32>,
}

/// Tells the order of general data from that of the data.
const REPLAY: u64 = 0x7265_706c_6179;

impl Course {
    /// The order for the samples `train`, `per_step` of which make a step.
    pub fn new(seed: u64, train: Vec<u32>, per_step: usize, replay: Option<Replay>) -> Self {
        Self {
            seed,
            train,
            per_step: per_step.max(1),
            replay,
            shuffled: true,
            epoch: None,
            replay_epoch: None,
        }
    }

    /// The same in the order of the data, in every epoch.
    #[must_use]
    pub fn in_order(mut self) -> Self {
        self.shuffled = false;
        self
    }

    /// Optimizer steps of one epoch; the last one may be smaller.
    pub fn steps_per_epoch(&self) -> u64 {
        self.train.len().div_ceil(self.per_step) as u64
    }

    /// The samples that are trained on.
    pub fn train(&self) -> &[u32] {
        &self.train
    }

    /// The most samples that a step has.
    pub fn most_samples(&self) -> usize {
        let ratio = self.replay.map_or(0.0, |replay| replay.ratio);
        (self.per_step as f64 / (1.0 - ratio)).ceil() as usize
    }

    /// How many samples a step has on average: of the data, and of general ones.
    pub fn mean_samples(&self) -> [f64; 2] {
        let own = self.train.len() as f64 / self.steps_per_epoch().max(1) as f64;
        let ratio = self.replay.map_or(0.0, |replay| replay.ratio);
        [own, own * ratio / (1.0 - ratio)]
    }

    /// The samples of step `step`, the first being 0.
    pub fn samples(&mut self, step: u64) -> StepSamples {
        let per_epoch = self.steps_per_epoch().max(1);
        let (epoch, index) = (step / per_epoch, (step % per_epoch) as usize);
        if self.epoch.as_ref().is_none_or(|(known, _)| *known != epoch) {
            let count = self.train.len() as u32;
            let steps = match self.shuffled {
                true => epoch_steps(self.seed, epoch, count, self.per_step),
                false => {
                    let order: Vec<u32> = (0..count).collect();
                    order.chunks(self.per_step).map(<[u32]>::to_vec).collect()
                }
            };
            self.epoch = Some((epoch, steps));
        }
        let chosen = self.epoch.as_ref().and_then(|(_, steps)| steps.get(index));
        let train: Vec<u32> = chosen
            .into_iter()
            .flatten()
            .map(|sample| self.train[*sample as usize])
            .collect();
        let before = epoch * self.train.len() as u64 + (index * self.per_step) as u64;
        let replay = self.replayed(before, before + train.len() as u64);
        StepSamples { train, replay }
    }

    /// General samples that belong to the training samples `before..after` of the
    /// whole run. Whole numbers only: what a step is short of, a later one gets.
    fn replayed(&mut self, before: u64, after: u64) -> Vec<u32> {
        let Some(Replay { samples, ratio }) = self.replay.filter(|replay| replay.samples > 0)
        else {
            return Vec::new();
        };
        // What is a whole number but for rounding is one.
        let due = |trained: u64| (trained as f64 * ratio / (1.0 - ratio) + 1e-9).floor() as u64;
        let count = u64::from(samples);
        let seed = self.seed ^ REPLAY;
        let known = &mut self.replay_epoch;
        (due(before)..due(after))
            .map(|number| {
                let (epoch, index) = (number / count, (number % count) as usize);
                if known.as_ref().is_none_or(|(known, _)| *known != epoch) {
                    *known = Some((epoch, epoch_order(seed, epoch, samples)));
                }
                known.as_ref().map_or(0, |(_, order)| order[index])
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_has_every_sample_once_and_epochs_differ() {
        let ids: Vec<u32> = (0..10).map(|id| id * 3).collect();
        let mut course = Course::new(7, ids.clone(), 4, None);
        assert_eq!(course.steps_per_epoch(), 3);
        let mut epoch = |number: u64| -> Vec<u32> {
            let steps = number * 3..number * 3 + 3;
            steps.flat_map(|step| course.samples(step).train).collect()
        };
        let (first, second) = (epoch(0), epoch(1));
        assert_ne!(first, second);
        for mut found in [first, second] {
            found.sort_unstable();
            assert_eq!(found, ids);
        }
    }

    #[test]
    fn without_shuffling_epochs_go_through_the_data_in_order() {
        let mut course = Course::new(7, vec![2, 3, 5], 2, None).in_order();
        let steps: Vec<Vec<u32>> = (0..4).map(|step| course.samples(step).train).collect();
        assert_eq!(steps, [vec![2, 3], vec![5], vec![2, 3], vec![5]]);
    }

    #[test]
    fn a_step_does_not_depend_on_the_steps_asked_before() {
        let replay = Replay {
            samples: 5,
            ratio: 0.3,
        };
        let new = || Course::new(1, (0..23).collect(), 4, Some(replay));
        let mut in_order = new();
        let all: Vec<StepSamples> = (0..40).map(|step| in_order.samples(step)).collect();
        for step in [39, 3, 17, 0, 22] {
            assert_eq!(new().samples(step), all[step as usize]);
        }
    }

    #[test]
    fn replay_has_its_share_in_the_long_run() {
        let replay = Replay {
            samples: 7,
            ratio: 0.2,
        };
        let mut course = Course::new(1, (0..100).collect(), 4, Some(replay));
        let steps: Vec<StepSamples> = (0..100).map(|step| course.samples(step)).collect();
        let count = |of: fn(&StepSamples) -> usize| steps.iter().map(of).sum::<usize>();
        assert_eq!(count(|step| step.train.len()), 400);
        assert_eq!(count(|step| step.replay.len()), 100);
        assert!(steps.iter().all(|step| step.replay.len() == 1));
    }
}
