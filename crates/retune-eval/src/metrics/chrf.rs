//! chrF and chrF++, with sacreBLEU's figures.
//!
//! # Reference
//! Popović 2015, chrF: character n-gram F-score for automatic MT evaluation;
//! Popović 2017, chrF++: words helping character n-grams

use std::borrow::Cow;

use super::ngrams::{ngram_counts, ngram_total, overlap};
use super::statistics::{References, Statistics};
use super::whitespace::{split, without};
use crate::{Error, Result};

/// How chrF is computed. The names are sacreBLEU's, and so are the defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Chrf {
    /// The length of the longest character n-grams.
    pub char_order: usize,
    /// The length of the longest word n-grams: 0 is chrF, 2 is chrF++.
    pub word_order: usize,
    /// How many times recall weighs as much as precision.
    pub beta: u32,
    /// Whether case is ignored.
    pub lowercase: bool,
    /// Whether whitespace counts as characters.
    pub whitespace: bool,
    /// Whether orders that a text is too short for count as nearly 0, as in
    /// chrF++.py, and are not left out.
    pub eps_smoothing: bool,
}

impl Default for Chrf {
    fn default() -> Self {
        Self {
            char_order: 6,
            word_order: 0,
            beta: 2,
            lowercase: false,
            whitespace: false,
            eps_smoothing: false,
        }
    }
}

/// What chrF counts in a row, or in the sum of rows: character orders from 1,
/// then word orders from 1.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct ChrfStatistics {
    /// One for each order.
    pub orders: Vec<ChrfOrder>,
}

/// N-grams of one order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct ChrfOrder {
    /// Those of the answer; 0 where the reference has none of this order.
    pub hypothesis: u64,
    /// Those of the reference.
    pub reference: u64,
    /// Those that both have.
    pub matched: u64,
}

impl Statistics for ChrfStatistics {
    fn add(&mut self, row: &Self, times: u32) {
        if self.orders.len() < row.orders.len() {
            self.orders.resize(row.orders.len(), ChrfOrder::default());
        }
        let times = u64::from(times);
        for (sum, row) in self.orders.iter_mut().zip(&row.orders) {
            sum.hypothesis += row.hypothesis * times;
            sum.reference += row.reference * times;
            sum.matched += row.matched * times;
        }
    }
}

impl Chrf {
    /// chrF++: words and pairs of words count too.
    pub fn plus_plus() -> Self {
        Self {
            word_order: 2,
            ..Self::default()
        }
    }

    /// Its name with its weight, such as `chrF2` or `chrF2++`.
    pub fn name(&self) -> String {
        format!("chrF{}{}", self.beta, "+".repeat(self.word_order))
    }

    /// What there is to count in one row, against the reference that gives it
    /// the best score; of equals the first.
    ///
    /// # Errors
    /// `NoReferences`, and `Setting` without any order.
    pub fn statistics(
        &self,
        hypothesis: &str,
        references: &[impl AsRef<str>],
    ) -> Result<ChrfStatistics> {
        if self.char_order + self.word_order == 0 {
            return Err(Error::Setting {
                name: "char_order",
                expected: "at least 1 without word_order",
                found: "0".to_owned(),
            });
        }
        let hypothesis = self.cased(hypothesis);
        let hypothesis = Units::of(&hypothesis, self.whitespace);
        let mut best: Option<(f64, ChrfStatistics)> = None;
        for reference in references {
            let reference = self.cased(reference.as_ref());
            let statistics = self.against(&hypothesis, &Units::of(&reference, self.whitespace));
            let score = self.corpus(&statistics);
            if best.as_ref().is_none_or(|(most, _)| score > *most) {
                best = Some((score, statistics));
            }
        }
        best.map(|(_, statistics)| statistics)
            .ok_or(Error::NoReferences)
    }

    /// The score, between 0 and 100, of rows whose statistics were added up.
    pub fn corpus(&self, sum: &ChrfStatistics) -> f64 {
        let orders = self.char_order + self.word_order;
        let counts = sum.orders.iter().copied();
        let counts = counts.chain(std::iter::repeat(ChrfOrder::default()));
        if self.eps_smoothing {
            let sum: f64 = counts.take(orders).map(|order| self.smoothed(order)).sum();
            return 100.0 * sum / orders as f64;
        }
        let (mut precision, mut recall, mut effective) = (0.0, 0.0, 0);
        for order in counts.take(orders) {
            if order.hypothesis > 0 && order.reference > 0 {
                precision += order.matched as f64 / order.hypothesis as f64;
                recall += order.matched as f64 / order.reference as f64;
                effective += 1;
            }
        }
        if effective == 0 || precision + recall == 0.0 {
            return 0.0;
        }
        let (precision, recall) = (
            precision / f64::from(effective),
            recall / f64::from(effective),
        );
        let factor = self.factor();
        100.0 * ((1.0 + factor) * precision * recall / (factor * precision + recall))
    }

    /// The score of one row.
    ///
    /// # Errors
    /// Those of [`Self::statistics`].
    pub fn sentence(&self, hypothesis: &str, references: &[impl AsRef<str>]) -> Result<f64> {
        Ok(self.corpus(&self.statistics(hypothesis, references)?))
    }

    /// What a reader needs to compute the same score, in sacreBLEU's form. The
    /// version is ours, as it was not sacreBLEU that counted.
    pub fn signature(&self, references: References) -> String {
        format!(
            "nrefs:{references}|case:{}|eff:{}|nc:{}|nw:{}|space:{}|version:retune-{}",
            if self.lowercase { "lc" } else { "mixed" },
            if self.eps_smoothing { "no" } else { "yes" },
            self.char_order,
            self.word_order,
            if self.whitespace { "yes" } else { "no" },
            env!("CARGO_PKG_VERSION"),
        )
    }

    fn cased<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if self.lowercase {
            Cow::Owned(text.to_lowercase())
        } else {
            Cow::Borrowed(text)
        }
    }

    fn factor(&self) -> f64 {
        f64::from(self.beta).powi(2)
    }

    /// The F-score of one order, where what is missing counts as nearly 0.
    fn smoothed(&self, order: ChrfOrder) -> f64 {
        const EPS: f64 = 1e-16;
        let share = |of: u64| match of {
            0 => EPS,
            of => order.matched as f64 / of as f64,
        };
        let (precision, recall) = (share(order.hypothesis), share(order.reference));
        let factor = self.factor();
        let denominator = factor * precision + recall;
        if denominator > 0.0 {
            (1.0 + factor) * precision * recall / denominator
        } else {
            EPS
        }
    }

    fn against(&self, hypothesis: &Units<'_>, reference: &Units<'_>) -> ChrfStatistics {
        let characters = (1..=self.char_order)
            .map(|order| compared(&hypothesis.characters, &reference.characters, order));
        let words =
            (1..=self.word_order).map(|order| compared(&hypothesis.words, &reference.words, order));
        ChrfStatistics {
            orders: characters.chain(words).collect(),
        }
    }
}

/// A text in the two ways in which chrF reads it.
struct Units<'a> {
    characters: Vec<char>,
    words: Vec<&'a str>,
}

impl<'a> Units<'a> {
    fn of(text: &'a str, whitespace: bool) -> Self {
        let characters = if whitespace {
            text.chars().collect()
        } else {
            without(text).chars().collect()
        };
        let words = split(text).flat_map(punctuation_apart).collect();
        Self { characters, words }
    }
}

/// A word with one mark of ASCII's punctuation taken off its end, or else off
/// its beginning. That `(hi)` keeps its first bracket is as in chrF++.py.
fn punctuation_apart(word: &str) -> impl Iterator<Item = &str> {
    let alone = word.chars().nth(1).is_none();
    let (first, second) = if alone {
        (word, "")
    } else if word.ends_with(|c: char| c.is_ascii_punctuation()) {
        word.split_at(word.len() - 1)
    } else if word.starts_with(|c: char| c.is_ascii_punctuation()) {
        word.split_at(1)
    } else {
        (word, "")
    };
    [first, second].into_iter().filter(|part| !part.is_empty())
}

fn compared<T: Eq + std::hash::Hash>(hypothesis: &[T], reference: &[T], order: usize) -> ChrfOrder {
    let of_reference = ngram_total(reference.len(), order);
    // sacreBLEU counts no n-grams that no reference could match.
    let of_hypothesis = match of_reference {
        0 => 0,
        _ => ngram_total(hypothesis.len(), order),
    };
    ChrfOrder {
        hypothesis: of_hypothesis,
        reference: of_reference,
        matched: overlap(
            &ngram_counts(hypothesis, order),
            &ngram_counts(reference, order),
        ),
    }
}
