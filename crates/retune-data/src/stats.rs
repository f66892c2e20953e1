//! What data files hold, counted.

use std::collections::{BTreeMap, HashSet};

use serde::Serialize;
use xxhash_rust::xxh3::xxh3_64;

use crate::cache::TokenFile;
use crate::error::Result;
use crate::label::Labelled;
use crate::pack::{epoch_order, epoch_steps, pack, shared_prefix};
use crate::sample::{Content, Role, Sample};
use crate::text::language::language_of;
use crate::text::ngrams::units;

/// Units of answers in which distinct-n and the vocabulary are counted: both
/// grow with the length of a text, and so does the memory for them.
const COUNTED_UNITS: usize = 2_000_000;

/// What the texts of data files hold.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct TextStats {
    /// Rows.
    pub rows: u64,
    /// Rows of each kind.
    pub kinds: BTreeMap<&'static str, u64>,
    /// Turns of each role.
    pub turns: BTreeMap<&'static str, u64>,
    /// Rows whose conversation has a system prompt.
    pub with_system: u64,
    /// Rows whose conversation has tools.
    pub with_tools: u64,
    /// Characters of prompts.
    pub prompt_chars: u64,
    /// Characters of answers.
    pub answer_chars: u64,
    /// Answers by language.
    pub languages: BTreeMap<&'static str, u64>,
    /// Rows of each class.
    pub labels: BTreeMap<String, u64>,
    /// Distinct units (characters of Chinese, words of others) in answers.
    pub vocabulary: u64,
    /// Units of answers that were counted for it and for `distinct`.
    pub counted_units: u64,
    /// The share of different sequences of 1, 2 and 3 units among all.
    pub distinct: [f64; 3],
}

/// Counts texts as they go by.
#[derive(Debug, Default)]
pub struct TextCounter {
    stats: TextStats,
    seen: [HashSet<u64>; 3],
    sequences: [u64; 3],
}

impl TextCounter {
    /// Counts a row.
    pub fn add(&mut self, sample: &Sample) {
        let stats = &mut self.stats;
        stats.rows += 1;
        let kind = match &sample.content {
            Content::Conversation(conversation) => {
                stats.with_system += u64::from(conversation.system().is_some());
                stats.with_tools += u64::from(!conversation.tools.is_empty());
                "conversation"
            }
            Content::Text(_) => "text",
            Content::Classification { label, .. } => {
                *stats.labels.entry(label.clone()).or_default() += 1;
                "classification"
            }
            Content::Preference(_) => "preference",
        };
        *stats.kinds.entry(kind).or_default() += 1;
        for (role, _) in sample.content.texts() {
            if let Some(role) = role {
                *stats.turns.entry(Role::name(role)).or_default() += 1;
            }
        }
        stats.prompt_chars += sample.content.prompt().chars().count() as u64;
        let answer = sample.content.answer();
        stats.answer_chars += answer.chars().count() as u64;
        let language = language_of(&answer).map_or("unknown", |language| language.code);
        *stats.languages.entry(language).or_default() += 1;
        self.count_units(&answer);
    }

    fn count_units(&mut self, answer: &str) {
        if self.stats.counted_units as usize >= COUNTED_UNITS {
            return;
        }
        let hashes: Vec<u64> = units(answer)
            .iter()
            .map(|unit| xxh3_64(unit.as_bytes()))
            .collect();
        self.stats.counted_units += hashes.len() as u64;
        for n in 1..=3 {
            for sequence in hashes.windows(n) {
                let bytes: Vec<u8> = sequence
                    .iter()
                    .flat_map(|hash| hash.to_le_bytes())
                    .collect();
                self.seen[n - 1].insert(xxh3_64(&bytes));
                self.sequences[n - 1] += 1;
            }
        }
    }

    /// What was counted.
    pub fn finish(mut self) -> TextStats {
        self.stats.vocabulary = self.seen[0].len() as u64;
        for n in 0..3 {
            let all = self.sequences[n].max(1) as f64;
            self.stats.distinct[n] = self.seen[n].len() as f64 / all;
        }
        self.stats
    }
}

/// What tokens data files become, and what a training makes of them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TokenStats {
    /// Samples.
    pub samples: u64,
    /// Tokens.
    pub tokens: u64,
    /// Tokens that are learned from.
    pub scored: u64,
    /// The length of which half of the samples are no longer.
    pub median: u64,
    /// Likewise nine in ten.
    pub p90: u64,
    /// Likewise ninety-nine in a hundred.
    pub p99: u64,
    /// The longest.
    pub longest: u64,
    /// How many samples have a length from `start` to below `end`.
    pub histogram: Vec<Bucket>,
    /// Tokens at the beginning that all samples share.
    pub common_prefix: u64,
    /// Optimizer steps an epoch.
    pub steps: u64,
    /// Tokens that are computed in an epoch: packed, without the shared
    /// beginnings and the last tokens.
    pub computed: u64,
    /// The share of padding in batches of samples in random order, by batch
    /// size, as trainers that pad would compute it.
    pub padding: BTreeMap<usize, f64>,
}

/// A bar of a histogram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Bucket {
    /// The least length.
    pub start: u64,
    /// The first length beyond.
    pub end: u64,
    /// How many samples.
    pub samples: u64,
}

/// Counts tokens. `samples_per_step` is the batch size times accumulation,
/// `max_tokens` what a batch may hold.
///
/// # Errors
/// `File` if the samples cannot be read.
pub fn token_stats(
    tokens: &TokenFile,
    samples_per_step: usize,
    max_tokens: usize,
    seed: u64,
) -> Result<TokenStats> {
    let count = tokens.len();
    let mut lengths: Vec<u64> = (0..count)
        .map(|index| tokens.tokens(index) as u64)
        .collect();
    let order = epoch_order(seed, 0, count as u32);
    let padding = [2, 16]
        .map(|batch| (batch, padding(&lengths, &order, batch)))
        .into_iter()
        .collect();
    let (mut scored, mut computed) = (0, 0);
    let steps = epoch_steps(seed, 0, count as u32, samples_per_step);
    let mut common: Option<Labelled> = None;
    let mut common_prefix = 0;
    for step in &steps {
        let samples: Result<Vec<Labelled>> = step
            .iter()
            .map(|index| tokens.sample(*index as usize))
            .collect();
        let mut samples = samples?;
        scored += samples.iter().map(Labelled::scored_tokens).sum::<usize>() as u64;
        let batches = pack(&samples, max_tokens);
        computed += batches
            .iter()
            .map(|batch| batch.input_ids.len())
            .sum::<usize>() as u64;
        // The beginning that is common so far, as one more sample.
        if let Some(common) = common.take() {
            samples.push(common);
        }
        common_prefix = shared_prefix(&samples);
        common = samples.pop().map(|sample| beginning(sample, common_prefix));
    }
    lengths.sort_unstable();
    let at = |share: f64| {
        let place = (share * count as f64).ceil() as usize;
        lengths.get(place.saturating_sub(1)).copied().unwrap_or(0)
    };
    Ok(TokenStats {
        samples: count as u64,
        tokens: lengths.iter().sum(),
        scored,
        median: at(0.5),
        p90: at(0.9),
        p99: at(0.99),
        longest: at(1.0),
        histogram: histogram(&lengths),
        common_prefix: common_prefix as u64,
        steps: steps.len() as u64,
        computed,
        padding,
    })
}

/// A sample that shares `prefix` tokens with what it came from, and no more.
fn beginning(mut sample: Labelled, prefix: usize) -> Labelled {
    // The token behind the prefix is a target, so nothing beyond is shared.
    sample.input_ids.truncate(prefix + 2);
    sample.scored = vec![false; sample.input_ids.len()];
    if let Some(scored) = sample.scored.get_mut(prefix + 1) {
        *scored = true;
    }
    sample
}

fn padding(lengths: &[u64], order: &[u32], batch: usize) -> f64 {
    let padded: u64 = order
        .chunks(batch)
        .map(|batch| {
            let longest = batch.iter().map(|index| lengths[*index as usize]).max();
            longest.unwrap_or(0) * batch.len() as u64
        })
        .sum();
    let tokens: u64 = lengths.iter().sum();
    1.0 - tokens as f64 / padded.max(1) as f64
}

/// About twenty bars of equal width over sorted lengths.
fn histogram(lengths: &[u64]) -> Vec<Bucket> {
    let longest = lengths.last().copied().unwrap_or(0);
    let widths = [
        1, 2, 4, 5, 8, 10, 16, 20, 32, 40, 50, 64, 100, 128, 200, 256, 500, 512, 1000,
    ];
    let width = widths
        .into_iter()
        .find(|width| longest / width < 20)
        .unwrap_or(longest / 20 + 1);
    let mut buckets: Vec<Bucket> = (0..=longest / width)
        .map(|bucket| Bucket {
            start: bucket * width,
            end: (bucket + 1) * width,
            samples: 0,
        })
        .collect();
    for length in lengths {
        buckets[(length / width) as usize].samples += 1;
    }
    buckets
}
