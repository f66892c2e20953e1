//! What is asked, and the pieces of what is answered.

use std::sync::Arc;

use retune_model::{Adapter, Decoder};

use crate::error::{Error, Result};
use crate::grammar::Grammar;
use crate::logprobs::TokenLogprobs;
use crate::sampling::Sampling;

/// What is asked.
#[derive(Debug, Clone)]
pub struct Request {
    /// The prompt's tokens.
    pub prompt: Vec<u32>,
    /// The adapter that answers; the base model alone if there is none.
    pub adapter: Option<Arc<Adapter>>,
    /// How to answer.
    pub sampling: Sampling,
    /// What the answer may be; anything if there is none.
    pub grammar: Option<Grammar>,
    /// How many of the most likely tokens are told beside each token of the prompt; if
    /// none, nothing is told of the prompt.
    pub prompt_logprobs: Option<usize>,
}

impl Request {
    /// How many tokens the answer can have by `model`, of which at most `context` tokens
    /// are taken.
    ///
    /// # Errors
    /// `Setting`, `EmptyPrompt`, `TooLong`, `UnknownToken`: why it cannot be answered.
    pub fn check(&self, model: &Decoder, context: usize) -> Result<usize> {
        let vocabulary = model.config().vocab_size;
        self.sampling.check(vocabulary)?;
        let tokens = self.prompt.len();
        if tokens == 0 {
            return Err(Error::EmptyPrompt);
        }
        let mut ids = self.prompt.iter();
        if let Some(&id) = ids.find(|id| **id as usize >= vocabulary) {
            return Err(Error::UnknownToken { id, vocabulary });
        }
        let context = context.min(model.config().max_position_embeddings);
        match context.saturating_sub(tokens) {
            0 => Err(Error::TooLong { tokens, context }),
            room => Ok(room.min(self.sampling.max_new_tokens)),
        }
    }
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// The model ended it, or a stop text came.
    Stop,
    /// It has as many tokens as it may have.
    Length,
    /// It repeated a phrase ([`Sampling::max_phrase_repeats`]).
    Repetition,
}

impl Finish {
    /// As OpenAI's API has it, which knows no repetition.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::Repetition => "repetition",
        }
    }
}

/// The next piece of an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Piece {
    /// Which request it belongs to: what [`crate::Generator::add`] returned.
    pub request: u64,
    /// Text; may be empty, where a character is not whole yet.
    pub text: String,
    /// The token, unless it ends the answer.
    pub token: Option<u32>,
    /// Its probability and those of others, if they are asked for.
    pub logprobs: Option<TokenLogprobs>,
    /// The same of the next tokens of the prompt, the first of which has none. They come
    /// before the answer, and with the first of several answers alone.
    pub prompt: Vec<TokenLogprobs>,
    /// Tokens of the prompt that an earlier one had left, told with the first token.
    pub cached: usize,
    /// Whether this is the last piece.
    pub finish: Option<Finish>,
}

impl Piece {
    /// Whether the model made a token for it, be it one that ends the answer.
    pub fn is_of_token(&self) -> bool {
        self.token.is_some() || self.finish.is_some()
    }

    /// One that says nothing.
    pub(super) fn new(request: u64) -> Self {
        Self {
            request,
            text: String::new(),
            token: None,
            logprobs: None,
            prompt: Vec::new(),
            cached: 0,
            finish: None,
        }
    }
}
