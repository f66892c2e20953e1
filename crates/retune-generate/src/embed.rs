//! Texts as vectors: what is behind a model's last norm.

use std::collections::HashSet;
use std::sync::Arc;

use retune_model::{Adapter, CachedTokens, Decoder, KvCache, NextTokens};

use crate::error::{Error, Result};
use crate::generator::{finite, prefill};
use crate::queue::Queue;

/// What becomes of the vectors of a text's tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// Their mean.
    Mean,
    /// The last one's, which has seen all.
    Last,
}

/// A text that is to become a vector.
#[derive(Debug, Clone)]
pub struct EmbedRequest {
    /// Its tokens.
    pub ids: Vec<u32>,
    /// The adapter that they go through.
    pub adapter: Option<Arc<Adapter>>,
    /// What becomes of their vectors.
    pub pooling: Pooling,
}

/// A text under way.
#[derive(Debug)]
struct Text {
    number: u64,
    request: EmbedRequest,
    place: CachedTokens,
    /// The sum of the vectors so far, or the last of them.
    vector: Vec<f32>,
}

/// Turns texts into vectors, some tokens at a time.
#[derive(Debug)]
pub struct Embedder<'m> {
    model: &'m Decoder,
    /// With their numbers.
    waiting: Queue<(u64, EmbedRequest)>,
    /// Those that go through the model together.
    texts: Vec<Text>,
    /// Their cache, which is as large as they are.
    cache: Option<KvCache>,
    requests: u64,
}

impl<'m> Embedder<'m> {
    /// For the texts that `model` is given.
    pub fn new(model: &'m Decoder) -> Self {
        Self {
            model,
            waiting: Queue::new(),
            texts: Vec::new(),
            cache: None,
            requests: 0,
        }
    }

    /// Takes a text; returned is its number. Owners take turns, as with answers
    /// ([`crate::Generator::add_samples`]).
    ///
    /// # Errors
    /// `EmptyPrompt`, `UnknownToken`, `TooLong`.
    pub fn add(&mut self, request: EmbedRequest, owner: u64) -> Result<u64> {
        request.check(self.model)?;
        self.requests += 1;
        let number = self.requests;
        self.waiting.push(owner, number, (number, request));
        Ok(number)
    }

    /// Forgets the texts whose numbers are `gone`.
    pub fn cancel(&mut self, gone: &HashSet<u64>) {
        self.waiting.retain(|(number, _)| !gone.contains(number));
        self.texts.retain(|text| !gone.contains(&text.number));
        self.forget_cache();
    }

    /// Forgets all texts.
    pub fn clear(&mut self) {
        self.waiting.clear();
        self.texts.clear();
        self.forget_cache();
    }

    fn forget_cache(&mut self) {
        if self.texts.is_empty() {
            self.cache = None;
        }
    }

    /// Whether there is nothing to do.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.texts.is_empty()
    }

    /// One pass of the model, a short one if there are answers `beside` it that wait for
    /// its end. Returned are the vectors of texts that are through (`[C]`, of length 1), or why they have none.
    ///
    /// # Errors
    /// `Model`; then no text can go on.
    pub fn step(&mut self, beside: bool) -> Result<Vec<(u64, Result<Vec<f32>>)>> {
        let tokens = prefill(self.model.device(), beside);
        if self.texts.is_empty() {
            self.begin(tokens)?;
        }
        let Some(cache) = self.cache.as_mut().filter(|_| !self.texts.is_empty()) else {
            return Ok(Vec::new());
        };
        let mut left = tokens;
        let (mut next, mut new) = (Vec::new(), Vec::new());
        for text in &mut self.texts {
            let from = text.place.len();
            let end = text.request.ids.len().min(from + left);
            left -= end - from;
            new.push(end - from);
            if end > from {
                next.push(NextTokens {
                    ids: &text.request.ids[from..end],
                    sequence: &mut text.place,
                    adapter: text.request.adapter.clone(),
                });
            }
        }
        let all: Vec<u32> = (0..new.iter().sum::<usize>() as u32).collect();
        let hidden = self.model.next_hidden(&mut next, &all, cache)?;
        let hidden = hidden.to_f32_vec();
        let mut rows = hidden.chunks_exact(self.model.config().hidden_size);
        for (text, new) in self.texts.iter_mut().zip(new) {
            for row in rows.by_ref().take(new) {
                text.take(row);
            }
        }
        let is_through = |text: &mut Text| text.place.len() == text.request.ids.len();
        let through: Vec<Text> = self.texts.extract_if(.., is_through).collect();
        self.forget_cache();
        let through = through.into_iter();
        Ok(through.map(|text| (text.number, text.finish())).collect())
    }

    /// Those whose turn it is begin: as many as fit into one pass, but at least one.
    fn begin(&mut self, tokens: usize) -> Result<()> {
        let mut taken: Vec<(u64, EmbedRequest)> = Vec::new();
        let mut left = tokens;
        while let Some((_, text, length)) = self.waiting.next(|(_, request)| {
            let length = request.ids.len();
            (length <= left || taken.is_empty()).then_some(length)
        }) {
            left = left.saturating_sub(length);
            taken.push(text);
        }
        if taken.is_empty() {
            return Ok(());
        }
        let lengths = taken.iter().map(|(_, request)| request.ids.len());
        let room = lengths
            .map(|length| length.next_multiple_of(KvCache::BLOCK))
            .sum();
        let mut cache = KvCache::new(self.model, room)?;
        for (number, request) in taken {
            let Some(place) = cache.reserve(request.ids.len()) else {
                break;
            };
            self.texts.push(Text {
                number,
                vector: vec![0.0; self.model.config().hidden_size],
                request,
                place,
            });
        }
        self.cache = Some(cache);
        Ok(())
    }
}

impl EmbedRequest {
    /// Whether `model` can be given the text.
    ///
    /// # Errors
    /// `EmptyPrompt`, `UnknownToken`, `TooLong`.
    pub fn check(&self, model: &Decoder) -> Result<()> {
        let (vocabulary, context) = {
            let config = model.config();
            (config.vocab_size, config.max_position_embeddings)
        };
        if self.ids.is_empty() {
            return Err(Error::EmptyPrompt);
        }
        let mut ids = self.ids.iter();
        if let Some(&id) = ids.find(|id| **id as usize >= vocabulary) {
            return Err(Error::UnknownToken { id, vocabulary });
        }
        match self.ids.len() {
            tokens if tokens > context => Err(Error::TooLong { tokens, context }),
            _ => Ok(()),
        }
    }
}

impl Text {
    fn take(&mut self, row: &[f32]) {
        match self.request.pooling {
            Pooling::Last => self.vector.copy_from_slice(row),
            Pooling::Mean => {
                let sums = self.vector.iter_mut().zip(row);
                sums.for_each(|(sum, value)| *sum += value);
            }
        }
    }

    /// The vector, scaled to length 1, as OpenAI's are.
    fn finish(self) -> Result<Vec<f32>> {
        let squares = self.vector.iter().map(|value| f64::from(*value).powi(2));
        let length = squares.sum::<f64>().sqrt();
        let scale = if length > 0.0 { 1.0 / length } else { 1.0 };
        let scaled = self.vector.iter();
        let scaled: Vec<f32> = scaled
            .map(|value| (f64::from(*value) * scale) as f32)
            .collect();
        finite(&scaled)?;
        Ok(scaled)
    }
}
