//! Kappa: agreement beyond what chance gives, of two annotators (Cohen) and of
//! a fixed number of ratings for each item (Fleiss).

use std::collections::{BTreeMap, HashMap};

use crate::agreement::ratings::{Ratings, Unit};
use crate::agreement::{Figure, Undefined};

/// How much worse a larger difference between two ordered labels is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Weights {
    /// Any difference is as bad as any other.
    #[default]
    None,
    /// By the number of steps between the labels.
    Linear,
    /// By the square of that number.
    Quadratic,
}

/// Cohen's kappa of two annotators, given as indices into
/// [`Ratings::annotators`], over the items that both have rated. Steps between
/// labels are counted in the order of [`Ratings::labels`].
///
/// The result is undefined if they share no item, or if both gave one and the
/// same label everywhere.
///
/// # Reference
/// Cohen 1960, doi:10.1177/001316446002000104; with weights Cohen 1968,
/// doi:10.1037/h0026256
pub fn cohen_kappa(ratings: &Ratings, first: usize, second: usize, weights: Weights) -> Figure {
    let mut pair = Pair::default();
    for unit in ratings.units() {
        let label = |annotator: usize| {
            let rating = unit
                .ratings
                .binary_search_by_key(&annotator, |rating| rating.annotator as usize);
            rating.ok().map(|index| unit.ratings[index].label)
        };
        if let (Some(first), Some(second)) = (label(first), label(second)) {
            pair.add(unit, first, second);
        }
    }
    pair.kappa(weights, ratings.labels().len(), &vec![1; pair.items.len()])
}

/// What two annotators both have rated.
#[derive(Debug, Default)]
pub(super) struct Pair {
    /// The items, as indices into those of the ratings.
    pub(super) items: Vec<u32>,
    shared: Vec<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// An index into the items of the pair.
    item: usize,
    size: u64,
    labels: [u32; 2],
}

impl Pair {
    fn add(&mut self, unit: &Unit, first: u32, second: u32) {
        if self.items.last() != Some(&unit.item) {
            self.items.push(unit.item);
        }
        self.shared.push(Shared {
            item: self.items.len() - 1,
            size: unit.size,
            labels: [first, second],
        });
    }

    /// All pairs of `chosen` annotators that share an item, in the annotators'
    /// order.
    pub(super) fn all(ratings: &Ratings, chosen: &[bool]) -> BTreeMap<(u32, u32), Self> {
        let mut pairs: BTreeMap<(u32, u32), Self> = BTreeMap::new();
        for unit in ratings.units() {
            let mut rated = unit.ratings.iter();
            while let Some(first) = rated.next() {
                if !chosen[first.annotator as usize] {
                    continue;
                }
                for second in rated
                    .clone()
                    .filter(|other| chosen[other.annotator as usize])
                {
                    let pair = pairs.entry((first.annotator, second.annotator));
                    pair.or_default().add(unit, first.label, second.label);
                }
            }
        }
        pairs
    }

    /// The share of what both rated on which they gave the same label.
    pub(super) fn agreement(&self) -> Figure {
        let total: u64 = self.shared.iter().map(|shared| shared.size).sum();
        let same = self
            .shared
            .iter()
            .filter(|shared| shared.labels[0] == shared.labels[1]);
        let same: u64 = same.map(|shared| shared.size).sum();
        if total == 0 {
            return Err(Undefined::NoOverlap);
        }
        Ok(same as f64 / total as f64)
    }

    /// Kappa when item `i` of the pair is there `times[i]` times.
    pub(super) fn kappa(&self, weights: Weights, labels: usize, times: &[u32]) -> Figure {
        let mut totals = [vec![0u64; labels], vec![0u64; labels]];
        let mut observed = 0.0;
        let mut n = 0;
        for shared in &self.shared {
            let weight = u64::from(times[shared.item]) * shared.size;
            let [first, second] = shared.labels;
            let steps = f64::from(first.abs_diff(second));
            let penalty = match weights {
                Weights::None => steps.min(1.0),
                Weights::Linear => steps,
                Weights::Quadratic => steps * steps,
            };
            observed += weight as f64 * penalty;
            n += weight;
            totals[0][first as usize] += weight;
            totals[1][second as usize] += weight;
        }
        if n == 0 {
            return Err(Undefined::NoOverlap);
        }
        let expected = expected(weights, &totals, n);
        if expected > 0.0 {
            Ok(1.0 - observed * n as f64 / expected)
        } else {
            Err(Undefined::OneLabel)
        }
    }
}

/// The sum of the penalties over all pairs of a label of the first annotator
/// and one of the second, without visiting pairs of labels: there may be many.
fn expected(weights: Weights, [first, second]: &[Vec<u64>; 2], n: u64) -> f64 {
    match weights {
        Weights::None => {
            let same = first.iter().zip(second);
            let same: u128 = same.map(|(&a, &b)| u128::from(a) * u128::from(b)).sum();
            (u128::from(n) * u128::from(n) - same) as f64
        }
        // A pair is as many steps apart as there are gaps between its labels.
        Weights::Linear => {
            let (mut below_first, mut below_second, mut sum) = (0, 0, 0u128);
            for (a, b) in first.iter().zip(second) {
                below_first += a;
                below_second += b;
                sum += u128::from(below_first) * u128::from(n - below_second)
                    + u128::from(n - below_first) * u128::from(below_second);
            }
            sum as f64
        }
        Weights::Quadratic => {
            let n = n as f64;
            let (first, second) = (moments(first, n), moments(second, n));
            let apart = first.0 - second.0;
            n * n * (apart * apart + first.1 + second.1)
        }
    }
}

/// Mean and variance of the labels' positions.
fn moments(totals: &[u64], n: f64) -> (f64, f64) {
    let positions = totals.iter().enumerate();
    let positions = positions.map(|(position, &total)| (position as f64, total as f64));
    let sum: f64 = positions
        .clone()
        .map(|(position, total)| position * total)
        .sum();
    let mean = sum / n;
    let squares = positions.map(|(position, total)| total * (position - mean) * (position - mean));
    (mean, squares.sum::<f64>() / n)
}

/// Fleiss' kappa, and what it was computed from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fleiss {
    /// The figure.
    pub kappa: Figure,
    /// How many items have the number of ratings.
    pub items: usize,
    /// The number of ratings for each item.
    pub ratings_per_item: usize,
}

/// Fleiss' kappa. It is defined for items that all have the same number of
/// ratings, by any annotators. If the items differ, those with the most common
/// number count (of equally common ones, the largest), and the rest do not;
/// Krippendorff's alpha uses all.
///
/// The result is undefined if no item has two ratings, or if only one label was
/// used.
///
/// # Reference
/// Fleiss 1971, doi:10.1037/h0031619
pub fn fleiss_kappa(ratings: &Ratings) -> Fleiss {
    let prepared = FleissTable::new(ratings);
    Fleiss {
        kappa: prepared.of(&vec![1; prepared.items.len()]),
        items: prepared.items.len(),
        ratings_per_item: prepared.ratings_per_item,
    }
}

/// The labels of the items that count, so that many samples of them are cheap.
pub(super) struct FleissTable {
    labels: usize,
    /// The items that count, as indices into those of the ratings.
    pub(super) items: Vec<u32>,
    pub(super) ratings_per_item: usize,
    units: Vec<(usize, u64, Vec<u32>)>,
}

impl FleissTable {
    pub(super) fn new(ratings: &Ratings) -> Self {
        let mut common: HashMap<usize, u64> = HashMap::new();
        for unit in ratings.units() {
            *common.entry(unit.ratings.len()).or_default() += 1;
        }
        let common = common.into_iter().filter(|(count, _)| *count > 1);
        let most = common.max_by_key(|&(count, units)| (units, count));
        let ratings_per_item = most.map_or(0, |(count, _)| count);
        let mut table = Self {
            labels: ratings.labels().len(),
            items: Vec::new(),
            ratings_per_item,
            units: Vec::new(),
        };
        let wanted = |unit: &&Unit| unit.ratings.len() == ratings_per_item && ratings_per_item > 1;
        for unit in ratings.units().iter().filter(wanted) {
            if table.items.last() != Some(&unit.item) {
                table.items.push(unit.item);
            }
            let mut labels: Vec<u32> = unit.ratings.iter().map(|rating| rating.label).collect();
            labels.sort_unstable();
            table.units.push((table.items.len() - 1, unit.size, labels));
        }
        table
    }

    /// Kappa when item `i` of the table is there `times[i]` times.
    pub(super) fn of(&self, times: &[u32]) -> Figure {
        let mut totals = vec![0u64; self.labels];
        // Ordered pairs of ratings of one unit that agree.
        let mut agreeing = 0u64;
        let mut units = 0u64;
        for (item, size, labels) in &self.units {
            let weight = u64::from(times[*item]) * size;
            units += weight;
            for run in labels.chunk_by(|a, b| a == b) {
                let count = run.len() as u64;
                totals[run[0] as usize] += weight * count;
                agreeing += weight * count * (count - 1);
            }
        }
        if units == 0 {
            return Err(Undefined::NoOverlap);
        }
        let per_item = self.ratings_per_item as f64;
        let observed = agreeing as f64 / (units as f64 * per_item * (per_item - 1.0));
        let n: u128 = totals.iter().map(|&total| u128::from(total)).sum();
        let same: u128 = totals
            .iter()
            .map(|&total| u128::from(total) * u128::from(total))
            .sum();
        if same == n * n {
            return Err(Undefined::OneLabel);
        }
        let apart = (n * n - same) as f64 / (n as f64 * n as f64);
        Ok(1.0 - (1.0 - observed) / apart)
    }
}
