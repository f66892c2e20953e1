//! From logits to the next token, as Hugging Face's `generate` does it and in its
//! order.

use std::collections::{BTreeMap, HashMap};

use retune_compute::RandomKey;
use serde::Serialize;

use crate::error::{Error, Result};

/// What random numbers are for.
const SAMPLING: u64 = 4 << 32;

/// How the next token is chosen, and when it ends. Names and meanings are those of
/// Hugging Face's `GenerationConfig`, and of OpenAI's API for penalties by frequency
/// and presence.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sampling {
    /// Draw the next token; else the most likely one is taken.
    pub do_sample: bool,
    /// Logits are divided by this; 0 is the most likely token.
    pub temperature: f64,
    /// Only the k most likely tokens are drawn from; 0 for all.
    pub top_k: usize,
    /// Only the most likely tokens that have this probability together.
    pub top_p: f64,
    /// Only tokens at least this likely beside the most likely one.
    pub min_p: f64,
    /// Logits of tokens that stand in prompt or answer are divided by this if they are
    /// positive, else multiplied.
    pub repetition_penalty: f64,
    /// Taken from a token's logit for each time it stands in the answer.
    pub frequency_penalty: f64,
    /// Taken from the logits of all tokens that stand in the answer.
    pub presence_penalty: f64,
    /// No sequence of so many tokens comes twice, prompt included; 0 for no limit.
    pub no_repeat_ngram_size: usize,
    /// Added to the logits of tokens.
    pub logit_bias: BTreeMap<u32, f64>,
    /// The answer does not end before so many tokens.
    pub min_new_tokens: usize,
    /// The answer ends after so many tokens.
    pub max_new_tokens: usize,
    /// Texts at which the answer ends; they are not part of it.
    pub stop: Vec<String>,
    /// What random choices are drawn from.
    pub seed: u64,
}

impl Default for Sampling {
    /// Hugging Face's defaults, but for a longer answer.
    fn default() -> Self {
        Self {
            do_sample: false,
            temperature: 1.0,
            top_k: 50,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            no_repeat_ngram_size: 0,
            logit_bias: BTreeMap::new(),
            min_new_tokens: 0,
            max_new_tokens: 256,
            stop: Vec::new(),
            seed: 0,
        }
    }
}

/// What has been said so far.
#[derive(Debug, Clone, Copy)]
pub(crate) struct History<'a> {
    /// Prompt and answer.
    pub all: &'a [u32],
    /// How many of these are the prompt.
    pub prompt: usize,
    /// Tokens that end an answer.
    pub stop_ids: &'a [u32],
}

impl History<'_> {
    fn answer(&self) -> &[u32] {
        &self.all[self.prompt..]
    }
}

impl Sampling {
    /// Whether the settings make sense.
    ///
    /// # Errors
    /// `Setting` for the first that does not.
    pub fn check(&self) -> Result<()> {
        let at_least_0 = "a number of at least 0";
        let share = "a number above 0 and at most 1";
        let any = "a number";
        let finite = |value: f64| value.is_finite();
        let rules = [
            (
                "temperature",
                self.temperature,
                at_least_0,
                finite(self.temperature) && self.temperature >= 0.0,
            ),
            (
                "top_p",
                self.top_p,
                share,
                self.top_p > 0.0 && self.top_p <= 1.0,
            ),
            (
                "min_p",
                self.min_p,
                "a number from 0 to 1",
                (0.0..=1.0).contains(&self.min_p),
            ),
            (
                "repetition_penalty",
                self.repetition_penalty,
                "a number above 0",
                finite(self.repetition_penalty) && self.repetition_penalty > 0.0,
            ),
            (
                "frequency_penalty",
                self.frequency_penalty,
                any,
                finite(self.frequency_penalty),
            ),
            (
                "presence_penalty",
                self.presence_penalty,
                any,
                finite(self.presence_penalty),
            ),
        ];
        for (name, found, expected, good) in rules {
            if !good {
                return Err(Error::Setting {
                    name,
                    expected,
                    found: found.to_string(),
                });
            }
        }
        if self.max_new_tokens == 0 {
            return Err(Error::Setting {
                name: "max_new_tokens",
                expected: "at least 1",
                found: "0".to_owned(),
            });
        }
        if self.stop.iter().any(String::is_empty) {
            return Err(Error::Setting {
                name: "stop",
                expected: "a text that is not empty",
                found: "\"\"".to_owned(),
            });
        }
        Ok(())
    }

    /// Chooses the token after `history`. `logits` are changed.
    pub(crate) fn choose(&self, logits: &mut [f32], history: History<'_>) -> u32 {
        self.process(logits, history);
        if !self.do_sample || self.temperature == 0.0 {
            return largest(logits);
        }
        let kept = self.candidates(logits);
        draw(&kept, self.uniform(history.answer().len() as u64))
    }

    /// Bias, penalties and bans.
    fn process(&self, logits: &mut [f32], history: History<'_>) {
        for (&token, &bias) in &self.logit_bias {
            if let Some(logit) = logits.get_mut(token as usize) {
                *logit += bias as f32;
            }
        }
        if self.repetition_penalty != 1.0 {
            let penalty = self.repetition_penalty as f32;
            let mut seen = history.all.to_vec();
            seen.sort_unstable();
            seen.dedup();
            for token in seen {
                if let Some(logit) = logits.get_mut(token as usize) {
                    *logit = match *logit < 0.0 {
                        true => *logit * penalty,
                        false => *logit / penalty,
                    };
                }
            }
        }
        if self.frequency_penalty != 0.0 || self.presence_penalty != 0.0 {
            let mut counts: HashMap<u32, u32> = HashMap::new();
            for &token in history.answer() {
                *counts.entry(token).or_default() += 1;
            }
            for (token, count) in counts {
                if let Some(logit) = logits.get_mut(token as usize) {
                    *logit -=
                        (self.frequency_penalty * f64::from(count) + self.presence_penalty) as f32;
                }
            }
        }
        if let Some(before) = self.no_repeat_ngram_size.checked_sub(1) {
            for token in repeating(history.all, before) {
                if let Some(logit) = logits.get_mut(token as usize) {
                    *logit = f32::NEG_INFINITY;
                }
            }
        }
        if history.answer().len() < self.min_new_tokens {
            for &token in history.stop_ids {
                if let Some(logit) = logits.get_mut(token as usize) {
                    *logit = f32::NEG_INFINITY;
                }
            }
        }
    }

    /// The tokens that are drawn from, with their weights; in the order of their ids.
    fn candidates(&self, logits: &[f32]) -> Vec<(u32, f64)> {
        let temperature = self.temperature as f32;
        let scaled = logits.iter().map(|logit| logit / temperature);
        let mut kept: Vec<(u32, f32)> = (0..)
            .zip(scaled)
            .filter(|(_, score)| *score > f32::NEG_INFINITY)
            .collect();
        if self.top_k > 0 && self.top_k < kept.len() {
            let mut scores: Vec<f32> = kept.iter().map(|(_, score)| *score).collect();
            let (_, least, _) =
                scores.select_nth_unstable_by(self.top_k - 1, |a, b| b.total_cmp(a));
            let least = *least;
            kept.retain(|(_, score)| *score >= least);
        }
        let highest = kept
            .iter()
            .fold(f32::NEG_INFINITY, |highest, (_, score)| highest.max(*score));
        let mut weights: Vec<(u32, f64)> = kept
            .iter()
            .map(|&(token, score)| (token, f64::from(score - highest).exp()))
            .collect();
        if self.top_p < 1.0 {
            weights.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            let all: f64 = weights.iter().map(|(_, weight)| weight).sum();
            let mut before = 0.0;
            // Those go behind which enough has been kept already.
            let count = weights
                .iter()
                .take_while(|(_, weight)| {
                    let wanted = before < self.top_p * all;
                    before += weight;
                    wanted
                })
                .count();
            weights.truncate(count.max(1));
            weights.sort_by_key(|(token, _)| *token);
        }
        if self.min_p > 0.0 {
            weights.retain(|(_, weight)| *weight >= self.min_p);
        }
        weights
    }

    /// A number from 0 up to 1 for the token `index` of the answer.
    fn uniform(&self, index: u64) -> f64 {
        let key = RandomKey::new(self.seed, SAMPLING);
        let [low, high, ..] = key.block([index as u32, (index >> 32) as u32, 0, 0]);
        let bits = u64::from(high) << 32 | u64::from(low);
        (bits >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// The token with the largest logit; the first of equal ones.
fn largest(logits: &[f32]) -> u32 {
    let mut best = 0;
    for (index, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = index;
        }
    }
    best as u32
}

/// The token at `share` of all weights.
fn draw(weights: &[(u32, f64)], share: f64) -> u32 {
    let all: f64 = weights.iter().map(|(_, weight)| weight).sum();
    let mut left = share * all;
    for (token, weight) in weights {
        left -= weight;
        if left < 0.0 {
            return *token;
        }
    }
    weights.last().map_or(0, |(token, _)| *token)
}

/// Tokens that followed elsewhere on the last `before` tokens.
fn repeating(all: &[u32], before: usize) -> Vec<u32> {
    let Some(start) = all.len().checked_sub(before) else {
        return Vec::new();
    };
    let ending = &all[start..];
    let followed = all
        .windows(before + 1)
        .filter(|window| window[..before] == *ending);
    followed.map(|window| window[before]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history<'a>(all: &'a [u32], prompt: usize, stop_ids: &'a [u32]) -> History<'a> {
        History {
            all,
            prompt,
            stop_ids,
        }
    }

    fn sampled() -> Sampling {
        Sampling {
            do_sample: true,
            top_k: 0,
            ..Sampling::default()
        }
    }

    fn tokens(sampling: &Sampling, logits: &[f32]) -> Vec<u32> {
        let kept = sampling.candidates(logits);
        kept.into_iter().map(|(token, _)| token).collect()
    }

    /// Of softmax, 0.5, 0.25, 0.15, 0.1 in some order.
    fn logits() -> Vec<f32> {
        [0.15_f32, 0.5, 0.1, 0.25].map(f32::ln).to_vec()
    }

    #[test]
    fn what_is_drawn_from_is_cut_as_in_hugging_face() {
        let base = sampled();
        assert_eq!(tokens(&base, &logits()), [0, 1, 2, 3]);
        assert_eq!(
            tokens(
                &Sampling {
                    top_k: 2,
                    ..base.clone()
                },
                &logits()
            ),
            [1, 3]
        );
        // Equal to the last one of k, a token stays.
        assert_eq!(
            tokens(
                &Sampling {
                    top_k: 1,
                    ..base.clone()
                },
                &[1.0, 0.0, 1.0]
            ),
            [0, 2]
        );
        assert_eq!(
            tokens(
                &Sampling {
                    top_p: 0.6,
                    ..base.clone()
                },
                &logits()
            ),
            [1, 3]
        );
        assert_eq!(
            tokens(
                &Sampling {
                    top_p: 0.01,
                    ..base.clone()
                },
                &logits()
            ),
            [1]
        );
        assert_eq!(
            tokens(
                &Sampling {
                    min_p: 0.4,
                    ..base.clone()
                },
                &logits()
            ),
            [1, 3]
        );
        // After temperature: 0.5² and 0.25² are 0.735 and 0.184 of all.
        assert_eq!(
            tokens(
                &Sampling {
                    temperature: 0.5,
                    top_p: 0.7,
                    ..base
                },
                &logits()
            ),
            [1]
        );
    }

    #[test]
    fn draws_have_the_frequencies_of_the_softmax_and_depend_on_the_seed() {
        let mut counts = [0_u32; 4];
        for seed in 0..4000 {
            let sampling = Sampling { seed, ..sampled() };
            counts[sampling.choose(&mut logits(), history(&[], 0, &[])) as usize] += 1;
        }
        for (count, share) in counts.iter().zip([0.15, 0.5, 0.1, 0.25]) {
            let found = f64::from(*count) / 4000.0;
            assert!((found - share).abs() < 0.03, "{counts:?}");
        }
        let again = Sampling {
            seed: 7,
            ..sampled()
        };
        let choose = || again.choose(&mut logits(), history(&[], 0, &[]));
        assert_eq!(choose(), choose());
    }

    #[test]
    fn penalties_bans_and_biases_change_logits() {
        let changed = |sampling: Sampling, all: &[u32], prompt: usize| {
            let mut logits = vec![2.0, -2.0, 1.0, 0.0];
            sampling.process(&mut logits, history(all, prompt, &[3]));
            logits
        };
        let base = Sampling::default();
        assert_eq!(changed(base.clone(), &[0, 1], 1), [2.0, -2.0, 1.0, 0.0]);
        let repetition = Sampling {
            repetition_penalty: 2.0,
            ..base.clone()
        };
        assert_eq!(changed(repetition, &[0, 0, 1], 1), [1.0, -4.0, 1.0, 0.0]);
        let counted = Sampling {
            frequency_penalty: 0.5,
            presence_penalty: 0.25,
            ..base.clone()
        };
        // The prompt does not count.
        assert_eq!(changed(counted, &[1, 0, 0], 1), [0.75, -2.0, 1.0, 0.0]);
        let ngram = Sampling {
            no_repeat_ngram_size: 2,
            ..base.clone()
        };
        assert_eq!(
            changed(ngram, &[1, 2, 1], 1),
            [2.0, -2.0, f32::NEG_INFINITY, 0.0]
        );
        let unending = Sampling {
            min_new_tokens: 3,
            ..base.clone()
        };
        assert_eq!(
            changed(unending.clone(), &[1, 2, 1], 1)[3],
            f32::NEG_INFINITY
        );
        assert_eq!(changed(unending, &[1, 2, 1], 0)[3], 0.0);
        let bias = Sampling {
            logit_bias: BTreeMap::from([(3, 5.0), (9, 1.0)]),
            ..base
        };
        assert_eq!(changed(bias, &[], 0)[3], 5.0);
    }

    #[test]
    fn settings_that_make_no_sense_are_named() {
        let base = Sampling::default();
        base.check().expect("the defaults");
        for (wrong, name) in [
            (
                Sampling {
                    temperature: -1.0,
                    ..base.clone()
                },
                "temperature",
            ),
            (
                Sampling {
                    top_p: 0.0,
                    ..base.clone()
                },
                "top_p",
            ),
            (
                Sampling {
                    min_p: f64::NAN,
                    ..base.clone()
                },
                "min_p",
            ),
            (
                Sampling {
                    repetition_penalty: 0.0,
                    ..base.clone()
                },
                "repetition_penalty",
            ),
            (
                Sampling {
                    max_new_tokens: 0,
                    ..base.clone()
                },
                "max_new_tokens",
            ),
            (
                Sampling {
                    stop: vec![String::new()],
                    ..base.clone()
                },
                "stop",
            ),
        ] {
            let said = wrong.check().expect_err(name).to_string();
            assert!(said.starts_with(name), "{said}");
        }
    }
}
