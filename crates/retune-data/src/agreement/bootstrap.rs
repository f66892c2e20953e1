//! How sure a figure is: what it would be had other items been drawn.

use rayon::prelude::*;
use xxhash_rust::xxh3::xxh3_64;

use crate::agreement::Figure;

/// How intervals are made.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Bootstrap {
    /// How many samples of items are drawn. Without any there is no interval.
    pub replicates: u32,
    /// The share of the samples that the interval holds, between 0 and 1.
    pub confidence: f64,
    /// What the drawing starts from.
    pub seed: u64,
}

impl Default for Bootstrap {
    fn default() -> Self {
        Self {
            replicates: 1000,
            confidence: 0.95,
            seed: 0,
        }
    }
}

/// Between which figures a share of the samples lies.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Interval {
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
    /// How many samples were left out, as they do not define the figure.
    pub undefined_replicates: usize,
}

impl Bootstrap {
    /// The percentile interval of `figure` over samples of `items`, drawn with
    /// replacement. `figure` is given how many times each item was drawn.
    /// There is none if most samples do not define the figure.
    ///
    /// Every draw is a hash of the seed, the replicate and the draw, so the
    /// interval is the same on any number of threads.
    ///
    /// # Reference
    /// Efron & Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13
    pub(super) fn interval(
        &self,
        items: usize,
        figure: impl Fn(&[u32]) -> Figure + Sync,
    ) -> Option<Interval> {
        if items == 0 {
            return None;
        }
        let replicates = (0..self.replicates).into_par_iter();
        let figures: Vec<Option<f64>> = replicates
            .map_init(
                || vec![0; items],
                |times, replicate| {
                    self.draw(replicate, times);
                    figure(times).ok()
                },
            )
            .collect();
        let mut defined: Vec<f64> = figures.iter().flatten().copied().collect();
        let undefined_replicates = figures.len() - defined.len();
        if undefined_replicates > defined.len() {
            return None;
        }
        defined.sort_unstable_by(f64::total_cmp);
        let tail = (1.0 - self.confidence) / 2.0;
        Some(Interval {
            low: percentile(&defined, tail)?,
            high: percentile(&defined, 1.0 - tail)?,
            undefined_replicates,
        })
    }

    /// How many times each item is in a sample.
    fn draw(&self, replicate: u32, times: &mut [u32]) {
        times.fill(0);
        let items = times.len() as u128;
        let mut key = [0; 24];
        key[..8].copy_from_slice(&self.seed.to_le_bytes());
        key[8..16].copy_from_slice(&u64::from(replicate).to_le_bytes());
        for draw in 0..times.len() as u64 {
            key[16..].copy_from_slice(&draw.to_le_bytes());
            let item = (u128::from(xxh3_64(&key)) * items) >> 64;
            times[item as usize] += 1;
        }
    }
}

/// The figure below which a share of the sorted figures lies, between two of
/// them by proportion.
fn percentile(sorted: &[f64], share: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let position = (share * last as f64).clamp(0.0, last as f64);
    let (below, part) = (position.floor(), position.fract());
    let (low, high) = (sorted[below as usize], sorted[position.ceil() as usize]);
    Some(low + (high - low) * part)
}
