//! Which items to look at first, and whose word counts for more.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::agreement::Figure;
use crate::agreement::Undefined;
use crate::agreement::ratings::{Ratings, Unit};

/// How often an annotator gives the label that others give.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Carefulness {
    /// How many labels the annotator gave.
    pub ratings: usize,
    /// Of the other annotators' labels for the same items, the share that is
    /// equal; every item counts the same.
    pub agreement: Figure,
}

/// The carefulness of every annotator, in the order of
/// [`Ratings::annotators`]. Who shares no item with anyone has none.
pub fn carefulness(ratings: &Ratings) -> Vec<Carefulness> {
    let annotators = ratings.annotators().len();
    let mut given = vec![0; annotators];
    let mut agreeing = vec![0.0; annotators];
    let mut shared = vec![0u64; annotators];
    for unit in ratings.units() {
        let votes = votes(unit, |_| 1.0);
        let others = unit.ratings.len() as f64 - 1.0;
        for rating in &unit.ratings {
            let annotator = rating.annotator as usize;
            given[annotator] += 1;
            if others > 0.0 {
                let same = votes[&rating.label] - 1.0;
                agreeing[annotator] += unit.size as f64 * same / others;
                shared[annotator] += unit.size;
            }
        }
    }
    let agreement = |annotator: usize| match shared[annotator] {
        0 => Err(Undefined::NoOverlap),
        shared => Ok(agreeing[annotator] / shared as f64),
    };
    let all = (0..annotators).map(|annotator| Carefulness {
        ratings: given[annotator],
        agreement: agreement(annotator),
    });
    all.collect()
}

/// An item that annotators disagree on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Candidate {
    /// The item, as an index into [`Ratings::items`].
    #[serde(skip)]
    pub item: usize,
    /// The entropy of the labels, in bits: 0 if all agree, 1 if two labels were
    /// given equally often. For spans, the mean over the characters that
    /// anyone marked.
    pub entropy: f64,
    /// The share of the votes against the label that has most, when a vote
    /// counts as much as its annotator agrees with others. Of two items with
    /// the same entropy, it is higher for the one where careful annotators
    /// disagree.
    pub careful_against: f64,
}

/// The items on which annotators disagree, those to label again first at the
/// top: by entropy, then by the disagreement of careful annotators, then in
/// their order.
pub fn relabel_first(ratings: &Ratings) -> Vec<Candidate> {
    let careful = carefulness(ratings);
    let weight = |annotator: u32| careful[annotator as usize].agreement.unwrap_or(0.0);
    let items = ratings.items().len();
    let mut sizes = vec![0.0; items];
    let mut candidates: Vec<Candidate> = (0..items)
        .map(|item| Candidate {
            item,
            entropy: 0.0,
            careful_against: 0.0,
        })
        .collect();
    for unit in ratings.units().iter().filter(|unit| counts(ratings, unit)) {
        let candidate = &mut candidates[unit.item as usize];
        let size = unit.size as f64;
        sizes[unit.item as usize] += size;
        candidate.entropy += size * entropy(&votes(unit, |_| 1.0));
        candidate.careful_against += size * against(&votes(unit, weight));
    }
    for (candidate, size) in candidates.iter_mut().zip(sizes) {
        if size > 0.0 {
            candidate.entropy /= size;
            candidate.careful_against /= size;
        }
    }
    candidates.retain(|candidate| candidate.entropy > 0.0);
    candidates.sort_by(|a, b| {
        let by_entropy = b.entropy.total_cmp(&a.entropy);
        let by_care = b.careful_against.total_cmp(&a.careful_against);
        by_entropy.then(by_care).then(a.item.cmp(&b.item))
    });
    candidates
}

/// Characters that nobody marked say nothing about disagreement.
fn counts(ratings: &Ratings, unit: &Unit) -> bool {
    let marked = |label| Some(label) != ratings.outside();
    unit.ratings.iter().any(|rating| marked(rating.label))
}

/// The labels of a unit, and what the votes for each sum up to.
fn votes(unit: &Unit, weight: impl Fn(u32) -> f64) -> BTreeMap<u32, f64> {
    let mut votes = BTreeMap::new();
    for rating in &unit.ratings {
        *votes.entry(rating.label).or_default() += weight(rating.annotator);
    }
    votes
}

/// In bits. The shares are sorted, so that the same shares give the same
/// number, whichever labels they are of: items are compared by it.
fn entropy(votes: &BTreeMap<u32, f64>) -> f64 {
    let mut counts: Vec<f64> = votes.values().copied().collect();
    counts.sort_unstable_by(f64::total_cmp);
    let total: f64 = counts.iter().sum();
    let bits = counts
        .iter()
        .map(|count| count / total * (total / count).log2());
    bits.sum()
}

/// The share of the votes that the strongest label does not have.
fn against(votes: &BTreeMap<u32, f64>) -> f64 {
    let total: f64 = votes.values().sum();
    let most = votes.values().copied().fold(0.0, f64::max);
    if total > 0.0 { 1.0 - most / total } else { 0.0 }
}
