//! One answer on its way.

use std::collections::VecDeque;
use std::sync::Arc;

use retune_data::Tokenizer;
use retune_model::{Adapter, CachedTokens};

use super::Waiting;
use super::request::{Finish, Piece};
use crate::error::{Error, Result};
use crate::grammar::Grammar;
use crate::logprobs::TokenLogprobs;
use crate::loops::LoopRule;
use crate::sampling::{History, Sampling};
use crate::text::TextStream;

/// Tokens at the end of an answer that are no repeated phrase yet, however often they say
/// the same: a laugh, a row of dots.
const LEAST_REPEATED: usize = 12;

/// An answer that is to be made.
#[derive(Debug)]
pub(super) struct PendingAnswer {
    pub(super) request: u64,
    pub(super) seed: u64,
    pub(super) sampling: Arc<Sampling>,
    pub(super) grammar: Option<Arc<Grammar>>,
}

/// What a pass says of the token that comes next.
#[derive(Debug, Clone, Copy)]
pub(super) enum Next<'a> {
    /// `[V]`.
    Logits(&'a [f32]),
    /// Where the largest logit stands; None if one is not finite.
    Largest(Option<u32>),
}

/// An answer that is being made.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) request: u64,
    /// Who asked for it.
    pub(super) owner: u64,
    pub(super) sampling: Sampling,
    pub(super) grammar: Option<Grammar>,
    pub(super) adapter: Option<Arc<Adapter>>,
    /// Prompt and answer.
    pub(super) ids: Vec<u32>,
    pub(super) prompt: usize,
    /// Tokens of it that were there already.
    pub(super) cached: usize,
    pub(super) prompt_logprobs: Option<usize>,
    pub(super) text: TextStream,
    pub(super) place: CachedTokens,
    /// Other answers to the same prompt, which begin when it is through.
    pub(super) others: VecDeque<PendingAnswer>,
}

/// # Errors
/// `NotFinite`.
pub(crate) fn finite(logits: &[f32]) -> Result<()> {
    match logits.iter().all(|logit| logit.is_finite()) {
        true => Ok(()),
        false => Err(Error::NotFinite),
    }
}

impl Running {
    pub(super) fn new(owner: u64, waiting: Waiting, place: CachedTokens) -> Self {
        let answer = waiting.answer;
        Self {
            request: answer.request,
            owner,
            text: TextStream::new(&answer.sampling.stop),
            sampling: Sampling {
                seed: answer.seed,
                ..(*answer.sampling).clone()
            },
            grammar: answer.grammar.as_deref().cloned(),
            adapter: waiting.adapter,
            prompt: waiting.prompt.len(),
            cached: place.len(),
            prompt_logprobs: waiting.prompt_logprobs,
            ids: waiting.prompt,
            place,
            others: waiting.others,
        }
    }

    /// Whether what comes next is a token of the answer.
    pub(super) fn is_past_its_prompt(&self) -> bool {
        self.place.len() >= self.prompt
    }

    pub(super) fn tells_prompt(&self) -> bool {
        self.prompt_logprobs.is_some() && !self.is_past_its_prompt()
    }

    /// What `rows` of logits, the first of them behind the token `from`, say of the prompt.
    pub(super) fn tell_prompt(&self, from: usize, rows: &[&[f32]]) -> Option<Result<Piece>> {
        let count = self.prompt_logprobs?;
        let tokens = self.ids[..self.prompt].get(from + 1..)?;
        let told = tokens.iter().zip(rows).map(|(token, logits)| {
            finite(logits)?;
            Ok(TokenLogprobs::new(logits, *token, count))
        });
        let told: Result<Vec<TokenLogprobs>> = told.collect();
        match told {
            Ok(told) if told.is_empty() => None,
            told => Some(told.map(|prompt| Piece {
                prompt,
                ..Piece::new(self.request)
            })),
        }
    }

    /// Whether `token` may not come next, here or in others to the prompt.
    pub(super) fn forbids(&self, token: u32, stop_ids: &[u32]) -> bool {
        let answered = self.ids.len() - self.prompt;
        let others = |other: &PendingAnswer| other.sampling.forbids(token, 0, stop_ids);
        self.sampling.forbids(token, answered, stop_ids) || self.others.iter().any(others)
    }

    /// Whether the largest logit is all that this answer, and others to its prompt,
    /// want to know.
    pub(super) fn is_greedy(&self) -> bool {
        let own = self.grammar.is_none() && self.sampling.is_greedy();
        let others = |other: &PendingAnswer| other.grammar.is_none() && other.sampling.is_greedy();
        own && !self.tells_prompt() && self.others.iter().all(others)
    }

    /// Chooses the next token from `logits`.
    fn choose(&mut self, logits: &[f32], stop_ids: &[u32]) -> Result<(u32, Option<TokenLogprobs>)> {
        finite(logits)?;
        let history = History {
            all: &self.ids,
            prompt: self.prompt,
            stop_ids,
        };
        let mut left = logits.to_vec();
        if let Some(grammar) = &mut self.grammar {
            grammar.restrict(&mut left)?;
        }
        let chosen = self.sampling.choose(&mut left, history);
        let token = chosen.ok_or(Error::NothingAllowed)?;
        let logprobs = self.sampling.logprobs;
        let logprobs = logprobs.map(|count| TokenLogprobs::new(logits, token, count));
        Ok((token, logprobs))
    }

    /// Chooses the next token, and takes it.
    pub(super) fn go_on(
        &mut self,
        next: Next<'_>,
        stop_ids: &[u32],
        tokenizer: &Tokenizer,
    ) -> Result<Piece> {
        let (token, logprobs) = match next {
            Next::Logits(logits) => self.choose(logits, stop_ids)?,
            Next::Largest(token) => (token.ok_or(Error::NotFinite)?, None),
        };
        let mut piece = Piece {
            logprobs,
            cached: std::mem::take(&mut self.cached),
            ..Piece::new(self.request)
        };
        if stop_ids.contains(&token) || self.sampling.stop_token_ids.contains(&token) {
            piece.text = self.text.finish(tokenizer);
            piece.finish = Some(Finish::Stop);
            return Ok(piece);
        }
        let is_whole = match &mut self.grammar {
            Some(grammar) => grammar.take(token)?,
            None => false,
        };
        self.ids.push(token);
        let (text, stopped) = self.text.push(tokenizer, token);
        piece.text = text;
        piece.token = Some(token);
        if stopped {
            piece.finish = Some(Finish::Stop);
            return Ok(piece);
        }
        let answer = &self.ids[self.prompt..];
        let repeats = LoopRule {
            min_count: self.sampling.max_phrase_repeats,
            min_span: LEAST_REPEATED,
        };
        if is_whole {
            piece.finish = Some(Finish::Stop);
        } else if repeats.min_count > 0 && repeats.find(answer).is_some() {
            piece.finish = Some(Finish::Repetition);
        } else if answer.len() == self.sampling.max_new_tokens {
            piece.finish = Some(Finish::Length);
        }
        if piece.finish.is_some() {
            piece.text.push_str(&self.text.finish(tokenizer));
        }
        Ok(piece)
    }
}
