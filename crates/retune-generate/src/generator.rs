//! The loop: several requests at once, a token each at a time.

use std::collections::VecDeque;

use retune_data::Tokenizer;
use retune_model::{CachedTokens, Decoder, KvCache, NextTokens};

use crate::error::{Error, Result};
use crate::sampling::{History, Sampling};
use crate::text::TextStream;

/// Tokens of a prompt that go through the model at a time.
const PREFILL: usize = 512;

/// What is asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// The prompt's tokens.
    pub prompt: Vec<u32>,
    /// How to answer.
    pub sampling: Sampling,
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// The model ended it, or a stop text came.
    Stop,
    /// It has as many tokens as it may have.
    Length,
}

impl Finish {
    /// As OpenAI's API has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
        }
    }
}

/// The next piece of an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Piece {
    /// Which request it belongs to: what [`Generator::add`] returned.
    pub request: u64,
    /// Text; may be empty, where a character is not whole yet.
    pub text: String,
    /// The token, unless it ends the answer.
    pub token: Option<u32>,
    /// Whether this is the last piece.
    pub finish: Option<Finish>,
}

/// A request that is being answered.
#[derive(Debug)]
struct Running {
    request: u64,
    sampling: Sampling,
    /// Prompt and answer.
    ids: Vec<u32>,
    prompt: usize,
    text: TextStream,
    place: CachedTokens,
}

/// Answers requests, as many at once as its cache has room for.
#[derive(Debug)]
pub struct Generator<'m> {
    model: &'m Decoder,
    tokenizer: &'m Tokenizer,
    stop_ids: Vec<u32>,
    cache: KvCache,
    context: usize,
    waiting: VecDeque<(u64, Request)>,
    running: Vec<Running>,
    requests: u64,
}

impl<'m> Generator<'m> {
    /// A generator whose cache holds `tokens` tokens of all requests together.
    ///
    /// # Errors
    /// `Model` if memory runs out.
    pub fn new(model: &'m Decoder, tokenizer: &'m Tokenizer, tokens: usize) -> Result<Self> {
        let cache = KvCache::new(model, tokens)?;
        Ok(Self {
            stop_ids: tokenizer.stop_ids(),
            context: model
                .config()
                .max_position_embeddings
                .min(cache.free_tokens()),
            model,
            tokenizer,
            cache,
            waiting: VecDeque::new(),
            running: Vec::new(),
            requests: 0,
        })
    }

    /// Takes a request; returned is its number. An answer that would not fit into what
    /// the model takes gets as many tokens as do.
    ///
    /// # Errors
    /// `Setting`, `EmptyPrompt`, `TooLong`.
    pub fn add(&mut self, mut request: Request) -> Result<u64> {
        request.sampling.check()?;
        let tokens = request.prompt.len();
        if tokens == 0 {
            return Err(Error::EmptyPrompt);
        }
        let room = self.context.saturating_sub(tokens);
        if room == 0 {
            return Err(Error::TooLong {
                tokens,
                context: self.context,
            });
        }
        let most = &mut request.sampling.max_new_tokens;
        *most = room.min(*most);
        self.requests += 1;
        self.waiting.push_back((self.requests, request));
        Ok(self.requests)
    }

    /// Forgets a request, wherever it stands.
    pub fn cancel(&mut self, request: u64) {
        self.waiting.retain(|(waiting, _)| *waiting != request);
        if let Some(index) = self.running.iter().position(|run| run.request == request) {
            let run = self.running.swap_remove(index);
            self.cache.release(run.place);
        }
    }

    /// Whether there is nothing to do.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty()
    }

    /// One pass of the model: a token for each request whose prompt is through.
    ///
    /// # Errors
    /// `Model`; then no request can go on.
    pub fn step(&mut self) -> Result<Vec<Piece>> {
        self.admit();
        if self.running.is_empty() {
            return Ok(Vec::new());
        }
        let mut next: Vec<NextTokens<'_>> = self
            .running
            .iter_mut()
            .map(|run| {
                let done = run.place.len();
                let end = run.ids.len().min(done + PREFILL);
                NextTokens {
                    ids: &run.ids[done..end],
                    sequence: &mut run.place,
                }
            })
            .collect();
        let logits = self.model.next_logits(&mut next, &mut self.cache)?;
        drop(next);
        let mut rows = logits.to_f32_vec();
        let width = self.model.config().vocab_size;
        let mut pieces = Vec::with_capacity(self.running.len());
        for (run, logits) in self.running.iter_mut().zip(rows.chunks_exact_mut(width)) {
            if run.place.len() < run.ids.len() {
                continue;
            }
            let history = History {
                all: &run.ids,
                prompt: run.prompt,
                stop_ids: &self.stop_ids,
            };
            let token = run.sampling.choose(logits, history);
            pieces.push(run.take(token, &self.stop_ids, self.tokenizer));
        }
        let ended = |run: &Running| {
            let mut pieces = pieces.iter();
            pieces.any(|piece| piece.request == run.request && piece.finish.is_some())
        };
        let mut index = 0;
        while let Some(run) = self.running.get(index) {
            match ended(run) {
                // The order of those that stay decides nothing.
                true => self.cache.release(self.running.swap_remove(index).place),
                false => index += 1,
            }
        }
        Ok(pieces)
    }

    /// Answers one request; `on_text` gets its text as it comes. Returned are the
    /// answer's tokens and why it ended.
    ///
    /// # Errors
    /// Those of `add` and `step`.
    pub fn answer(
        &mut self,
        request: Request,
        on_text: &mut dyn FnMut(&str),
    ) -> Result<(Vec<u32>, Finish)> {
        let number = self.add(request)?;
        let mut tokens = Vec::new();
        loop {
            for piece in self.step()? {
                if piece.request != number {
                    continue;
                }
                if !piece.text.is_empty() {
                    on_text(&piece.text);
                }
                tokens.extend(piece.token);
                if let Some(finish) = piece.finish {
                    return Ok((tokens, finish));
                }
            }
        }
    }

    /// Gives a place to those who wait longest, while there is one.
    fn admit(&mut self) {
        while let Some((request, waiting)) = self.waiting.pop_front() {
            let tokens = waiting.prompt.len() + waiting.sampling.max_new_tokens;
            let Some(place) = self.cache.reserve(tokens) else {
                self.waiting.push_front((request, waiting));
                return;
            };
            self.running.push(Running {
                request,
                text: TextStream::new(&waiting.sampling.stop),
                sampling: waiting.sampling,
                prompt: waiting.prompt.len(),
                ids: waiting.prompt,
                place,
            });
        }
    }
}

impl Running {
    fn take(&mut self, token: u32, stop_ids: &[u32], tokenizer: &Tokenizer) -> Piece {
        let mut piece = Piece {
            request: self.request,
            text: String::new(),
            token: None,
            finish: None,
        };
        if stop_ids.contains(&token) {
            piece.text = self.text.finish(tokenizer);
            piece.finish = Some(Finish::Stop);
            return piece;
        }
        self.ids.push(token);
        let (text, stopped) = self.text.push(tokenizer, token);
        piece.text = text;
        piece.token = Some(token);
        if stopped {
            piece.finish = Some(Finish::Stop);
        } else if self.ids.len() - self.prompt == self.sampling.max_new_tokens {
            piece.text.push_str(&self.text.finish(tokenizer));
            piece.finish = Some(Finish::Length);
        }
        piece
    }
}
