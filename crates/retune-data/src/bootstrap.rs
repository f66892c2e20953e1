//! How sure a figure is: what it would be had other rows been drawn.

use rayon::prelude::*;
use xxhash_rust::xxh3::xxh3_64;

/// How intervals are made.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Bootstrap {
    /// How many samples of rows are drawn. Without any there is no interval.
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

/// How two systems that answered the same rows differ.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct PairedDifference {
    /// The first system's figure less the second's, on the rows as they are.
    pub difference: f64,
    /// The interval of the difference.
    pub interval: Interval,
    /// The share of samples in which the difference is none, or has the other
    /// sign. Koehn calls the better system better with a confidence of one
    /// less this share.
    pub sign_change: f64,
    /// Twice the share of samples on that side of 0 which has fewer, at most 1;
    /// those at 0 count on both. One sample is added to the part and to the
    /// whole, so it is never 0. It says how easily rows could have been drawn
    /// that show no difference, or the other one. That is near to the p-value of
    /// a two-sided test, but no test was made.
    pub p_value: f64,
}

impl Bootstrap {
    /// The percentile interval of `figure` over samples of `rows` rows, drawn
    /// with replacement. `figure` is given how many times each row was drawn,
    /// and gives none where it is not defined. There is no interval if most
    /// samples do not define it, or without rows.
    ///
    /// Every draw is a hash of the seed, the replicate and the draw, so the
    /// interval is the same on any number of threads.
    ///
    /// # Reference
    /// Efron & Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13
    pub fn interval(
        &self,
        rows: usize,
        figure: impl Fn(&[u32]) -> Option<f64> + Sync,
    ) -> Option<Interval> {
        self.interval_of(&self.sorted_figures(rows, figure))
    }

    /// The difference of two systems on the same `rows` rows: each sample is
    /// drawn once, for both. There is none if a system's figure is not defined
    /// on the rows as they are, or on most samples.
    ///
    /// # Reference
    /// Koehn 2004, Statistical Significance Tests for Machine Translation
    /// Evaluation
    pub fn paired(
        &self,
        rows: usize,
        first: impl Fn(&[u32]) -> Option<f64> + Sync,
        second: impl Fn(&[u32]) -> Option<f64> + Sync,
    ) -> Option<PairedDifference> {
        let difference_of = |times: &[u32]| Some(first(times)? - second(times)?);
        let difference = difference_of(&vec![1; rows])?;
        let sorted = self.sorted_figures(rows, difference_of);
        let interval = self.interval_of(&sorted)?;
        let figures = || sorted.iter().flatten();
        let defined = figures().count() as f64;
        let not_above = figures().filter(|&&figure| figure <= 0.0).count() as f64;
        let not_below = figures().filter(|&&figure| figure >= 0.0).count() as f64;
        let changed = figures().filter(|&&figure| figure * difference <= 0.0);
        Some(PairedDifference {
            difference,
            interval,
            sign_change: changed.count() as f64 / defined,
            p_value: (2.0 * (not_above.min(not_below) + 1.0) / (defined + 1.0)).min(1.0),
        })
    }

    /// The figures of all samples, those that are not defined first.
    fn sorted_figures(
        &self,
        rows: usize,
        figure: impl Fn(&[u32]) -> Option<f64> + Sync,
    ) -> Vec<Option<f64>> {
        if rows == 0 {
            return Vec::new();
        }
        let replicates = (0..self.replicates).into_par_iter();
        let mut figures: Vec<Option<f64>> = replicates
            .map_init(
                || vec![0; rows],
                |times, replicate| {
                    self.draw(replicate, times);
                    figure(times).filter(|figure| figure.is_finite())
                },
            )
            .collect();
        figures.sort_unstable_by(|one, other| {
            let rank = |figure: &Option<f64>| figure.unwrap_or(f64::NEG_INFINITY);
            rank(one).total_cmp(&rank(other))
        });
        figures
    }

    fn interval_of(&self, sorted: &[Option<f64>]) -> Option<Interval> {
        let defined: Vec<f64> = sorted.iter().flatten().copied().collect();
        let undefined_replicates = sorted.len() - defined.len();
        if undefined_replicates > defined.len() {
            return None;
        }
        let tail = (1.0 - self.confidence) / 2.0;
        Some(Interval {
            low: percentile(&defined, tail)?,
            high: percentile(&defined, 1.0 - tail)?,
            undefined_replicates,
        })
    }

    /// How many times each row is in a sample.
    fn draw(&self, replicate: u32, times: &mut [u32]) {
        times.fill(0);
        let rows = times.len() as u128;
        let mut key = [0; 24];
        key[..8].copy_from_slice(&self.seed.to_le_bytes());
        key[8..16].copy_from_slice(&u64::from(replicate).to_le_bytes());
        for draw in 0..times.len() as u64 {
            key[16..].copy_from_slice(&draw.to_le_bytes());
            // The upper half of the product is a row, each as likely.
            let row = (u128::from(xxh3_64(&key)) * rows) >> 64;
            times[row as usize] += 1;
        }
    }
}

/// The number below which `share` of the sorted numbers lies, between two of
/// them by proportion, as numpy counts them by default; there is none of no numbers.
pub fn percentile(sorted: &[f64], share: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let position = (share * last as f64).clamp(0.0, last as f64);
    let below = position.floor() as usize;
    let above = (below + 1).min(last);
    Some(sorted[below] + (sorted[above] - sorted[below]) * position.fract())
}
