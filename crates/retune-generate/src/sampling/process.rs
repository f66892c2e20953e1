//! Bias, penalties and bans: what changes logits before a token is chosen.

use std::collections::HashMap;

use super::{History, Sampling};

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
    // How many tokens before each place are those at the end: the Z-function of the
    // reversed text.
    let backwards: Vec<u32> = said.iter().rev().copied().collect();
    let lengths = common_with_start(&backwards);
    for (distance, &length) in lengths.iter().enumerate().skip(1) {
        if length > 0 {
            // `distance` tokens before the end the same was said; this followed.
            let followed = backwards[distance - 1];
            let known = longest.entry(followed).or_default();
            *known = length.max(*known);
        }
    }
    longest
}

/// For each place, how many items from there on equal those from the start on.
///
/// # Reference
/// Gusfield, Algorithms on Strings, Trees and Sequences, 1997, chapter 1.4
fn common_with_start(items: &[u32]) -> Vec<usize> {
    let mut lengths = vec![0; items.len()];
    let (mut left, mut right) = (0, 0);
    for at in 1..items.len() {
        let mut length = match at < right {
            true => lengths[at - left].min(right - at),
            false => 0,
        };
        while at + length < items.len() && items[length] == items[at + length] {
            length += 1;
        }
        if at + length > right {
            (left, right) = (at, at + length);
        }
        lengths[at] = length;
    }
    lengths
}

/// Fewer tokens than this are no phrase that is repeated, however often: a laugh, a
/// row of dots.
const LEAST_REPEATED: usize = 12;

/// How often `said` says at its end the same phrase in a row, taken over all lengths of
/// phrases: the largest number of times, of those that cover at least 12 tokens in all.
/// 1 if nothing is repeated.
pub fn repeats_at_end(said: &[u32]) -> usize {
    let backwards: Vec<u32> = said.iter().rev().copied().collect();
    let lengths = common_with_start(&backwards);
    let times = |(phrase, &length): (usize, &usize)| {
        // A text that equals itself `phrase` tokens on has that period.
        let times = 1 + length / phrase;
        (times > 1 && times * phrase >= LEAST_REPEATED).then_some(times)
    };
    let repeats = lengths.iter().enumerate().skip(1).filter_map(times);
    repeats.max().unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phrase_at_the_end_is_counted() {
        let phrase = [5, 6, 7, 8, 5];
        let mut said = vec![1, 2, 3];
        assert_eq!(repeats_at_end(&said), 1);
        said.extend([phrase; 3].concat());
        assert_eq!(repeats_at_end(&said), 3);
        said.extend([5, 6]);
        assert_eq!(repeats_at_end(&said), 3, "in whatever part of the phrase");
        said.push(9);
        assert_eq!(repeats_at_end(&said), 1);
        assert_eq!(repeats_at_end(&[4; 11]), 1, "a laugh");
        assert_eq!(repeats_at_end(&[4; 12]), 12);
        assert_eq!(repeats_at_end(&[]), 1);
    }

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
