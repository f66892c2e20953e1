//! A suffix array: all suffixes of a sequence in order, and how much of each is
//! the same as of the one before.

use std::collections::BTreeSet;

/// The suffixes of a sequence.
pub(super) struct Suffixes {
    /// Where each begins, in the order of the suffixes.
    pub(super) starts: Vec<usize>,
    /// How many symbols each shares with the one before it; 0 for the first.
    pub(super) shared: Vec<usize>,
}

impl Suffixes {
    /// Sorts the suffixes in `O(n log² n)`, by doubling what is compared.
    ///
    /// # Reference
    /// Manber & Myers 1993, Suffix Arrays; Kasai et al. 2001 for what is shared
    pub(super) fn of<T: Ord>(symbols: &[T]) -> Self {
        let mut ranks = dense_ranks(symbols);
        let mut starts: Vec<usize> = (0..symbols.len()).collect();
        let mut width = 1;
        loop {
            // Two suffixes that are known by `width` symbols are known by twice
            // as many through the ranks of what follows. None follows the end.
            let key =
                |&start: &usize| (ranks[start], ranks.get(start + width).map_or(0, |r| r + 1));
            starts.sort_unstable_by_key(key);
            let mut next = vec![0; symbols.len()];
            for pair in starts.windows(2) {
                let apart = key(&pair[0]) != key(&pair[1]);
                next[pair[1]] = next[pair[0]] + usize::from(apart);
            }
            ranks = next;
            let distinct = starts
                .last()
                .is_none_or(|&last| ranks[last] + 1 == symbols.len());
            if distinct {
                break;
            }
            width *= 2;
        }
        let shared = shared_with_previous(symbols, &starts, &ranks);
        Self { starts, shared }
    }
}

/// Numbers from 0 that are in the order of the symbols.
fn dense_ranks<T: Ord>(symbols: &[T]) -> Vec<usize> {
    let distinct: BTreeSet<&T> = symbols.iter().collect();
    let distinct: Vec<&T> = distinct.into_iter().collect();
    symbols
        .iter()
        .map(|symbol| distinct.partition_point(|other| *other < symbol))
        .collect()
}

/// In the order of the sequence, what is shared falls by 1 at most from one
/// suffix to the next, so all of it takes linear time.
fn shared_with_previous<T: Eq>(symbols: &[T], starts: &[usize], ranks: &[usize]) -> Vec<usize> {
    let mut shared = vec![0; symbols.len()];
    let mut length: usize = 0;
    for (start, &rank) in ranks.iter().enumerate() {
        if rank == 0 {
            length = 0;
            continue;
        }
        let rest = symbols[start + length..].iter();
        let previous = &symbols[starts[rank - 1] + length..];
        length += rest
            .zip(previous)
            .take_while(|(one, other)| one == other)
            .count();
        shared[rank] = length;
        length = length.saturating_sub(1);
    }
    shared
}
