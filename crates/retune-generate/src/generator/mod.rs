//! The loop: several requests at once, a token each at a time.

mod request;
mod running;

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use retune_compute::Device;
use retune_data::Tokenizer;
use retune_model::{Adapter, Decoder, KvCache, NextTokens};

pub use request::{Finish, Piece, Request};
pub(crate) use running::finite;
use running::{Next, PendingAnswer, Running};

use crate::error::{Error, Result};
use crate::queue::Queue;

/// Tokens of prompts that go through a model on `device` at a time; fewer if answers
/// are written beside them, which wait for it.
pub(crate) fn prefill(device: &Device, beside: bool) -> usize {
    match (device.is_cuda(), beside) {
        (false, false) => 512,
        (false, true) => 128,
        (true, false) => 4096,
        (true, true) => 1024,
    }
}

/// The same where something is told of each of their tokens.
const PREFILL_TOLD: usize = 128;

/// A prompt that waits, with the answers that it is to get.
#[derive(Debug)]
struct Waiting {
    prompt: Vec<u32>,
    prompt_logprobs: Option<usize>,
    adapter: Option<Arc<Adapter>>,
    answer: PendingAnswer,
    /// Other answers to it.
    others: VecDeque<PendingAnswer>,
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
    waiting: Queue<Waiting>,
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
        Ok(Self::with_cache(model, tokenizer, cache))
    }

    /// A generator with the cache of another one of `model`, in which beginnings of its
    /// prompts and answers are kept.
    pub fn with_cache(model: &'m Decoder, tokenizer: &'m Tokenizer, cache: KvCache) -> Self {
        Self {
            stop_ids: tokenizer.stop_ids(),
            context: cache.free_tokens(),
            model,
            tokenizer,
            cache,
            waiting: Queue::new(),
            running: Vec::new(),
            requests: 0,
        }
    }

    /// Its cache, for [`Generator::with_cache`]; requests that are not answered are forgotten.
    pub fn into_cache(mut self) -> KvCache {
        self.clear();
        self.cache
    }

    /// Takes a request; returned is its number. An answer that would not fit into what
    /// the model takes gets as many tokens as do. All requests that are taken in this way
    /// have one owner ([`Self::add_samples`]), 0.
    ///
    /// # Errors
    /// `Setting`, `EmptyPrompt`, `TooLong`, `UnknownToken`.
    pub fn add(&mut self, request: Request) -> Result<u64> {
        Ok(self.add_samples(request, 1, 0)?[0])
    }

    /// Takes a request for `samples` answers, at least one, drawn from the seed of the
    /// request and those that follow on it. The prompt is computed once, as long as there is
    /// room for all of them and nobody else waits. Returned are the answers' numbers.
    ///
    /// Where there is not room for all, owners take turns, an answer each, so that one who
    /// asks for much holds up nobody who asks for little; what has the same `owner` is
    /// answered in the order in which it came.
    ///
    /// # Errors
    /// As for `add`.
    pub fn add_samples(
        &mut self,
        mut request: Request,
        samples: usize,
        owner: u64,
    ) -> Result<Vec<u64>> {
        request.sampling.max_new_tokens = request.check(self.model, self.context)?;
        let first = self.requests + 1;
        let sampling = Arc::new(request.sampling);
        let grammar = request.grammar.map(Arc::new);
        let answer = |sample: u64| PendingAnswer {
            request: first + sample,
            seed: sampling.seed.wrapping_add(sample),
            sampling: Arc::clone(&sampling),
            grammar: grammar.clone(),
        };
        let count = samples.max(1) as u64;
        let waiting = Waiting {
            prompt: request.prompt,
            prompt_logprobs: request.prompt_logprobs,
            adapter: request.adapter,
            answer: answer(0),
            others: (1..count).map(answer).collect(),
        };
        self.requests += count;
        self.waiting.push(owner, first, waiting);
        Ok((first..first + count).collect())
    }

    /// Forgets the requests whose numbers are `gone`, wherever they stand.
    pub fn cancel(&mut self, gone: &HashSet<u64>) {
        let forget = |answers: &mut VecDeque<PendingAnswer>| {
            answers.retain(|answer| !gone.contains(&answer.request));
        };
        self.waiting.retain(|waiting| {
            forget(&mut waiting.others);
            if !gone.contains(&waiting.answer.request) {
                return true;
            }
            let next = waiting.others.pop_front();
            next.map(|next| waiting.answer = next).is_some()
        });
        for run in &mut self.running {
            forget(&mut run.others);
        }
        let is_gone = |run: &mut Running| gone.contains(&run.request);
        let runs: Vec<Running> = self.running.extract_if(.., is_gone).collect();
        for mut run in runs {
            run.ids.truncate(run.prompt);
            self.cache.release(run.place);
            self.requeue(run.owner, run.ids, run.adapter, run.others);
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
        let (found, passed) = self.pass()?;
        let width = self.model.config().vocab_size;
        let mut pieces = Vec::with_capacity(self.running.len());
        let mut first_row = 0;
        for Passed { index, from, rows } in passed {
            let own = first_row..first_row + rows;
            first_row = own.end;
            let rows: Vec<&[f32]> = match &found {
                Found::Logits(logits) => {
                    let own = &logits[own.start * width..own.end * width];
                    own.chunks_exact(width).collect()
                }
                Found::Largest(_) => Vec::new(),
            };
            let next = match &found {
                Found::Logits(_) => Next::Logits(rows[rows.len() - 1]),
                Found::Largest(tokens) => Next::Largest(tokens[own.end - 1]),
            };
            let run = &mut self.running[index];
            match run.tell_prompt(from, &rows) {
                None => {}
                Some(Ok(piece)) => pieces.push((run.request, Ok(piece))),
                Some(Err(error)) => {
                    // No other answer to this prompt can be made either.
                    let others = run.others.drain(..);
                    pieces.extend(others.map(|other| (other.request, Err(Error::NotFinite))));
                    pieces.push((run.request, Err(error)));
                    continue;
                }
            }
            if run.place.len() < run.ids.len() {
                continue;
            }
            // Before the first answer goes on, the others begin where it does.
            let first = self.running.len();
            self.begin_others(index)?;
            for run in &mut self.running[first..] {
                let piece = run.go_on(next, &self.stop_ids, self.tokenizer);
                pieces.push((run.request, piece));
            }
            let run = &mut self.running[index];
            let computed = run.place.len();
            let piece = run.go_on(next, &self.stop_ids, self.tokenizer);
            let ends = piece.as_ref().is_ok_and(|piece| piece.finish.is_some());
            if piece.is_ok() && (computed == run.prompt || ends) {
                // Others that begin in the same way find it from here on.
                let ids = &run.ids[..computed];
                self.cache.keep(&run.place, ids, run.adapter.as_deref());
            }
            pieces.push((run.request, piece));
        }
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

    /// What comes behind what running answers have, or behind the next part of their
    /// prompts, and whose it is: one row each, but for prompts of which something is
    /// told. All that are past their prompts go on; the prompts share a pass.
    fn pass(&mut self) -> Result<(Found, Vec<Passed>)> {
        let streams = self.running.iter().any(Running::is_past_its_prompt);
        let tells = self.running.iter().any(Running::tells_prompt);
        let most = prefill(self.model.device(), streams || tells);
        // A row of logits for each token of a prompt takes much memory.
        let shares = self.shares(if tells { most.min(PREFILL_TOLD) } else { most });
        let greedy = self.running.iter().all(Running::is_greedy);
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
        let logits = self.model.logits_of(&hidden)?;
        if greedy {
            let largest = self.model.largest(&logits)?;
            // Where it is forbidden, the next one is wanted.
            let mut all = passed.iter().zip(&largest);
            let forbidden = all.any(|(passed, token)| {
                let run = &self.running[passed.index];
                token.is_some_and(|token| run.forbids(token, &self.stop_ids))
            });
            if !forbidden {
                return Ok((Found::Largest(largest), passed));
            }
        }
        Ok((Found::Logits(logits.to_f32_vec()), passed))
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

    /// Gives a place to those whose turn it is, while there is one. Who has to wait for
    /// much room is not passed by those who need less.
    fn admit(&mut self) {
        let cache = &mut self.cache;
        let mut admit = |waiting: &Waiting| {
            let tokens = waiting.prompt.len() + waiting.answer.sampling.max_new_tokens;
            match waiting.prompt_logprobs {
                // All of the prompt has to be computed.
                Some(_) => cache.reserve(tokens),
                None => {
                    let adapter = waiting.adapter.as_deref();
                    cache.reserve_for(&waiting.prompt, adapter, tokens)
                }
            }
        };
        while let Some((owner, waiting, place)) = self.waiting.next(&mut admit) {
            self.running.push(Running::new(owner, waiting, place));
        }
    }

    /// Begins other answers to the prompt of the running one at `index`, which is through;
    /// they are the last of those that run. For whom there is no room now, or who has to
    /// let others take their turns, the prompt is looked up or computed again later.
    fn begin_others(&mut self, index: usize) -> Result<()> {
        let mut others = std::mem::take(&mut self.running[index].others);
        if others.is_empty() {
            return Ok(());
        }
        let owner = self.running[index].owner;
        let is_alone = !self.waiting.has_others(owner);
        while is_alone && let Some(answer) = others.pop_front() {
            let run = &self.running[index];
            let tokens = run.prompt + answer.sampling.max_new_tokens;
            let Some(place) = self.cache.fork(&run.place, tokens)? else {
                others.push_front(answer);
                break;
            };
            let waiting = Waiting {
                prompt: run.ids[..run.prompt].to_vec(),
                prompt_logprobs: None,
                adapter: run.adapter.clone(),
                answer,
                others: VecDeque::new(),
            };
            self.running.push(Running::new(owner, waiting, place));
        }
        let run = &self.running[index];
        let (prompt, adapter) = (run.ids[..run.prompt].to_vec(), run.adapter.clone());
        self.requeue(owner, prompt, adapter, others);
        Ok(())
    }

    /// Has answers to a prompt wait again.
    fn requeue(
        &mut self,
        owner: u64,
        prompt: Vec<u32>,
        adapter: Option<Arc<Adapter>>,
        mut answers: VecDeque<PendingAnswer>,
    ) {
        if let Some(answer) = answers.pop_front() {
            let number = answer.request;
            let waiting = Waiting {
                prompt,
                // Told already, or whoever asked for it has gone.
                prompt_logprobs: None,
                adapter,
                answer,
                others: answers,
            };
            self.waiting.push(owner, number, waiting);
        }
    }

    /// Gives back the places of answers of which the last piece has come.
    fn release_ended(&mut self, pieces: &[(u64, Result<Piece>)]) {
        let goes_on = |piece: &Result<Piece>| matches!(piece, Ok(piece) if piece.finish.is_none());
        let ended = |run: &Running| {
            let mut pieces = pieces.iter();
            pieces.any(|(request, piece)| *request == run.request && !goes_on(piece))
        };
        for run in self.running.extract_if(.., |run| ended(run)) {
            self.cache.release(run.place);
        }
    }
}

/// What a pass says of the tokens that come next, row by row.
enum Found {
    /// `[rows, V]`.
    Logits(Vec<f32>),
    /// Where each row's largest logit stands, where nothing else is wanted.
    Largest(Vec<Option<u32>>),
}

/// What of a pass belongs to a running answer.
struct Passed {
    index: usize,
    /// The place in prompt and answer of the first token that went through.
    from: usize,
    /// Rows of logits: those behind all the tokens that did, or behind the last.
    rows: usize,
}
