//! How much an answer repeats itself, over token ids or characters.

use std::collections::HashSet;
use std::hash::Hash;
use std::ops::Range;

use super::ngrams::ngram_total;
use super::suffixes::Suffixes;

pub use retune_generate::{Loop, LoopRule};

/// rep-n: the share of n-grams that occurred before, `1 - distinct / all`.
/// There is none of a text that is too short for one n-gram.
///
/// # Reference
/// Welleck et al. 2019, Neural Text Generation with Unlikelihood Training,
/// arXiv:1908.04319, where it is called seq-rep-n
pub fn rep_n<T: Eq + Hash>(symbols: &[T], n: usize) -> Option<f64> {
    if n == 0 || symbols.len() < n {
        return None;
    }
    let distinct: HashSet<&[T]> = symbols.windows(n).collect();
    Some(1.0 - distinct.len() as f64 / ngram_total(symbols.len(), n) as f64)
}

/// A span that occurs a second time, without overlap.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct RepeatedSpan {
    /// Where it stands first, in symbols.
    pub first: Range<usize>,
    /// Where it stands last, in symbols.
    pub last: Range<usize>,
}

impl RepeatedSpan {
    /// How many symbols it has.
    pub fn length(&self) -> usize {
        self.first.len()
    }
}

/// The longest span that occurs at least twice without overlap: `ababab` repeats
/// `ab`, and not `abab`. Of spans of the same length it is the one that stands
/// first; there is none if no symbol occurs twice.
///
/// Takes `O(n log² n)`.
pub fn longest_repeated_span<T: Ord>(symbols: &[T]) -> Option<RepeatedSpan> {
    let suffixes = Suffixes::of(symbols);
    // A span that occurs twice holds shorter ones that do, so the longest is
    // found by halving.
    let (mut found, mut low, mut high) = (None, 1, symbols.len() / 2);
    while low <= high {
        let length = low.midpoint(high);
        match occurs_twice(&suffixes, length) {
            Some(span) => {
                found = Some(span);
                low = length + 1;
            }
            None => high = length - 1,
        }
    }
    found
}

/// The first span of `length` that occurs twice without overlap. Suffixes that
/// begin with the same span stand together; the first and the last of them in
/// the text are the furthest apart.
fn occurs_twice(suffixes: &Suffixes, length: usize) -> Option<RepeatedSpan> {
    let mut starts = &suffixes.starts[..];
    let together = suffixes.shared.chunk_by(|_, &shared| shared >= length);
    let ends = together.filter_map(|group| {
        let group = starts.split_off(..group.len())?;
        let (first, last) = (*group.iter().min()?, *group.iter().max()?);
        (last - first >= length).then_some((first, last))
    });
    let (first, last) = ends.min()?;
    Some(RepeatedSpan {
        first: first..first + length,
        last: last..last + length,
    })
}
