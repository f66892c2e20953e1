//! Phrases that many texts have, counted in bounded memory.

use std::collections::{HashMap, HashSet};
use std::hash::BuildHasherDefault;
use std::ops::{Range, RangeInclusive};

use xxhash_rust::xxh3::xxh3_64;

use super::{AsItIs, chained, unit_ranges};

/// What an entry takes besides its text: the key, the counts, the pointer to
/// the text, and the room that a hash table keeps free.
const ENTRY_BYTES: usize = 96;

/// A phrase of more bytes is not counted; a "word" of a kilobyte is no phrase.
const PHRASE_BYTES: usize = 1024;

type Table<T> = HashMap<u64, T, BuildHasherDefault<AsItIs>>;

/// A phrase and the number of texts that have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Phrase {
    /// The phrase as the text had it in which it was first seen.
    pub text: String,
    /// Its length in [`units`](super::units).
    pub units: usize,
    /// It occurs in this many texts at least,
    pub texts: u32,
    /// and in this many at most.
    pub at_most: u32,
}

/// Counts in how many texts of a stream each phrase of some length occurs, by
/// lossy counting.
///
/// Entries are dropped when memory is short: those with the lowest counts, and
/// an entry that comes later starts with what a dropped one may have had as its
/// error. So with `e = max_error()` a phrase in more than `e` texts is never
/// missed, and no count is off by more than `e`; as long as memory suffices,
/// `e` is 0.
///
/// # Reference
/// Manku & Motwani 2002, "Approximate frequency counts over data streams";
/// here the memory is given and the error follows, not the other way round.
#[derive(Debug)]
pub struct PhraseCounter {
    lengths: RangeInclusive<usize>,
    max_bytes: usize,
    bytes: usize,
    texts: u32,
    max_error: u32,
    entries: Table<Entry>,
}

#[derive(Debug, Clone)]
struct Entry {
    phrase: Box<str>,
    units: u32,
    count: u32,
    /// What the count may be too low by.
    error: u32,
    /// The text that was counted last, from 1.
    last: u32,
}

impl PhraseCounter {
    /// A counter of phrases of `lengths` units, which takes about `max_bytes`
    /// of memory at most (and at least a few kilobytes). Time and
    /// memory grow with the number of lengths.
    #[must_use]
    pub fn new(lengths: RangeInclusive<usize>, max_bytes: usize) -> Self {
        Self {
            lengths: (*lengths.start()).max(1)..=*lengths.end(),
            max_bytes: max_bytes.max(4 * (ENTRY_BYTES + PHRASE_BYTES)),
            bytes: 0,
            texts: 0,
            max_error: 0,
            entries: Table::default(),
        }
    }

    /// Adds the next text.
    pub fn add(&mut self, text: &str) {
        self.texts += 1;
        let ranges: Vec<Range<usize>> = unit_ranges(text).collect();
        let hash = |range: &Range<usize>| xxh3_64(&text.as_bytes()[range.clone()]);
        let hashes: Vec<u64> = ranges.iter().map(hash).collect();
        for first in 0..ranges.len() {
            let longest = (*self.lengths.end()).min(ranges.len() - first);
            let mut key = 0;
            for units in 1..=longest {
                let last = first + units - 1;
                key = chained(key, hashes[last]);
                let phrase = ranges[first].start..ranges[last].end;
                if phrase.len() > PHRASE_BYTES {
                    break;
                }
                if units >= *self.lengths.start() {
                    self.count(key, &text[phrase], units as u32);
                }
            }
        }
    }

    fn count(&mut self, key: u64, phrase: &str, units: u32) {
        let texts = self.texts;
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.count += u32::from(entry.last != texts);
            entry.last = texts;
            return;
        }
        if self.bytes + ENTRY_BYTES + phrase.len() > self.max_bytes {
            self.drop_lowest();
        }
        self.bytes += ENTRY_BYTES + phrase.len();
        let entry = Entry {
            phrase: phrase.into(),
            units,
            count: 1,
            // A text that dropped the entry may have counted in it already.
            error: self.max_error,
            last: texts,
        };
        self.entries.insert(key, entry);
    }

    /// Drops a quarter of the entries at least, those with the lowest upper
    /// bounds; the highest bound among the dropped becomes the error.
    fn drop_lowest(&mut self) {
        let bound = |entry: &Entry| entry.count + entry.error;
        let mut bounds: Vec<u32> = self.entries.values().map(bound).collect();
        let quarter = bounds.len() / 4;
        if bounds.is_empty() {
            return;
        }
        let (_, lowest, _) = bounds.select_nth_unstable(quarter);
        self.max_error = self.max_error.max(*lowest);
        let floor = self.max_error;
        self.entries.retain(|_, entry| bound(entry) > floor);
        let bytes = |entry: &Entry| ENTRY_BYTES + entry.phrase.len();
        self.bytes = self.entries.values().map(bytes).sum();
    }

    /// Texts that were added.
    #[must_use]
    pub fn texts(&self) -> u32 {
        self.texts
    }

    /// What every count may be too low by; 0 as long as nothing was dropped.
    #[must_use]
    pub fn max_error(&self) -> u32 {
        self.max_error
    }

    /// The phrases that occur in `min_texts` texts or more, so far as the
    /// counter is sure, the most frequent ones first, then the longest, then
    /// in the order of their texts.
    ///
    /// A phrase that a longer one contains and that is in no more texts than
    /// the longer one is left out. Phrases of the greatest length that
    /// overlap in all but one unit and are in equally many texts are joined: in
    /// all likelihood they are one longer phrase.
    #[must_use]
    pub fn phrases(&self, min_texts: u32) -> Vec<Phrase> {
        let sure = |entry: &&Entry| entry.count >= min_texts.max(1);
        let frequent: Vec<Parts<'_>> = self.entries.values().filter(sure).map(Parts::of).collect();
        let mut covered: Table<u32> = Table::default();
        for parts in &frequent {
            for key in [parts.head, parts.tail] {
                let most = covered.entry(key).or_insert(0);
                *most = (*most).max(parts.entry.count);
            }
        }
        let (longest, shorter): (Vec<_>, Vec<_>) = frequent
            .into_iter()
            .partition(|parts| parts.entry.units as usize == *self.lengths.end());
        let maximal = shorter.into_iter().filter(|parts| {
            let longer = covered.get(&parts.whole);
            longer.is_none_or(|count| *count < parts.entry.count)
        });
        let mut phrases: Vec<Phrase> = maximal.map(|parts| parts.phrase()).collect();
        phrases.extend(joined(&longest));
        phrases.sort_by(|a, b| {
            let order = b.texts.cmp(&a.texts).then(b.units.cmp(&a.units));
            order.then_with(|| a.text.cmp(&b.text))
        });
        phrases
    }
}

/// A phrase with the keys of itself and of its parts without the last and the
/// first unit.
struct Parts<'a> {
    entry: &'a Entry,
    whole: u64,
    head: u64,
    tail: u64,
    /// Where the last unit begins, with what stands before it.
    last: usize,
}

impl<'a> Parts<'a> {
    fn of(entry: &'a Entry) -> Self {
        let phrase = &entry.phrase;
        let ranges: Vec<Range<usize>> = unit_ranges(phrase).collect();
        let key = |ranges: &[Range<usize>]| {
            let hashes = ranges
                .iter()
                .map(|r| xxh3_64(&phrase.as_bytes()[r.clone()]));
            hashes.fold(0, chained)
        };
        let before = ranges.len().saturating_sub(1);
        Self {
            entry,
            whole: key(&ranges),
            head: key(&ranges[..before]),
            tail: key(ranges.get(1..).unwrap_or(&[])),
            last: ranges[..before].last().map_or(0, |range| range.end),
        }
    }

    fn phrase(&self) -> Phrase {
        Phrase {
            text: self.entry.phrase.to_string(),
            units: self.entry.units as usize,
            texts: self.entry.count,
            at_most: self.entry.count + self.entry.error,
        }
    }
}

/// Joins phrases where one goes on with another, each the only one to do so.
fn joined(longest: &[Parts<'_>]) -> Vec<Phrase> {
    // Who begins, and who ends, with some units in how many texts; no one if
    // it is more than one.
    let mut by_head: HashMap<(u64, u32), Option<usize>> = HashMap::new();
    let mut by_tail: HashMap<(u64, u32), Option<usize>> = HashMap::new();
    for (place, parts) in longest.iter().enumerate() {
        let count = parts.entry.count;
        for (map, key) in [(&mut by_head, parts.head), (&mut by_tail, parts.tail)] {
            map.entry((key, count))
                .and_modify(|only| *only = None)
                .or_insert(Some(place));
        }
    }
    let next = |place: usize| {
        let parts = &longest[place];
        let key = (parts.tail, parts.entry.count);
        let next = by_head.get(&key).copied().flatten()?;
        (by_tail.get(&key).copied().flatten() == Some(place)).then_some(next)
    };
    let followed: HashSet<usize> = (0..longest.len()).filter_map(next).collect();
    let mut seen = vec![false; longest.len()];
    let mut phrases = Vec::new();
    // Chains from their beginnings, then the circles that are left.
    let beginnings = (0..longest.len()).filter(|place| !followed.contains(place));
    for start in beginnings.chain(0..longest.len()) {
        if seen[start] {
            continue;
        }
        seen[start] = true;
        let mut phrase = longest[start].phrase();
        let mut place = start;
        while let Some(following) = next(place).filter(|following| !seen[*following]) {
            let parts = &longest[following];
            phrase.text.push_str(&parts.entry.phrase[parts.last..]);
            phrase.units += 1;
            phrase.at_most = phrase.at_most.min(parts.entry.count + parts.entry.error);
            seen[following] = true;
            place = following;
        }
        phrases.push(phrase);
    }
    phrases
}
