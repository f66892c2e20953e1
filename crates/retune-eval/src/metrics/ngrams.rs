//! Counted n-grams.

use std::collections::HashMap;
use std::hash::Hash;

/// How often each run of `order` tokens occurs.
pub(super) fn ngram_counts<T: Eq + Hash>(tokens: &[T], order: usize) -> HashMap<&[T], u64> {
    let mut counts = HashMap::new();
    if order > 0 {
        for ngram in tokens.windows(order) {
            *counts.entry(ngram).or_insert(0) += 1;
        }
    }
    counts
}

/// How many runs of `order` tokens there are.
pub(super) fn ngram_total(tokens: usize, order: usize) -> u64 {
    (tokens + 1).saturating_sub(order) as u64
}

/// How many n-grams both have, each as often as the one that has fewer of it.
pub(super) fn overlap<K: Eq + Hash>(one: &HashMap<K, u64>, other: &HashMap<K, u64>) -> u64 {
    let shared = one
        .iter()
        .filter_map(|(ngram, &count)| other.get(ngram).map(|&most| count.min(most)));
    shared.sum()
}
