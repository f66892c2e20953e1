//! BLEU, with sacreBLEU's figures.
//!
//! # Reference
//! Papineni et al. 2002, BLEU: a Method for Automatic Evaluation of Machine
//! Translation; Post 2018, arXiv:1804.08771; the smoothing of Chen & Cherry
//! 2014, A Systematic Comparison of Smoothing Techniques for Sentence-Level BLEU

use std::collections::HashMap;

use super::ngrams::{ngram_counts, ngram_total, overlap};
use super::statistics::{References, Statistics, add_counts};
use super::tokenize::Tokenizer;
use super::whitespace::{is_space, split};
use crate::{Error, Result};

/// What stands for a precision of 0, which has no logarithm.
#[derive(Debug, Clone, Copy, PartialEq, Default, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SmoothMethod {
    /// Nothing: one order without a match makes the score 0.
    None,
    /// So many matches; sacreBLEU's default is 0.1.
    Floor(f64),
    /// So many are added to the matches and the n-grams of all orders above
    /// the first; sacreBLEU's default is 1.
    AddK(f64),
    /// Half a match for the first such order, a quarter for the next, and so on.
    #[default]
    Exp,
}

impl std::fmt::Display for SmoothMethod {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Floor(value) => write!(f, "floor[{value:.2}]"),
            Self::AddK(value) => write!(f, "add-k[{value:.2}]"),
            Self::Exp => f.write_str("exp"),
        }
    }
}

/// How BLEU is computed. The names are sacreBLEU's, and so are the defaults.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Bleu {
    /// What a token is.
    pub tokenize: Tokenizer,
    /// Whether case is ignored.
    pub lowercase: bool,
    /// What stands for a precision of zero.
    pub smooth_method: SmoothMethod,
    /// The length of the longest n-grams, at least 1.
    pub max_ngram_order: usize,
    /// Whether orders that the answers are too short for are left out, as they
    /// should be for single sentences.
    pub effective_order: bool,
}

impl Default for Bleu {
    fn default() -> Self {
        Self {
            tokenize: Tokenizer::Thirteen,
            lowercase: false,
            smooth_method: SmoothMethod::Exp,
            max_ngram_order: 4,
            effective_order: false,
        }
    }
}

/// What BLEU counts in a row, or in the sum of rows.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct BleuStatistics {
    /// Matched n-grams of each order, from 1.
    pub counts: Vec<u64>,
    /// N-grams of the answer, of each order.
    pub totals: Vec<u64>,
    /// Tokens of the answer.
    pub sys_len: u64,
    /// Tokens of the reference that is closest in length; of two the shorter.
    pub ref_len: u64,
}

impl Statistics for BleuStatistics {
    fn add(&mut self, row: &Self, times: u32) {
        add_counts(&mut self.counts, &row.counts, times);
        add_counts(&mut self.totals, &row.totals, times);
        self.sys_len += row.sys_len * u64::from(times);
        self.ref_len += row.ref_len * u64::from(times);
    }
}

/// A BLEU score and what it is made of.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct BleuScore {
    /// Between 0 and 100, but for rounding: the last digit may be past it.
    pub score: f64,
    /// Matched n-grams of each order, before smoothing.
    pub counts: Vec<u64>,
    /// N-grams of the answers, of each order.
    pub totals: Vec<u64>,
    /// The precision of each order, smoothed, between 0 and 100.
    pub precisions: Vec<f64>,
    /// The brevity penalty, between 0 and 1.
    pub bp: f64,
    /// Tokens of the answers.
    pub sys_len: u64,
    /// Tokens of the references.
    pub ref_len: u64,
}

impl Bleu {
    /// The same with `effective_order`, as scores of single sentences want it.
    #[must_use]
    pub fn for_sentences(self) -> Self {
        Self {
            effective_order: true,
            ..self
        }
    }

    /// What there is to count in one row. An n-gram matches as often as it is
    /// in the reference that has most of it.
    ///
    /// # Errors
    /// `NoReferences`, and `Setting` if the settings make no sense.
    pub fn statistics(
        &self,
        hypothesis: &str,
        references: &[impl AsRef<str>],
    ) -> Result<BleuStatistics> {
        self.check()?;
        if references.is_empty() {
            return Err(Error::NoReferences);
        }
        let hypothesis = self.tokenized(hypothesis);
        let hypothesis: Vec<&str> = split(&hypothesis).collect();
        let references: Vec<String> = references
            .iter()
            .map(|reference| self.tokenized(reference.as_ref()))
            .collect();
        let references: Vec<Vec<&str>> = references
            .iter()
            .map(|reference| split(reference).collect())
            .collect();
        let orders = 1..=self.max_ngram_order;
        Ok(BleuStatistics {
            counts: orders
                .clone()
                .map(|order| matches(&hypothesis, &references, order))
                .collect(),
            totals: orders
                .map(|order| ngram_total(hypothesis.len(), order))
                .collect(),
            sys_len: hypothesis.len() as u64,
            ref_len: closest(hypothesis.len(), references.iter().map(Vec::len)),
        })
    }

    /// The score of rows whose statistics were added up.
    pub fn corpus(&self, sum: &BleuStatistics) -> BleuScore {
        let order = self.max_ngram_order;
        let first = |counts: &[u64]| -> Vec<u64> {
            let counts = counts.iter().copied().chain(std::iter::repeat(0));
            counts.take(order).collect()
        };
        let (counts, totals) = (first(&sum.counts), first(&sum.totals));
        let bp = brevity_penalty(sum.sys_len, sum.ref_len);
        let mut precisions = vec![0.0; order];
        let mut score = 0.0;
        if counts.iter().any(|&count| count > 0) {
            let orders = self.precisions(&counts, &totals, &mut precisions);
            let logarithms = precisions[..orders].iter().map(|&p| floored_log(p));
            score = bp * (logarithms.sum::<f64>() / orders as f64).exp();
        }
        BleuScore {
            score,
            counts,
            totals,
            precisions,
            bp,
            sys_len: sum.sys_len,
            ref_len: sum.ref_len,
        }
    }

    /// The score of one row; [`Self::for_sentences`] suits it.
    ///
    /// # Errors
    /// Those of [`Self::statistics`].
    pub fn sentence(&self, hypothesis: &str, references: &[impl AsRef<str>]) -> Result<BleuScore> {
        Ok(self.corpus(&self.statistics(hypothesis, references)?))
    }

    /// What a reader needs to compute the same score, in sacreBLEU's form. The
    /// version is ours, as it was not sacreBLEU that counted.
    pub fn signature(&self, references: References) -> String {
        format!(
            "nrefs:{references}|case:{}|eff:{}|tok:{}|smooth:{}|version:retune-{}",
            if self.lowercase { "lc" } else { "mixed" },
            if self.effective_order { "yes" } else { "no" },
            self.tokenize,
            self.smooth_method,
            env!("CARGO_PKG_VERSION"),
        )
    }

    /// `text` with spaces between its tokens.
    pub(super) fn tokenized(&self, text: &str) -> String {
        if self.lowercase {
            let lower = text.to_lowercase();
            self.tokenize.apply(lower.trim_end_matches(is_space))
        } else {
            self.tokenize.apply(text.trim_end_matches(is_space))
        }
    }

    /// Writes the smoothed precisions of the orders that have n-grams, and
    /// returns how many orders the score is made of.
    fn precisions(&self, counts: &[u64], totals: &[u64], precisions: &mut [f64]) -> usize {
        let mut orders = self.max_ngram_order;
        let mut halves = 1.0;
        for (index, precision) in precisions.iter_mut().enumerate() {
            let (mut count, mut total) = (counts[index] as f64, totals[index] as f64);
            if let (SmoothMethod::AddK(value), 1..) = (self.smooth_method, index) {
                count += value;
                total += value;
            }
            if total == 0.0 {
                break;
            }
            if self.effective_order {
                orders = index + 1;
            }
            *precision = match self.smooth_method {
                _ if count != 0.0 => 100.0 * count / total,
                SmoothMethod::Exp => {
                    halves *= 2.0;
                    100.0 / (halves * total)
                }
                SmoothMethod::Floor(value) => 100.0 * value / total,
                SmoothMethod::None | SmoothMethod::AddK(_) => 0.0,
            };
        }
        orders
    }

    pub(super) fn check(&self) -> Result<()> {
        if self.max_ngram_order == 0 {
            return Err(Error::Setting {
                name: "max_ngram_order",
                expected: "at least 1",
                found: "0".to_owned(),
            });
        }
        match self.smooth_method {
            SmoothMethod::Floor(value) | SmoothMethod::AddK(value)
                if !(value.is_finite() && value >= 0.0) =>
            {
                Err(Error::Setting {
                    name: "smooth_value",
                    expected: "a number that is not negative",
                    found: value.to_string(),
                })
            }
            _ => Ok(()),
        }
    }
}

/// How many n-grams of `hypothesis` are in a reference.
fn matches(hypothesis: &[&str], references: &[Vec<&str>], order: usize) -> u64 {
    let mut most: HashMap<&[&str], u64> = HashMap::new();
    for reference in references {
        for (ngram, count) in ngram_counts(reference, order) {
            let most = most.entry(ngram).or_insert(0);
            *most = count.max(*most);
        }
    }
    overlap(&ngram_counts(hypothesis, order), &most)
}

/// The length that is closest to `length`; of two the shorter.
pub(super) fn closest(length: usize, lengths: impl Iterator<Item = usize>) -> u64 {
    let closest = lengths.min_by_key(|&other| (length.abs_diff(other), other));
    closest.unwrap_or(0) as u64
}

/// What an answer that is shorter than its reference loses.
fn brevity_penalty(sys_len: u64, ref_len: u64) -> f64 {
    if sys_len >= ref_len {
        1.0
    } else if sys_len == 0 {
        0.0
    } else {
        (1.0 - ref_len as f64 / sys_len as f64).exp()
    }
}

/// The logarithm, and for 0 a number that leaves nothing of the score.
fn floored_log(number: f64) -> f64 {
    if number == 0.0 {
        -9_999_999_999.0
    } else {
        number.ln()
    }
}
