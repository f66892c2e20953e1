//! What most rows share: lengths, openings, phrases, language, classes.

use std::collections::{BTreeMap, BinaryHeap, HashMap};

use xxhash_rust::xxh3::xxh3_64;

use super::LintOptions;
use super::collect::Tally;
use super::facts::Facts;
use super::groups::example;
use super::report::{Example, PhraseReport, RowRef};
use crate::error::counted;
use crate::text::ngrams::PhraseCounter;

/// Memory for phrases.
const PHRASE_MEMORY: usize = 96 << 20;
/// Phrases of so many units are counted; fewer are words.
const PHRASE_UNITS: std::ops::RangeInclusive<usize> = 5..=12;
/// Answers in which phrases are counted, and characters of each. A share of 2 %
/// is met to a tenth of a per cent by so many.
const PHRASE_ANSWERS: usize = 50_000;
const PHRASE_CHARS: usize = 1000;
/// A phrase in this share of answers is much.
const PHRASE_SHARE: f64 = 0.02;
const PHRASES_SHOWN: usize = 10;
/// An opening of this share of answers is much.
const OPENING_SHARE: f64 = 0.05;
/// Fewer answers tell nothing of shares.
const ENOUGH: u64 = 50;
/// Openings that are counted at most; most texts have few common ones.
const MAX_OPENINGS: usize = 1 << 20;
/// An answer this many times as long as the median is far longer.
const LONG: usize = 10;
/// Of two classes, one this many times as frequent is far more frequent.
const IMBALANCE: u64 = 10;
/// From this share on, a language is that of the data.
const MAIN_LANGUAGE: f64 = 0.9;
/// Rows of other languages that are kept for the report.
const OTHERS_KEPT: usize = 1 << 20;

pub(super) struct Skew {
    answers: u64,
    /// How many answers have a length in characters, the longest with its row.
    lengths: BTreeMap<usize, u64>,
    longest: Option<(usize, RowRef)>,
    openings: HashMap<String, (u64, RowRef)>,
    /// A uniform sample of the answers: those with the least hashes of their
    /// number.
    sample: BinaryHeap<(u64, Box<str>)>,
    asked: Vec<(String, u64)>,
    languages: BTreeMap<&'static str, (u64, Vec<RowRef>)>,
    expected: Option<String>,
    labels: BTreeMap<String, u64>,
    counts_phrases: bool,
}

impl Skew {
    pub(super) fn new(options: &LintOptions<'_>) -> Self {
        Self {
            answers: 0,
            lengths: BTreeMap::new(),
            longest: None,
            openings: HashMap::new(),
            sample: BinaryHeap::new(),
            asked: options
                .phrases
                .iter()
                .map(|phrase| (phrase.clone(), 0))
                .collect(),
            languages: BTreeMap::new(),
            expected: options.language.clone(),
            labels: BTreeMap::new(),
            counts_phrases: options.wants("repeated-phrase"),
        }
    }

    pub(super) fn add(&mut self, facts: &Facts, row: RowRef) {
        if let Some(label) = &facts.label {
            *self.labels.entry(label.clone()).or_default() += 1;
            return;
        }
        self.answers += 1;
        *self.lengths.entry(facts.answer_chars).or_default() += 1;
        if self
            .longest
            .is_none_or(|(length, _)| facts.answer_chars > length)
        {
            self.longest = Some((facts.answer_chars, row));
        }
        if let Some((count, _)) = self.openings.get_mut(&facts.opening) {
            *count += 1;
        } else if self.openings.len() < MAX_OPENINGS {
            self.openings.insert(facts.opening.clone(), (1, row));
        }
        let text = &facts.answer_text;
        self.take_sample(text);
        for (phrase, count) in &mut self.asked {
            *count += u64::from(text.contains(phrase.as_str()));
        }
        if let Some(language) = facts.language {
            let (count, rows) = self.languages.entry(base(language)).or_default();
            *count += 1;
            if rows.len() < OTHERS_KEPT {
                rows.push(row);
            }
        }
    }

    fn take_sample(&mut self, text: &str) {
        let hash = xxh3_64(&self.answers.to_le_bytes());
        let full = self.sample.len() == PHRASE_ANSWERS;
        if full && self.sample.peek().is_some_and(|(most, _)| hash >= *most) {
            return;
        }
        if full {
            self.sample.pop();
        }
        let end = text
            .char_indices()
            .nth(PHRASE_CHARS)
            .map_or(text.len(), |(at, _)| at);
        self.sample.push((hash, text[..end].into()));
    }

    /// Adds findings, and gives the phrases.
    pub(super) fn finish(self, tallies: &mut BTreeMap<&'static str, Tally>) -> Vec<PhraseReport> {
        if let Some(tally) = self.length() {
            tallies.insert("length-skew", tally);
        }
        if let Some(tally) = self.opening() {
            tallies.insert("opening-skew", tally);
        }
        if let Some(tally) = self.language() {
            tallies.insert("wrong-language", tally);
        }
        if let Some(tally) = self.classes() {
            tallies.insert("class-imbalance", tally);
        }
        let phrases = self.common_phrases();
        if let Some(tally) = self.phrase_tally(&phrases) {
            tallies.insert("repeated-phrase", tally);
        }
        phrases
    }

    fn share(&self, count: u64) -> f64 {
        count as f64 / self.answers.max(1) as f64
    }

    /// The length of which half of the answers are no longer.
    fn median(&self) -> usize {
        let mut below = 0;
        let middle = self.lengths.iter().find(|(_, count)| {
            below += **count;
            2 * below >= self.answers
        });
        middle.map_or(0, |(length, _)| *length)
    }

    fn length(&self) -> Option<Tally> {
        let (longest, row) = self.longest?;
        let median = self.median();
        let limit = LONG * median.max(1);
        if self.answers < ENOUGH || longest <= limit {
            return None;
        }
        let many: u64 = self
            .lengths
            .range(limit + 1..)
            .map(|(_, count)| count)
            .sum();
        Some(Tally {
            count: many,
            message: format!(
                "{} more than {LONG} times as long as the median of {median} characters; the longest has {longest}",
                counted(many as usize, "answer is", "answers are")
            ),
            examples: vec![example(row, 1)],
            ..Tally::default()
        })
    }

    fn opening(&self) -> Option<Tally> {
        let mut common: Vec<(&String, &(u64, RowRef))> = self
            .openings
            .iter()
            .filter(|(opening, (count, _))| {
                !opening.is_empty() && self.share(*count) >= OPENING_SHARE
            })
            .collect();
        common.sort_by_key(|(opening, (count, _))| (std::cmp::Reverse(*count), *opening));
        let (first, (most, _)) = common.first().filter(|_| self.answers >= ENOUGH)?;
        Some(Tally {
            count: common.iter().map(|(_, (count, _))| count).sum(),
            message: format!(
                "{:.1} % of answers begin with “{first}”",
                100.0 * self.share(*most)
            ),
            examples: common
                .iter()
                .map(|(_, (_, row))| example(*row, 1))
                .collect(),
            ..Tally::default()
        })
    }

    fn language(&self) -> Option<Tally> {
        let all: u64 = self.languages.values().map(|(count, _)| count).sum();
        let main = match &self.expected {
            Some(expected) => base(expected),
            None => {
                let most = self.languages.iter().max_by_key(|(_, (count, _))| *count);
                let (code, (count, _)) = most?;
                if (*count as f64) < MAIN_LANGUAGE * all as f64 || all < ENOUGH {
                    return None;
                }
                code
            }
        };
        let others = self.languages.iter().filter(|(code, _)| **code != main);
        let mut tally = Tally::default();
        let mut names = Vec::new();
        for (code, (count, rows)) in others {
            tally.count += count;
            names.push(format!("{code} {count}"));
            tally.rows.extend(rows);
        }
        tally.examples = tally
            .rows
            .iter()
            .map(|row| example(*row, 1))
            .take(16)
            .collect();
        tally.message = format!(
            "{} not in {main}, the language of {}: {}",
            counted(tally.count as usize, "answer is", "answers are"),
            if self.expected.is_some() {
                "your choice"
            } else {
                "most"
            },
            names.join(", ")
        );
        (tally.count > 0).then_some(tally)
    }

    fn classes(&self) -> Option<Tally> {
        let most = self.labels.iter().max_by_key(|(_, count)| **count)?;
        let least = self.labels.iter().min_by_key(|(_, count)| **count)?;
        if *most.1 < IMBALANCE * least.1 {
            return None;
        }
        Some(Tally {
            count: self.labels.len() as u64,
            message: format!(
                "class {} has {}, class {} has {}",
                most.0,
                counted(*most.1 as usize, "row", "rows"),
                least.0,
                least.1
            ),
            ..Tally::default()
        })
    }

    /// The phrases that were asked for, and those that most answers share. Of
    /// more answers than are in the sample, the numbers are scaled.
    fn common_phrases(&self) -> Vec<PhraseReport> {
        let report = |phrase: String, share: f64, answers: u64, asked| PhraseReport {
            phrase,
            answers,
            share,
            asked,
        };
        let asked = self.asked.iter();
        let mut phrases: Vec<PhraseReport> = asked
            .map(|(phrase, count)| report(phrase.clone(), self.share(*count), *count, true))
            .collect();
        if self.answers < ENOUGH || !self.counts_phrases {
            return phrases;
        }
        let mut counter = PhraseCounter::new(PHRASE_UNITS, PHRASE_MEMORY);
        for (_, text) in &self.sample {
            counter.add(text);
        }
        let sampled = self.sample.len() as f64;
        let least = ((sampled * PHRASE_SHARE / 4.0).ceil() as u32).max(5);
        let found = counter.phrases(least).into_iter();
        phrases.extend(found.take(PHRASES_SHOWN).map(|phrase| {
            let share = f64::from(phrase.texts) / sampled;
            report(
                phrase.text,
                share,
                (share * self.answers as f64).round() as u64,
                false,
            )
        }));
        phrases
    }

    fn phrase_tally(&self, phrases: &[PhraseReport]) -> Option<Tally> {
        let much: Vec<&PhraseReport> = phrases
            .iter()
            .filter(|phrase| !phrase.asked && phrase.share >= PHRASE_SHARE)
            .collect();
        let first = much.first()?;
        Some(Tally {
            count: much.len() as u64,
            message: format!(
                "{} in {:.0} % of answers or more, such as “{}” in {}",
                counted(much.len(), "phrase stands", "phrases stand"),
                100.0 * PHRASE_SHARE,
                first.phrase,
                first.answers
            ),
            examples: much
                .iter()
                .map(|phrase| Example {
                    row: None,
                    text: phrase.phrase.clone(),
                    rows: phrase.answers,
                })
                .collect(),
            ..Tally::default()
        })
    }
}

/// `zh` of `zh-Hans`.
fn base(language: &str) -> &str {
    language.split('-').next().unwrap_or(language)
}
