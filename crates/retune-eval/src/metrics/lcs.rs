//! The longest common subsequence.

use std::collections::HashMap;

/// Numbers that stand for words, equal for equal words.
#[derive(Debug, Default)]
pub(super) struct Interner<'a> {
    ids: HashMap<&'a str, u32>,
}

impl<'a> Interner<'a> {
    /// The numbers of `words`, which fit in 32 bits as texts fit in memory.
    pub(super) fn ids(&mut self, words: &'a [String]) -> Vec<u32> {
        let id = |word: &'a String| {
            let next = self.ids.len() as u32;
            *self.ids.entry(word).or_insert(next)
        };
        words.iter().map(id).collect()
    }
}

/// The length of the longest common subsequence.
///
/// Takes time in proportion to the product of the lengths.
pub(super) fn lcs_length(reference: &[u32], candidate: &[u32]) -> usize {
    let mut row = vec![0; candidate.len() + 1];
    for &token in reference {
        next_row(&mut row, token, candidate);
    }
    row[candidate.len()] as usize
}

/// Marks the positions of `reference` that are in one of the longest common
/// subsequences: the one that rouge-score finds.
///
/// Takes time in proportion to the product of the lengths, and a bit of memory
/// for each pair.
pub(super) fn mark_lcs(reference: &[u32], candidate: &[u32], marks: &mut [bool]) {
    let columns = candidate.len();
    // Whether the candidate without its last token has the longer one, of the
    // two that leave out a token.
    let mut leave_candidate = Bits::new(reference.len() * columns);
    let mut row = vec![0; columns + 1];
    let mut above = row.clone();
    for (i, &token) in reference.iter().enumerate() {
        above.copy_from_slice(&row);
        next_row(&mut row, token, candidate);
        for j in 0..columns {
            if row[j] > above[j + 1] {
                leave_candidate.set(i * columns + j);
            }
        }
    }
    let (mut i, mut j) = (reference.len(), columns);
    while i > 0 && j > 0 {
        if reference[i - 1] == candidate[j - 1] {
            marks[i - 1] = true;
            i -= 1;
            j -= 1;
        } else if leave_candidate.get((i - 1) * columns + j - 1) {
            j -= 1;
        } else {
            i -= 1;
        }
    }
}

/// From the lengths for one token fewer of the reference to those with `token`.
fn next_row(row: &mut [u32], token: u32, candidate: &[u32]) {
    let mut diagonal = 0;
    for (j, &other) in candidate.iter().enumerate() {
        let above = row[j + 1];
        row[j + 1] = match token == other {
            true => diagonal + 1,
            false => above.max(row[j]),
        };
        diagonal = above;
    }
}

/// A bit for each pair of tokens, as a byte would be too much for long texts.
struct Bits(Vec<u64>);

impl Bits {
    fn new(bits: usize) -> Self {
        Self(vec![0; bits.div_ceil(64)])
    }

    fn set(&mut self, bit: usize) {
        self.0[bit / 64] |= 1 << (bit % 64);
    }

    fn get(&self, bit: usize) -> bool {
        self.0[bit / 64] >> (bit % 64) & 1 == 1
    }
}
