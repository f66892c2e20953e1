//! How different answers are from one another, and how long they are.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

use retune_data::bootstrap::percentile;
use xxhash_rust::xxh3::xxh3_64;

use super::bleu::{Bleu, BleuStatistics, closest};
use super::ngrams::{ngram_counts, ngram_total};
use super::whitespace::split;
use crate::Result;

/// distinct-n: how many different n-grams all answers have together, as a share
/// of all their n-grams. There is none without an n-gram. The longer the
/// answers, the lower it is, so only those of like length can be compared.
///
/// # Reference
/// Li et al. 2016, A Diversity-Promoting Objective Function for Neural
/// Conversation Models, arXiv:1510.03055
pub fn distinct_n<T: Eq + Hash>(answers: &[Vec<T>], n: usize) -> Option<f64> {
    if n == 0 {
        return None;
    }
    let distinct: HashSet<&[T]> = answers
        .iter()
        .flat_map(|answer| answer.windows(n))
        .collect();
    let all: u64 = answers
        .iter()
        .map(|answer| ngram_total(answer.len(), n))
        .sum();
    (all > 0).then(|| distinct.len() as f64 / all as f64)
}

/// How self-BLEU is computed.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct SelfBleu {
    /// How two answers are compared; its scores should be those for sentences.
    pub bleu: Bleu,
    /// Of more answers than this, so many are drawn.
    pub max_answers: usize,
    /// What the drawing starts from.
    pub seed: u64,
}

impl Default for SelfBleu {
    fn default() -> Self {
        Self {
            bleu: Bleu::default().for_sentences(),
            max_answers: 1000,
            seed: 0,
        }
    }
}

/// A self-BLEU and how many answers it is of.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct SelfBleuScore {
    /// Between 0, where all answers differ, and 100, where they are the same.
    pub score: f64,
    /// How many answers were compared.
    pub answers: usize,
}

impl SelfBleu {
    /// The mean BLEU of each answer against all others as its references. There
    /// is none of fewer than two answers.
    ///
    /// With more answers it rises, as more n-grams are in some other one; only
    /// figures of as many answers can be compared. The drawn answers are those
    /// whose hash of seed and position is lowest, in any order of threads.
    ///
    /// # Errors
    /// `Setting` if the settings of BLEU make no sense.
    /// # Reference
    /// Zhu et al. 2018, Texygen, arXiv:1802.01886; smoothed as sacreBLEU does
    pub fn score(&self, answers: &[impl AsRef<str>]) -> Result<Option<SelfBleuScore>> {
        self.bleu.check()?;
        let drawn: Vec<String> = self
            .drawn(answers.len())
            .into_iter()
            .map(|index| self.bleu.tokenized(answers[index].as_ref()))
            .collect();
        let tokens: Vec<Vec<&str>> = drawn.iter().map(|text| split(text).collect()).collect();
        if tokens.len() < 2 {
            return Ok(None);
        }
        let statistics = against_all_others(&tokens, self.bleu.max_ngram_order);
        let scores = statistics.iter().map(|row| self.bleu.corpus(row).score);
        Ok(Some(SelfBleuScore {
            score: scores.sum::<f64>() / tokens.len() as f64,
            answers: tokens.len(),
        }))
    }

    /// Which of `answers` answers are compared, in order.
    fn drawn(&self, answers: usize) -> Vec<usize> {
        let mut drawn: Vec<usize> = (0..answers).collect();
        if answers > self.max_answers {
            let hash = |index: &usize| {
                let mut key = [0; 16];
                key[..8].copy_from_slice(&self.seed.to_le_bytes());
                key[8..].copy_from_slice(&(*index as u64).to_le_bytes());
                (xxh3_64(&key), *index)
            };
            drawn.sort_by_cached_key(hash);
            drawn.truncate(self.max_answers);
            drawn.sort_unstable();
        }
        drawn
    }
}

/// The answers that have most of an n-gram: how much the one that has most has,
/// which one it is, and how much the next one has.
#[derive(Default)]
struct Most {
    count: u64,
    answer: usize,
    next: u64,
}

/// BLEU's statistics of each answer with all others as its references. To know
/// of each n-gram the answer that has most of it and the next one is enough, so
/// the n-grams are counted once, and not once for each pair.
fn against_all_others(answers: &[Vec<&str>], max_order: usize) -> Vec<BleuStatistics> {
    let mut statistics: Vec<BleuStatistics> = answers
        .iter()
        .enumerate()
        .map(|(index, answer)| {
            let others = answers
                .iter()
                .enumerate()
                .filter(|(other, _)| *other != index);
            BleuStatistics {
                sys_len: answer.len() as u64,
                ref_len: closest(answer.len(), others.map(|(_, other)| other.len())),
                ..BleuStatistics::default()
            }
        })
        .collect();
    for order in 1..=max_order {
        let counts: Vec<HashMap<&[&str], u64>> = answers
            .iter()
            .map(|answer| ngram_counts(answer, order))
            .collect();
        let most = most_of_each(&counts);
        for (index, (row, counts)) in statistics.iter_mut().zip(&counts).enumerate() {
            let matched = counts.iter().map(|(ngram, &count)| {
                let most = &most[ngram];
                count.min(if most.answer == index {
                    most.next
                } else {
                    most.count
                })
            });
            row.counts.push(matched.sum());
            row.totals.push(ngram_total(answers[index].len(), order));
        }
    }
    statistics
}

fn most_of_each<'a>(counts: &[HashMap<&'a [&'a str], u64>]) -> HashMap<&'a [&'a str], Most> {
    let mut most: HashMap<&[&str], Most> = HashMap::new();
    for (index, counts) in counts.iter().enumerate() {
        for (&ngram, &count) in counts {
            let most = most.entry(ngram).or_default();
            if count > most.count {
                most.next = most.count;
                (most.count, most.answer) = (count, index);
            } else {
                most.next = most.next.max(count);
            }
        }
    }
    most
}

/// How long answers are, in characters or tokens as they were counted.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Lengths {
    /// How many answers there are.
    pub answers: usize,
    /// The mean.
    pub mean: f64,
    /// Half of the answers are no longer.
    pub median: f64,
    /// 95 of 100 answers are no longer; between two lengths by proportion.
    pub p95: f64,
    /// The shortest.
    pub min: usize,
    /// The longest.
    pub max: usize,
}

impl Lengths {
    /// Of answers of these lengths; there are none without answers.
    pub fn of(lengths: impl IntoIterator<Item = usize>) -> Option<Self> {
        let mut lengths: Vec<usize> = lengths.into_iter().collect();
        lengths.sort_unstable();
        let sorted: Vec<f64> = lengths.iter().map(|&length| length as f64).collect();
        Some(Self {
            answers: lengths.len(),
            mean: sorted.iter().sum::<f64>() / sorted.len() as f64,
            median: percentile(&sorted, 0.5)?,
            p95: percentile(&sorted, 0.95)?,
            min: *lengths.first()?,
            max: *lengths.last()?,
        })
    }
}
