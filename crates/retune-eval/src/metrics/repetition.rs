//! How much an answer repeats itself, over token ids or characters.

use std::collections::HashSet;
use std::hash::Hash;
use std::ops::Range;

use super::ngrams::ngram_total;
use super::suffixes::Suffixes;

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

/// When an answer that ends in repetition is taken to loop.
///
/// The defaults let 「哈哈哈」, `...` and a refrain that is sung twice pass: a loop
/// must repeat its unit three times, and fill twenty symbols. The unit may be as
/// long as that allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct LoopRule {
    /// How many whole times the unit occurs at least, one behind another; less
    /// than 2 is taken for 2.
    pub min_count: usize,
    /// How many symbols at the end the repetition fills at least.
    pub min_span: usize,
}

impl Default for LoopRule {
    fn default() -> Self {
        Self {
            min_count: 3,
            min_span: 20,
        }
    }
}

/// What an answer ends in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Loop {
    /// How many symbols the repeated unit has.
    pub unit: usize,
    /// How many whole times it occurs.
    pub count: usize,
    /// How many symbols at the end the repetition fills, with a unit that was
    /// cut off.
    pub span: usize,
}

impl LoopRule {
    /// The loop that `symbols` end in, if they do; of several units the shortest.
    ///
    /// The end is what counts, as a model that loops does not stop: it is cut
    /// off, maybe within a unit. Whitespace or an end token behind the loop is
    /// for the caller to take off. A rule of dashes or a run of the same digit
    /// that ends an answer is a loop, too.
    ///
    /// Takes linear time.
    pub fn find<T: Eq>(&self, symbols: &[T]) -> Option<Loop> {
        let agreement = agreement_from_the_end(symbols);
        (1..=symbols.len() / 2).find_map(|unit| {
            let span = unit + agreement[unit];
            let count = span / unit;
            let loops = count >= self.min_count.max(2) && span >= self.min_span;
            loops.then_some(Loop { unit, count, span })
        })
    }
}

/// For each distance, how many symbols from the end backwards are the same as
/// those that far before them.
///
/// # Reference
/// Gusfield 1997, Algorithms on Strings, Trees and Sequences, 1.4: the Z values
/// of the reversed sequence
fn agreement_from_the_end<T: Eq>(symbols: &[T]) -> Vec<usize> {
    let length = symbols.len();
    let from_end = |index: usize| &symbols[length - 1 - index];
    let mut agreement = vec![0; length];
    let (mut left, mut right) = (0, 0);
    for distance in 1..length {
        let mut same: usize = match distance < right {
            true => agreement[distance - left].min(right - distance),
            false => 0,
        };
        while distance + same < length && from_end(same) == from_end(distance + same) {
            same += 1;
        }
        if distance + same > right {
            (left, right) = (distance, distance + same);
        }
        agreement[distance] = same;
    }
    agreement
}
