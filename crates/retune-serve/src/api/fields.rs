//! The fields that chat and completions have in common.

use std::collections::BTreeMap;

use retune_generate::Sampling;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::error::{ApiError, ApiResult};

/// Answers that one request may ask for.
const MOST_SAMPLES: u32 = 128;
/// Tokens whose probability may be told beside each token.
pub(crate) const MOST_LOGPROBS: usize = 20;

/// Texts at which an answer may end. Each is looked for behind each token.
const MOST_STOPS: usize = 16;
/// Bytes of each.
const MOST_STOP_BYTES: usize = 1024;
/// Tokens whose logits a request may change, or at which it may have an answer end.
const MOST_BIASES: usize = 1024;

/// How to answer: OpenAI's fields, and Hugging Face's where OpenAI has none.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
pub(crate) struct Fields {
    /// The base or an adapter, by its name; what is served first, if none is named
    pub(crate) model: Option<String>,
    /// Answers
    #[schemars(range(min = 1, max = 128))]
    n: Option<u32>,
    /// Tell the answer as it comes, as server-sent events
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    /// Draw tokens; goes without saying with temperature, top_p, top_k, min_p or n
    do_sample: Option<bool>,
    /// Logits are divided by this; 0 is the most likely token
    #[schemars(range(min = 0.0))]
    temperature: Option<f64>,
    /// Draw from the most likely tokens that have this probability together
    #[schemars(range(min = 0.000_001, max = 1.0))]
    top_p: Option<f64>,
    /// Draw from the k most likely tokens; 0 or -1 for all
    #[schemars(range(min = -1))]
    top_k: Option<i64>,
    /// Draw from tokens at least this likely beside the most likely one
    #[schemars(range(min = 0.0, max = 1.0))]
    min_p: Option<f64>,
    /// Divides the logits of tokens that stand in prompt or answer
    repetition_penalty: Option<f64>,
    /// Taken from a token's logit for each time it stands in the answer
    frequency_penalty: Option<f64>,
    /// Taken from the logits of all tokens that stand in the answer
    presence_penalty: Option<f64>,
    /// Makes phrases that the answer said before less likely; 0 is off, 0.8 is usual
    dry_multiplier: Option<f64>,
    /// How fast that grows with the phrase's length
    dry_base: Option<f64>,
    /// Phrases of fewer tokens may come again
    dry_allowed_length: Option<usize>,
    /// No sequence of so many tokens comes twice; 0 is off
    no_repeat_ngram_size: Option<usize>,
    /// The answer ends when it says a phrase so many times in a row; 0 is off
    max_phrase_repeats: Option<usize>,
    /// The same seed, the same answer
    seed: Option<i64>,
    /// Texts at which the answer ends
    stop: Option<OneOrMany<String>>,
    /// Tokens at which the answer ends, by their numbers
    stop_token_ids: Option<Vec<u32>>,
    /// Added to the logits of tokens, by their numbers
    logit_bias: Option<BTreeMap<String, f64>>,
    /// Tokens after which the answer ends; -1 is as many as the model has room for
    #[schemars(range(min = -1))]
    max_tokens: Option<i64>,
    /// The same under its newer name, which goes before the older
    #[schemars(range(min = -1))]
    max_completion_tokens: Option<i64>,
    /// Tokens before which the answer does not end
    min_tokens: Option<u64>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
struct StreamOptions {
    include_usage: Option<bool>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected one value or a list of them")]
enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    fn into_vec(self) -> Vec<T> {
        match self {
            Self::One(one) => vec![one],
            Self::Many(many) => many,
        }
    }
}

impl Fields {
    /// How many answers there are to be.
    pub(crate) fn samples(&self) -> ApiResult<usize> {
        match self.n.unwrap_or(1) {
            n @ 1..=MOST_SAMPLES => Ok(n as usize),
            n => Err(ApiError::invalid(
                "n",
                format!("n: expected 1 to {MOST_SAMPLES}, found {n}"),
            )),
        }
    }

    pub(crate) fn streams(&self) -> bool {
        self.stream.unwrap_or(false)
    }

    /// The name under which it says how long answers may be, if it does.
    pub(crate) fn length_field(&self) -> &'static str {
        match self.max_completion_tokens {
            Some(_) => "max_completion_tokens",
            None => "max_tokens",
        }
    }

    /// Whether it says how long answers may be.
    pub(crate) fn says_how_long(&self) -> bool {
        self.max_tokens.or(self.max_completion_tokens).is_some()
    }

    pub(crate) fn includes_usage(&self) -> bool {
        let options = self.stream_options.unwrap_or_default();
        options.include_usage.unwrap_or(false)
    }

    /// The model's own sampling, with what the request says over it.
    pub(crate) fn sampling(&self, own: &Sampling, logprobs: Option<usize>) -> ApiResult<Sampling> {
        let mut sampling = own.clone();
        let set = |to: &mut f64, from: Option<f64>| *to = from.unwrap_or(*to);
        set(&mut sampling.temperature, self.temperature);
        set(&mut sampling.top_p, self.top_p);
        set(&mut sampling.min_p, self.min_p);
        set(&mut sampling.repetition_penalty, self.repetition_penalty);
        set(&mut sampling.frequency_penalty, self.frequency_penalty);
        set(&mut sampling.presence_penalty, self.presence_penalty);
        set(&mut sampling.dry_multiplier, self.dry_multiplier);
        set(&mut sampling.dry_base, self.dry_base);
        let set = |to: &mut usize, from: Option<usize>| *to = from.unwrap_or(*to);
        set(&mut sampling.dry_allowed_length, self.dry_allowed_length);
        set(
            &mut sampling.no_repeat_ngram_size,
            self.no_repeat_ngram_size,
        );
        set(&mut sampling.max_phrase_repeats, self.max_phrase_repeats);
        // vLLM's -1 is all, as 0 is.
        let top_k = self.top_k.map(|top_k| top_k.max(0) as usize);
        set(&mut sampling.top_k, top_k);
        let draws = self.temperature.or(self.top_p).or(self.min_p).is_some();
        let draws = draws || self.top_k.is_some() || self.n.is_some_and(|n| n > 1);
        let draws = self.do_sample.unwrap_or(sampling.do_sample || draws);
        sampling.do_sample = draws && self.temperature != Some(0.0);
        sampling.seed = match self.seed {
            Some(seed) => seed.cast_unsigned(),
            // Every request draws anew.
            None => uuid::Uuid::new_v4().as_u64_pair().0,
        };
        if let Some(stop) = &self.stop {
            sampling.stop = stop.clone().into_vec();
            sampling.stop.retain(|text| !text.is_empty());
            let is_long = |text: &String| text.len() > MOST_STOP_BYTES;
            if sampling.stop.len() > MOST_STOPS || sampling.stop.iter().any(is_long) {
                let problem =
                    format!("stop: expected at most {MOST_STOPS} texts of {MOST_STOP_BYTES} bytes");
                return Err(ApiError::invalid("stop", problem));
            }
        }
        if let Some(bias) = &self.logit_bias {
            if bias.len() > MOST_BIASES {
                let problem = format!("logit_bias: expected at most {MOST_BIASES} tokens");
                return Err(ApiError::invalid("logit_bias", problem));
            }
            let read = |(token, bias): (&String, &f64)| {
                let id = token.parse().map_err(|_| {
                    ApiError::invalid(
                        "logit_bias",
                        format!("logit_bias: expected numbers of tokens, found {token:?}"),
                    )
                })?;
                Ok((id, *bias))
            };
            sampling.logit_bias = bias.iter().map(read).collect::<ApiResult<_>>()?;
        }
        if let Some(ids) = &self.stop_token_ids {
            if ids.len() > MOST_BIASES {
                let problem = format!("stop_token_ids: expected at most {MOST_BIASES} tokens");
                return Err(ApiError::invalid("stop_token_ids", problem));
            }
            sampling.stop_token_ids.clone_from(ids);
        }
        if let Some(most) = self.max_completion_tokens.or(self.max_tokens) {
            sampling.max_new_tokens = match most {
                -1 => usize::MAX,
                _ => usize::try_from(most).map_err(|_| {
                    let field = self.length_field();
                    let problem = format!("{field}: expected at least 1, or -1 for as many as there is room for, found {most}");
                    ApiError::invalid(field, problem)
                })?,
            };
        }
        if let Some(least) = self.min_tokens {
            sampling.min_new_tokens = usize::try_from(least).unwrap_or(usize::MAX);
            // Who says only the least does not mean to be refused.
            if !self.says_how_long() {
                sampling.max_new_tokens = sampling.max_new_tokens.max(sampling.min_new_tokens);
            }
        }
        sampling.logprobs = logprobs;
        Ok(sampling)
    }
}
