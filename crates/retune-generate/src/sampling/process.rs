//! Bias, penalties and bans: what changes logits before a token is chosen.

use std::collections::HashMap;

use super::{History, Sampling};
use crate::loops::agreement_from_the_end;

impl Sampling {
    /// Changes the logits `[V]` behind `history`, in Hugging Face's order; those that
    /// it has not (bias, penalties by frequency, presence and phrase) come where theirs
    /// of the same kind do.
    pub fn process(&self, logits: &mut [f32], history: History<'_>) {
        let mut change = |token: u32, new: &dyn Fn(f32) -> f32| {
            if let Some(logit) = logits.get_mut(token as usize) {
                *logit = new(*logit);
            }
        };
        for (&token, &bias) in &self.logit_bias {
            change(token, &|logit| logit + bias as f32);
        }
        if self.repetition_penalty != 1.0 {
            let penalty = self.repetition_penalty as f32;
            let mut seen = history.all.to_vec();
            seen.sort_unstable();
            seen.dedup();
            for token in seen {
                change(token, &|logit| match logit < 0.0 {
                    true => logit * penalty,
                    false => logit / penalty,
                });
            }
        }
        if self.frequency_penalty != 0.0 || self.presence_penalty != 0.0 {
            let mut counts: HashMap<u32, u32> = HashMap::new();
            for &token in history.answer() {
                *counts.entry(token).or_default() += 1;
            }
            for (token, count) in counts {
                let penalty = self.frequency_penalty * f64::from(count) + self.presence_penalty;
                change(token, &|logit| logit - penalty as f32);
            }
        }
        if self.dry_multiplier > 0.0 {
            for (token, repeated) in repeated_before(history.answer()) {
                if let Some(beyond) = repeated.checked_sub(self.dry_allowed_length) {
                    let penalty = self.dry_multiplier * self.dry_base.powi(beyond as i32);
                    change(token, &|logit| logit - penalty as f32);
                }
            }
        }
        if let Some(before) = self.no_repeat_ngram_size.checked_sub(1) {
            for token in repeating(history.all, before) {
                change(token, &|_| f32::NEG_INFINITY);
            }
        }
        if history.answer().len() < self.min_new_tokens {
            for &token in history.stop_ids.iter().chain(&self.stop_token_ids) {
                change(token, &|_| f32::NEG_INFINITY);
            }
        }
    }

    /// Whether all that is asked for is the token with the largest logit: nothing
    /// changes logits but [`Sampling::forbids`], nothing is drawn, and nothing is told
    /// of other tokens.
    pub(crate) fn is_greedy(&self) -> bool {
        (!self.do_sample || self.temperature == 0.0)
            && self.logit_bias.is_empty()
            && self.repetition_penalty == 1.0
            && self.frequency_penalty == 0.0
            && self.presence_penalty == 0.0
            && self.dry_multiplier <= 0.0
            && self.no_repeat_ngram_size == 0
            && self.logprobs.is_none()
    }

    /// Whether `token` would end an answer of `answered` tokens that has to be longer.
    pub(crate) fn forbids(&self, token: u32, answered: usize, stop_ids: &[u32]) -> bool {
        answered < self.min_new_tokens
            && (stop_ids.contains(&token) || self.stop_token_ids.contains(&token))
    }
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

/// Tokens that would go on with something that was said before, and how many of the
/// last tokens that repeats already, at most.
fn repeated_before(said: &[u32]) -> HashMap<u32, usize> {
    let mut longest: HashMap<u32, usize> = HashMap::new();
    let lengths = agreement_from_the_end(said);
    for (distance, &length) in lengths.iter().enumerate().skip(1) {
        if length > 0 {
            // `distance` tokens before the end the same was said; this followed.
            let followed = said[said.len() - distance];
            let known = longest.entry(followed).or_default();
            *known = length.max(*known);
        }
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_repeat_a_phrase_is_found_with_its_length() {
        // "1 2 3 4 … 9 2 3": 4 would repeat "2 3", and only that.
        let found = repeated_before(&[1, 2, 3, 4, 8, 9, 2, 3]);
        assert_eq!(found, HashMap::from([(4, 2)]));
        // Said twice, the longer one counts.
        let found = repeated_before(&[3, 4, 2, 3, 4, 2, 3]);
        assert_eq!(found, HashMap::from([(4, 4)]));
        assert!(repeated_before(&[1, 2, 3]).is_empty());
    }

    #[test]
    fn a_penalty_of_phrases_grows_with_them() {
        let sampling = Sampling {
            dry_multiplier: 0.5,
            dry_base: 2.0,
            dry_allowed_length: 2,
            ..Sampling::default()
        };
        let after = |all: &[u32], prompt: usize| {
            let mut logits = vec![1.0; 5];
            let history = History {
                all,
                prompt,
                stop_ids: &[],
            };
            sampling.process(&mut logits, history);
            logits
        };
        assert_eq!(
            after(&[1, 2, 3, 0, 2], 0),
            [1.0; 5],
            "one token may come again"
        );
        assert_eq!(after(&[1, 2, 3, 0, 1, 2], 0), [1.0, 1.0, 1.0, 0.5, 1.0]);
        assert_eq!(
            after(&[4, 1, 2, 3, 0, 4, 1, 2], 0),
            [1.0, 1.0, 1.0, 0.0, 1.0]
        );
        assert_eq!(
            after(&[1, 2, 3, 0, 1, 2], 3),
            [1.0; 5],
            "the prompt does not count"
        );
    }
}
