//! Repetition, within a text and between texts.

mod phrases;

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Range;

use unicode_normalization::char::is_combining_mark;
use xxhash_rust::xxh3::xxh3_64;

pub use phrases::{Phrase, PhraseCounter};

/// What a text is counted in.
///
/// Each character of a script that is written without spaces (Han, kana, Thai,
/// Lao, Burmese, Khmer) is a unit. In other scripts a word is one: letters,
/// digits and combining marks, and apostrophes between letters. Whitespace,
/// punctuation and symbols are none.
#[must_use]
pub fn units(text: &str) -> Vec<&str> {
    unit_ranges(text).map(|range| &text[range]).collect()
}

fn unit_ranges(text: &str) -> impl Iterator<Item = Range<usize>> {
    let mut chars = text.char_indices().peekable();
    std::iter::from_fn(move || {
        let (start, first) = chars.find(|(_, c)| c.is_alphanumeric())?;
        let mut end = start + first.len_utf8();
        let alone = stands_alone(first);
        while let Some(&(at, c)) = chars.peek() {
            let goes_on = if alone {
                is_mark(c)
            } else if matches!(c, '\'' | '’') {
                let behind = text[at + c.len_utf8()..].chars().next();
                behind.is_some_and(|c| c.is_alphabetic() && !stands_alone(c))
            } else {
                is_mark(c) || (c.is_alphanumeric() && !stands_alone(c))
            };
            if !goes_on {
                break;
            }
            end = at + c.len_utf8();
            chars.next();
        }
        Some(start..end)
    })
}

/// Whether `c` is of a script that is written without spaces.
fn stands_alone(c: char) -> bool {
    matches!(c,
        '\u{3005}'..='\u{3007}' | '\u{3040}'..='\u{30ff}' | '\u{31f0}'..='\u{31ff}'
        | '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{ff66}'..='\u{ff9d}'
        | '\u{20000}'..='\u{323af}'
        | '\u{e00}'..='\u{eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}')
}

fn is_mark(c: char) -> bool {
    !c.is_ascii() && is_combining_mark(c)
}

/// How many of the n-grams of `units` are distinct, as a share of all; none if
/// there are fewer units than `n`, or `n` is 0.
///
/// # Reference
/// Li et al. 2016, arXiv:1510.03055, for n = 1 and 2
#[must_use]
pub fn distinct_n(units: &[&str], n: usize) -> Option<f64> {
    if n == 0 || units.len() < n {
        return None;
    }
    // The hash of a window stands for it.
    let distinct: HashSet<u64, BuildHasherDefault<AsItIs>> =
        units.windows(n).map(window_hash).collect();
    Some(distinct.len() as f64 / (units.len() + 1 - n) as f64)
}

/// The share of n-grams that occurred before in the text: `1 - distinct_n`.
///
/// # Reference
/// seq-rep-n in Welleck et al. 2020, arXiv:1908.04319
#[must_use]
pub fn rep_n(units: &[&str], n: usize) -> Option<f64> {
    distinct_n(units, n).map(|distinct| 1.0 - distinct)
}

/// A span of units that occurs again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repeat {
    /// The first occurrence, in units.
    pub first: Range<usize>,
    /// A later one, which does not overlap the first.
    pub again: Range<usize>,
}

/// The longest span of `units` that occurs at least twice without overlap, the
/// earliest one if there are several; none if no unit occurs twice.
///
/// Takes time `O(n log n)`: if a span of some length repeats, a shorter one
/// does, so that the length is found by bisection.
#[must_use]
pub fn longest_repeat(units: &[&str]) -> Option<Repeat> {
    let hashes: Vec<u64> = units.iter().map(|unit| xxh3_64(unit.as_bytes())).collect();
    let mut best = repeat_of(units, &hashes, 1)?;
    // A repeat of `shortest` is known, and none of `longest`.
    let (mut shortest, mut longest) = (1, units.len() / 2 + 1);
    while longest - shortest > 1 {
        let middle = usize::midpoint(shortest, longest);
        match repeat_of(units, &hashes, middle) {
            Some(repeat) => (best, shortest) = (repeat, middle),
            None => longest = middle,
        }
    }
    Some(best)
}

/// A span of `len` units that occurs again without overlap. Spans are
/// looked up by a rolling polynomial of their units' hashes, and compared where
/// it is equal.
fn repeat_of(units: &[&str], hashes: &[u64], len: usize) -> Option<Repeat> {
    const BASE: u64 = 0x9e37_79b9_7f4a_7c15;
    let out = (0..len).fold(1u64, |power, _| power.wrapping_mul(BASE));
    let mut seen: HashMap<u64, usize, BuildHasherDefault<AsItIs>> = HashMap::default();
    let mut rolling = 0u64;
    for (at, hash) in hashes.iter().enumerate() {
        rolling = rolling.wrapping_mul(BASE).wrapping_add(*hash);
        if at >= len {
            rolling = rolling.wrapping_sub(hashes[at - len].wrapping_mul(out));
        }
        let Some(start) = (at + 1).checked_sub(len) else {
            continue;
        };
        let first = *seen.entry(mixed(rolling)).or_insert(start);
        if start >= first + len && units[first..first + len] == units[start..start + len] {
            return Some(Repeat {
                first: first..first + len,
                again: start..start + len,
            });
        }
    }
    None
}

fn window_hash(window: &[&str]) -> u64 {
    window
        .iter()
        .fold(0, |hash, unit| chained(hash, xxh3_64(unit.as_bytes())))
}

/// The hash of an n-gram with one unit more.
fn chained(hash: u64, unit: u64) -> u64 {
    mixed(hash.rotate_left(5) ^ unit)
}

/// A bijection that spreads every bit over all (MurmurHash3's finalizer,
/// Appleby).
fn mixed(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

/// Takes hashes for what they are, instead of hashing them again.
#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64(bytes);
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}
