//! The loop: several requests at once, a token each at a time.

mod request;
mod running;

use std::collections::VecDeque;
use std::sync::Arc;

use retune_data::Tokenizer;
use retune_model::{Adapter, Decoder, KvCache, NextTokens};

pub use request::{Finish, Piece, Request};
pub(crate) use running::finite;
use running::{Begun, Running};

use crate::error::Result;
use crate::sampling::Sampling;

/// Tokens of prompts that go through the model at a time.
pub(crate) const PREFILL: usize = 512;
/// The same while answers are being written, which wait for it.
pub(crate) const PREFILL_BESIDE: usize = 128;

/// A prompt that waits, with the answers that it is to get.
#[derive(Debug)]
struct Waiting {
    prompt: Vec<u32>,
    prompt_logprobs: Option<usize>,
    adapter: Option<Arc<Adapter>>,
    answers: Vec<Begun>,
}

/// Answers requests, as many at once as its cache has room for.
#[derive(Debug)]
pub struct Generator<'m> {
    model: &'m Decoder,
    tokenizer: &'m Tokenizer,
    stop_ids: Vec<u32>,
    cache: KvCache,
    /// Tokens that one sequence may have.
    context: usize,
    waiting: VecDeque<Waiting>,
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
            context: cache.free_tokens(),
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
    /// `Setting`, `EmptyPrompt`, `TooLong`, `UnknownToken`.
    pub fn add(&mut self, request: Request) -> Result<u64> {
        Ok(self.add_samples(request, 1)?[0])
    }

    /// Takes a request for `samples` answers, at least one, drawn from the seed of the
    /// request and those that follow on it. The prompt is computed once. Returned are
    /// the answers' numbers.
    ///
    /// # Errors
    /// As for `add`.
    pub fn add_samples(&mut self, mut request: Request, samples: usize) -> Result<Vec<u64>> {
        request.sampling.max_new_tokens = request.check(self.model, self.context)?;
        let answers = (0..samples.max(1) as u64).map(|sample| {
            let seed = request.sampling.seed.wrapping_add(sample);
            let sampling = Sampling {
                seed,
                ..request.sampling.clone()
            };
            Begun {
                request: self.requests + 1 + sample,
                sampling,
                grammar: request.grammar.clone(),
            }
        });
        let answers: Vec<Begun> = answers.collect();
        let numbers: Vec<u64> = answers.iter().map(|answer| answer.request).collect();
        self.requests += numbers.len() as u64;
        self.waiting.push_back(Waiting {
            prompt: request.prompt,
            prompt_logprobs: request.prompt_logprobs,
            adapter: request.adapter,
            answers,
        });
        Ok(numbers)
    }

    /// Forgets a request, wherever it stands.
    pub fn cancel(&mut self, request: u64) {
        let all = self.waiting.iter_mut().map(|waiting| &mut waiting.answers);
        for answers in all.chain(self.running.iter_mut().map(|run| &mut run.others)) {
            answers.retain(|answer| answer.request != request);
        }
        self.waiting.retain(|waiting| !waiting.answers.is_empty());
        if let Some(index) = self.running.iter().position(|run| run.request == request) {
            let mut run = self.running.remove(index);
            run.ids.truncate(run.prompt);
            self.cache.release(run.place);
            self.wait_again(run.ids, run.adapter, run.others);
        }
    }

    /// Forgets all requests.
    pub fn clear(&mut self) {
        self.waiting.clear();
        for run in self.running.drain(..) {
            self.cache.release(run.place);
        }
    }

    /// Answers that are being made, each with its place in the cache.
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// Tokens for which there is room in the cache.
    pub fn free_tokens(&self) -> usize {
        self.cache.free_tokens()
    }

    /// Whether there is nothing to do.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty()
    }

    /// One pass of the model: a token for each request whose prompt is through.
    ///
    /// # Errors
    /// `Model`, `NotFinite`, `NothingAllowed`, of any request.
    pub fn step(&mut self) -> Result<Vec<Piece>> {
        let pieces = self.step_apart()?.into_iter();
        pieces.map(|(_, piece)| piece).collect()
    }

    /// The same, where a request that cannot go on (`NotFinite`, `NothingAllowed`) ends
    /// alone. Each piece comes with the request's number.
    ///
    /// # Errors
    /// `Model`; then no request can go on.
    pub fn step_apart(&mut self) -> Result<Vec<(u64, Result<Piece>)>> {
        self.admit();
        if self.running.is_empty() {
            return Ok(Vec::new());
        }
        let (logits, passed) = self.pass()?;
        let width = self.model.config().vocab_size;
        let mut pieces = Vec::with_capacity(self.running.len());
        let mut begun = Vec::new();
        let mut all = logits.chunks_exact(width);
        for Passed { index, from, rows } in passed {
            let rows: Vec<&[f32]> = all.by_ref().take(rows).collect();
            let run = &self.running[index];
            if let Some(piece) = run.tell_prompt(from, &rows) {
                pieces.push((run.request, piece));
            }
            let logits = rows[rows.len() - 1];
            if run.place.len() < run.ids.len() {
                continue;
            }
            // Before the first answer goes on, the others begin where it does.
            let others = std::mem::take(&mut self.running[index].others);
            for mut run in self.begin(index, others)? {
                let piece = run.go_on(logits, &self.stop_ids, self.tokenizer);
                pieces.push((run.request, piece));
                begun.push(run);
            }
            let run = &mut self.running[index];
            let computed = run.place.len();
            let piece = run.go_on(logits, &self.stop_ids, self.tokenizer);
            let ends = piece.as_ref().is_ok_and(|piece| piece.finish.is_some());
            if piece.is_ok() && (computed == run.prompt || ends) {
                // Others that begin in the same way find it from here on.
                let ids = &run.ids[..computed];
                self.cache.keep(&run.place, ids, run.adapter.as_deref());
            }
            pieces.push((run.request, piece));
        }
        self.running.extend(begun);
        self.release_ended(&pieces);
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

    /// The logits behind what running answers have, or behind the next part of their
    /// prompts, and whose they are: one row each, but for prompts of which something is
    /// told. All that are past their prompts go on; the prompts share a pass.
    fn pass(&mut self) -> Result<(Vec<f32>, Vec<Passed>)> {
        let streams = self.running.iter().any(Running::is_past_its_prompt);
        let tells = self.running.iter().any(Running::tells_prompt);
        // A row of logits for each token of a prompt takes much memory.
        let shares = self.shares(match streams || tells {
            true => PREFILL_BESIDE,
            false => PREFILL,
        });
        let mut next = Vec::with_capacity(self.running.len());
        let mut passed = Vec::with_capacity(self.running.len());
        let (mut rows, mut offset) = (Vec::with_capacity(self.running.len()), 0);
        for (index, run) in self.running.iter_mut().enumerate() {
            let from = run.place.len();
            let mut end = run.ids.len();
            if !run.is_past_its_prompt() {
                end = from + shares[index];
            }
            if end == from {
                continue;
            }
            let new = end - from;
            let count = if run.tells_prompt() { new } else { 1 };
            passed.push(Passed {
                index,
                from,
                rows: count,
            });
            offset += new;
            rows.extend((offset - count..offset).map(|row| row as u32));
            next.push(NextTokens {
                ids: &run.ids[from..end],
                sequence: &mut run.place,
                adapter: run.adapter.clone(),
            });
        }
        let hidden = self.model.next_hidden(&mut next, &rows, &mut self.cache)?;
        Ok((self.model.logits_of(&hidden)?.to_f32_vec(), passed))
    }

    /// How many tokens of each prompt go into a pass of `tokens`. The one that came first
    /// has half of them, so that it gets through whatever comes; the others follow, the
    /// one with least to go first, so that a question is not held up by a book.
    fn shares(&self, tokens: usize) -> Vec<usize> {
        let mut shares = vec![0; self.running.len()];
        let rest = |run: &Running| run.prompt.saturating_sub(run.place.len());
        let rests = self.running.iter().map(rest).enumerate();
        let mut prompts: Vec<(usize, usize)> = rests.filter(|(_, rest)| *rest > 0).collect();
        let Some(&(first, rest)) = prompts.first() else {
            return shares;
        };
        shares[first] = rest.min(tokens.div_ceil(2));
        let mut left = tokens - shares[first];
        prompts.sort_by_key(|(_, rest)| *rest);
        for (index, rest) in prompts {
            let more = left.min(rest - shares[index]);
            shares[index] += more;
            left -= more;
        }
        shares
    }

    /// Gives a place to those who wait longest, while there is one.
    fn admit(&mut self) {
        while let Some(mut waiting) = self.waiting.pop_front() {
            let tokens = waiting.prompt.len() + waiting.answers[0].sampling.max_new_tokens;
            let place = match waiting.prompt_logprobs {
                // All of the prompt has to be computed.
                Some(_) => self.cache.reserve(tokens),
                None => {
                    let adapter = waiting.adapter.as_deref();
                    self.cache.reserve_for(&waiting.prompt, adapter, tokens)
                }
            };
            let Some(place) = place else {
                self.waiting.push_front(waiting);
                return;
            };
            let first = waiting.answers.remove(0);
            let run = Running::new(first, waiting.prompt, waiting.adapter, place);
            self.running.push(Running {
                prompt_logprobs: waiting.prompt_logprobs,
                others: waiting.answers,
                ..run
            });
        }
    }

    /// Other answers to the prompt of the running one at `index`, which is through. For
    /// whom there is no room now, the prompt is computed again later.
    fn begin(&mut self, index: usize, others: Vec<Begun>) -> Result<Vec<Running>> {
        let mut begun = Vec::new();
        let mut others = others.into_iter();
        for other in others.by_ref() {
            let run = &self.running[index];
            let tokens = run.prompt + other.sampling.max_new_tokens;
            let Some(place) = self.cache.fork(&run.place, tokens)? else {
                let left = std::iter::once(other).chain(others).collect();
                let (prompt, adapter) = (run.ids[..run.prompt].to_vec(), run.adapter.clone());
                self.wait_again(prompt, adapter, left);
                break;
            };
            let prompt = run.ids[..run.prompt].to_vec();
            begun.push(Running::new(other, prompt, run.adapter.clone(), place));
        }
        Ok(begun)
    }

    fn wait_again(&mut self, prompt: Vec<u32>, adapter: Option<Arc<Adapter>>, answers: Vec<Begun>) {
        if !answers.is_empty() {
            self.waiting.push_front(Waiting {
                prompt,
                // Told already, or whoever asked for it has gone.
                prompt_logprobs: None,
                adapter,
                answers,
            });
        }
    }

    /// Gives back the places of answers of which the last piece has come.
    fn release_ended(&mut self, pieces: &[(u64, Result<Piece>)]) {
        let goes_on = |piece: &Result<Piece>| matches!(piece, Ok(piece) if piece.finish.is_none());
        let ended = |run: &Running| {
            let mut pieces = pieces.iter();
            pieces.any(|(request, piece)| *request == run.request && !goes_on(piece))
        };
        let mut index = 0;
        while let Some(run) = self.running.get(index) {
            match ended(run) {
                true => self.cache.release(self.running.remove(index).place),
                false => index += 1,
            }
        }
    }
}

/// What of a pass belongs to a running answer.
struct Passed {
    index: usize,
    /// The place in prompt and answer of the first token that went through.
    from: usize,
    /// Rows of logits: those behind all the tokens that did, or behind the last.
    rows: usize,
}
