//! Krippendorff's alpha, for any number of annotators and missing ratings.

use crate::agreement::ratings::Ratings;
use crate::agreement::{Figure, Undefined};
use crate::error::Result;

/// What may be said of two different labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// That they differ.
    #[default]
    Nominal,
    /// Which is higher.
    Ordinal,
    /// How far apart they are.
    Interval,
}

/// What an alpha is good for.
///
/// # Reference
/// Krippendorff, Content Analysis: An Introduction to Its Methodology, 2nd ed.
/// 2004, p. 241
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Reliability {
    /// At least .800: the labels can be relied on.
    Reliable,
    /// At least .667: conclusions from them are tentative.
    Tentative,
    /// Below that: they are not to be relied on.
    Unreliable,
}

impl Reliability {
    /// What `alpha` is good for.
    pub fn of(alpha: f64) -> Self {
        match alpha {
            alpha if alpha >= 0.8 => Self::Reliable,
            alpha if alpha >= 0.667 => Self::Tentative,
            _ => Self::Unreliable,
        }
    }
}

/// Krippendorff's alpha: 1 − observed / expected disagreement. 1 is perfect
/// agreement, 0 what chance gives, below 0 is systematic disagreement. Items
/// with fewer than two ratings do not count.
///
/// The result is undefined if no item has two ratings, or if all ratings that
/// count are the same.
///
/// # Errors
/// `LabelScale` if the level is `Interval` and a label is no number.
///
/// # Reference
/// Krippendorff, Content Analysis: An Introduction to Its Methodology, 2nd ed.
/// 2004, chapter 11.
pub fn krippendorff_alpha(ratings: &Ratings, level: Level) -> Result<Figure> {
    let once = vec![1; ratings.items().len()];
    Ok(Alpha::new(ratings, level)?.of(&once))
}

/// What alpha needs of each unit, so that many samples of items are cheap.
pub(super) struct Alpha {
    level: Level,
    labels: usize,
    /// The labels on the scale, in 0…1, if the level is `Interval`.
    values: Vec<f64>,
    units: Vec<Counted>,
}

/// A unit with two ratings or more.
struct Counted {
    item: usize,
    size: u64,
    /// How many ratings there are.
    total: u64,
    /// A label, and how often it was given.
    counts: Vec<(usize, u64)>,
}

impl Alpha {
    pub(super) fn new(ratings: &Ratings, level: Level) -> Result<Self> {
        let values = match level {
            Level::Interval => unit_range(&ratings.numbers()?),
            _ => Vec::new(),
        };
        let units = ratings.units().iter();
        let units = units.filter(|unit| unit.ratings.len() > 1).map(|unit| {
            let mut labels: Vec<u32> = unit.ratings.iter().map(|rating| rating.label).collect();
            labels.sort_unstable();
            let runs = labels.chunk_by(|a, b| a == b);
            Counted {
                item: unit.item as usize,
                size: unit.size,
                total: labels.len() as u64,
                counts: runs
                    .map(|run| (run[0] as usize, run.len() as u64))
                    .collect(),
            }
        });
        Ok(Self {
            level,
            labels: ratings.labels().len(),
            values,
            units: units.collect(),
        })
    }

    /// Alpha when item `i` is there `times[i]` times.
    pub(super) fn of(&self, times: &[u32]) -> Figure {
        // Of every label, the pairable ratings.
        let mut totals = vec![0u64; self.labels];
        for unit in &self.units {
            let weight = u64::from(times[unit.item]) * unit.size;
            for &(label, count) in &unit.counts {
                totals[label] += weight * count;
            }
        }
        let n: u64 = totals.iter().sum();
        if n == 0 {
            return Err(Undefined::NoOverlap);
        }
        if totals.iter().filter(|&&total| total > 0).count() < 2 {
            return Err(Undefined::OneLabel);
        }
        let (observed, expected) = match self.level {
            Level::Nominal => self.nominal(times, &totals, n),
            Level::Ordinal => self.squared(times, &totals, n, &mid_ranks(&totals, n)),
            Level::Interval => self.squared(times, &totals, n, &self.values),
        };
        if expected > 0.0 {
            Ok(1.0 - observed * (n - 1) as f64 / expected)
        } else {
            // Labels that differ only in how the same number is written.
            Err(Undefined::OneLabel)
        }
    }

    /// Sums of disagreement over ordered pairs, inside units and overall, where
    /// two labels differ or do not.
    fn nominal(&self, times: &[u32], totals: &[u64], n: u64) -> (f64, f64) {
        let square = |count: u64| u128::from(count) * u128::from(count);
        let observed = self.units.iter().map(|unit| {
            let same: u64 = unit.counts.iter().map(|(_, count)| count * count).sum();
            let differ = (unit.total * unit.total - same) as f64;
            weight(unit, times) * differ / (unit.total - 1) as f64
        });
        let same: u128 = totals.iter().map(|&total| square(total)).sum();
        (observed.sum(), (square(n) - same) as f64)
    }

    /// The same for squared distances between `values`. The sum over pairs is
    /// twice the count times the squares around the mean, so no pair is visited.
    fn squared(&self, times: &[u32], totals: &[u64], n: u64, values: &[f64]) -> (f64, f64) {
        let observed = self.units.iter().map(|unit| {
            let counts = unit.counts.iter();
            let pairs = counts.map(|&(label, count)| (values[label], count as f64));
            let total = unit.total as f64;
            weight(unit, times) * 2.0 * total * around_mean(pairs, total) / (total - 1.0)
        });
        let pairs = values
            .iter()
            .zip(totals)
            .map(|(&value, &total)| (value, total as f64));
        let n = n as f64;
        (observed.sum(), 2.0 * n * around_mean(pairs, n))
    }
}

fn weight(unit: &Counted, times: &[u32]) -> f64 {
    f64::from(times[unit.item]) * unit.size as f64
}

/// The sum of squares around the mean of values that come `count` times.
fn around_mean(values: impl Iterator<Item = (f64, f64)> + Clone, total: f64) -> f64 {
    let sum: f64 = values.clone().map(|(value, count)| value * count).sum();
    let mean = sum / total;
    values
        .map(|(value, count)| count * (value - mean) * (value - mean))
        .sum()
}

/// The middle of each label among all ratings when they are sorted. The ordinal
/// distance of two labels is the square of the difference, by definition. It
/// does not matter in which unit, so ranks are shares, which do not overflow.
fn mid_ranks(totals: &[u64], n: u64) -> Vec<f64> {
    let mut below = 0;
    let ranks = totals.iter().map(|&total| {
        let rank = (below as f64 + total as f64 / 2.0) / n as f64;
        below += total;
        rank
    });
    ranks.collect()
}

/// Values moved and scaled to 0…1, which alpha does not see, so that squares of
/// large ones stay finite.
fn unit_range(values: &[f64]) -> Vec<f64> {
    // Halves, as the difference of two large numbers may be infinite.
    let halves = values.iter().map(|value| value / 2.0);
    let low = halves.clone().fold(f64::INFINITY, f64::min);
    let range = halves.clone().fold(f64::NEG_INFINITY, f64::max) - low;
    let scaled = halves.map(|half| {
        if range > 0.0 {
            (half - low) / range
        } else {
            0.0
        }
    });
    scaled.collect()
}
