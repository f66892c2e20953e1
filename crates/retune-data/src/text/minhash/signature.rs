//! MinHash signatures.

use std::collections::HashSet;
use std::sync::LazyLock;

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed, xxh3_128};

use crate::text::normal::letters;

/// Characters of a shingle.
pub const SHINGLE: usize = 5;

/// Hash functions of a signature. The estimate's standard error at similarity
/// `J` is `sqrt(J (1 - J) / 128)`, at most 0.044.
pub const PERMUTATIONS: usize = 128;

/// What is kept of a text to compare it with others: 512 bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature(pub(super) Kind);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// Neither letters nor digits: like nothing, not even its own copy.
    Empty,
    /// Fewer characters than a shingle: equal or not.
    Short(u128),
    Minima(Box<[u32; PERMUTATIONS]>),
}

impl Signature {
    /// The signature of `text`. It depends on nothing else, so that callers
    /// can take signatures in parallel.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let text = letters(text);
        let hashes: Vec<u64> = shingles(&text).map(|s| xxh3_64(s.as_bytes())).collect();
        if !hashes.is_empty() {
            return Self(Kind::Minima(minima(&hashes)));
        }
        Self(if text.is_empty() {
            Kind::Empty
        } else {
            Kind::Short(xxh3_128(text.as_bytes()))
        })
    }

    /// The estimated Jaccard similarity: the share of hash functions whose
    /// minima are equal. Texts shorter than a shingle have 1 or 0.
    #[must_use]
    pub fn similarity(&self, other: &Self) -> f64 {
        match (&self.0, &other.0) {
            (Kind::Minima(a), Kind::Minima(b)) => share(&low_bits(a), &low_bits(b)),
            (Kind::Short(a), Kind::Short(b)) if a == b => 1.0,
            _ => 0.0,
        }
    }
}

/// The exact Jaccard similarity of the shingles of two texts. Two texts that
/// are both shorter than a shingle have 1 if they are equal, else 0.
#[must_use]
pub fn jaccard(a: &str, b: &str) -> f64 {
    let (a, b) = (letters(a), letters(b));
    let (left, right): (HashSet<&str>, HashSet<&str>) =
        (shingles(&a).collect(), shingles(&b).collect());
    if left.is_empty() && right.is_empty() {
        return f64::from(u8::from(a == b && !a.is_empty()));
    }
    let both = left.intersection(&right).count();
    both as f64 / (left.len() + right.len() - both) as f64
}

/// The shingles of a text of letters, in order, with repeats.
fn shingles(letters: &str) -> impl Iterator<Item = &str> {
    let starts = letters.char_indices().map(|(at, _)| at);
    let ends = letters
        .char_indices()
        .map(|(at, c)| at + c.len_utf8())
        .skip(SHINGLE - 1);
    starts.zip(ends).map(|(start, end)| &letters[start..end])
}

/// The multipliers of the hash functions, one for each half of a shingle's
/// hash.
static MULTIPLIERS: LazyLock<[[u32; PERMUTATIONS]; 2]> = LazyLock::new(|| {
    let number = |half: usize, i: usize| xxh3_64_with_seed(&[half as u8], i as u64) as u32 | 1;
    [0, 1].map(|half| std::array::from_fn(|i| number(half, i)))
});

/// The least value of each hash function over the shingles. A function is the
/// sum of both halves of the hash, each times an odd number, modulo 2³²
/// (multilinear hashing, Dietzfelbinger 1996): four or more at a time in a
/// vector register.
fn minima(hashes: &[u64]) -> Box<[u32; PERMUTATIONS]> {
    let [low_by, high_by] = &*MULTIPLIERS;
    let mut minima = Box::new([u32::MAX; PERMUTATIONS]);
    for &hash in hashes {
        let (low, high) = (hash as u32, (hash >> 32) as u32);
        for ((least, a), b) in minima.iter_mut().zip(low_by).zip(high_by) {
            let value = a.wrapping_mul(low).wrapping_add(b.wrapping_mul(high));
            *least = (*least).min(value);
        }
    }
    minima
}

/// Sixteen bits of a minimum are enough to compare it: others agree by chance
/// once in 65,536.
pub(super) fn low_bits(minima: &[u32; PERMUTATIONS]) -> [u16; PERMUTATIONS] {
    minima.map(|minimum| minimum as u16)
}

pub(super) fn share(a: &[u16; PERMUTATIONS], b: &[u16; PERMUTATIONS]) -> f64 {
    let equal: u16 = a.iter().zip(b).map(|(a, b)| u16::from(a == b)).sum();
    f64::from(equal) / PERMUTATIONS as f64
}
