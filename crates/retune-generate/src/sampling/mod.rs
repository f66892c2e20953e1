//! From logits to the next token, as Hugging Face's `generate` does it and in its
//! order.

mod draw;
mod process;
mod set;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

pub(crate) use draw::log_softmax;

/// How the next token is chosen, and when it ends. Names and meanings are those of
/// Hugging Face's `GenerationConfig`, of OpenAI's API for penalties by frequency and
/// presence, and of llama.cpp for those named `dry`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
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
    /// Taken from the logit of a token that would say a phrase of the answer again, so
    /// that another way to say it is found: `dry_multiplier · dry_base ^ (n −
    /// dry_allowed_length)` if `n` tokens were repeated before it. 0 is off.
    pub dry_multiplier: f64,
    /// How fast that grows with the phrase.
    pub dry_base: f64,
    /// Phrases of fewer tokens may be repeated.
    pub dry_allowed_length: usize,
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
    /// Tokens at which the answer ends, beside those of the model; they are not part
    /// of it.
    pub stop_token_ids: Vec<u32>,
    /// The answer ends when it says a phrase so many times in a row, which fill at
    /// least 12 tokens; 0 for never.
    pub max_phrase_repeats: usize,
    /// How many of the most likely tokens are told with their logarithms of
    /// probability beside each token; none if this is none.
    pub logprobs: Option<usize>,
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
            dry_multiplier: 0.0,
            dry_base: 1.75,
            dry_allowed_length: 2,
            no_repeat_ngram_size: 0,
            logit_bias: BTreeMap::new(),
            min_new_tokens: 0,
            max_new_tokens: 256,
            stop: Vec::new(),
            stop_token_ids: Vec::new(),
            max_phrase_repeats: 0,
            logprobs: None,
            seed: 0,
        }
    }
}

/// What has been said so far.
#[derive(Debug, Clone, Copy)]
pub struct History<'a> {
    /// Prompt and answer.
    pub all: &'a [u32],
    /// How many of these are the prompt.
    pub prompt: usize,
    /// Tokens that end an answer.
    pub stop_ids: &'a [u32],
}

impl<'a> History<'a> {
    fn answer(&self) -> &'a [u32] {
        &self.all[self.prompt..]
    }
}

/// The most tokens whose probabilities are told.
const MOST_LOGPROBS: usize = 1024;

impl Sampling {
    /// Whether the settings make sense, for a model whose vocabulary has `vocabulary`
    /// tokens.
    ///
    /// # Errors
    /// `Setting` for the first that does not.
    pub fn check(&self, vocabulary: usize) -> Result<()> {
        self.check_values()?;
        let named = self.logit_bias.keys().map(|id| ("logit_bias", id));
        let stops = self.stop_token_ids.iter().map(|id| ("stop_token_ids", id));
        for (name, id) in named.chain(stops) {
            if *id as usize >= vocabulary {
                let expected = format!("tokens below {vocabulary}, the model's vocabulary");
                return Err(setting(name, &expected, id));
            }
        }
        Ok(())
    }

    /// As far as that can be said without a model.
    ///
    /// # Errors
    /// `Setting` for the first that does not.
    pub fn check_values(&self) -> Result<()> {
        // Logits are f32, and so is what is done to them.
        let finite = |value: f64| (value as f32).is_finite();
        let at_least = |least: f64| move |value: f64| finite(value) && value >= least;
        let positive = |value: f64| value > 0.0 && (value as f32).is_normal();
        let share = |value: f64| value > 0.0 && value <= 1.0;
        let number = "a number";
        let rules: [(&'static str, f64, &str, bool); 8] = [
            (
                "temperature",
                self.temperature,
                "a number of at least 0",
                self.temperature == 0.0 || positive(self.temperature),
            ),
            (
                "top_p",
                self.top_p,
                "a number above 0 and at most 1",
                share(self.top_p),
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
                positive(self.repetition_penalty),
            ),
            (
                "frequency_penalty",
                self.frequency_penalty,
                number,
                finite(self.frequency_penalty),
            ),
            (
                "presence_penalty",
                self.presence_penalty,
                number,
                finite(self.presence_penalty),
            ),
            (
                "dry_multiplier",
                self.dry_multiplier,
                "a number of at least 0",
                at_least(0.0)(self.dry_multiplier),
            ),
            (
                "dry_base",
                self.dry_base,
                "a number of at least 1",
                at_least(1.0)(self.dry_base),
            ),
        ];
        for (name, found, expected, good) in rules {
            if !good {
                return Err(setting(name, expected, found));
            }
        }
        if let Some(bias) = self.logit_bias.values().find(|bias| !finite(**bias)) {
            return Err(setting("logit_bias", number, bias));
        }
        if self.max_new_tokens == 0 {
            return Err(setting("max_new_tokens", "at least 1", 0));
        }
        if self.min_new_tokens > self.max_new_tokens {
            let most = format!("at most max_new_tokens, {}", self.max_new_tokens);
            return Err(setting("min_new_tokens", &most, self.min_new_tokens));
        }
        if self.max_phrase_repeats == 1 {
            return Err(setting("max_phrase_repeats", "0 or at least 2", 1));
        }
        if let Some(count) = self.logprobs.filter(|count| *count > MOST_LOGPROBS) {
            return Err(setting("logprobs", "at most 1024", count));
        }
        if self.stop.iter().any(String::is_empty) {
            return Err(setting("stop", "a text that is not empty", "\"\""));
        }
        Ok(())
    }
}

pub(crate) fn setting(name: impl Into<String>, expected: &str, found: impl ToString) -> Error {
    Error::Setting {
        name: name.into(),
        expected: expected.to_owned(),
        found: found.to_string(),
    }
}
