//! A model with its tokenizer, ready to be asked.

use std::sync::{Arc, OnceLock};

use retune_compute::ops::Packing;
use retune_compute::{DType, Device};
use retune_data::{Conversation, Tokenizer};
use retune_model::{Adapter, Decoder, KvCache, OpenOptions, Tuning};
use serde_json::{Map, Value as Json};

use crate::error::Result;
use crate::generator::{Generator, Request};
use crate::grammar::Grammars;
use crate::sampling::Sampling;
use crate::source::Source;

/// How a model is opened for generation.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AssistantOptions {
    /// The type of products' factors; bf16 where the device multiplies it.
    pub dtype: Option<DType>,
    /// How answers are sampled where the model's `generation_config.json` says nothing.
    pub sampling: Sampling,
    /// What chat templates get beside a conversation, such as Qwen3's `enable_thinking`.
    pub template_arguments: Map<String, Json>,
}

/// A model, its adapter and its tokenizer.
#[derive(Debug)]
pub struct Assistant {
    /// Where they come from.
    pub source: Source,
    /// The model, which several of these may have.
    pub model: Arc<Decoder>,
    /// The adapter that answers.
    pub adapter: Option<Arc<Adapter>>,
    /// Its tokenizer and chat template.
    pub tokenizer: Arc<Tokenizer>,
    /// How its makers would have it sampled.
    pub sampling: Sampling,
    /// What its chat template gets beside a conversation.
    pub template_arguments: Map<String, Json>,
    /// Made when the first is asked for, and had by all that have the model.
    grammars: Arc<OnceLock<Grammars>>,
}

impl Assistant {
    /// Opens what `source` names.
    ///
    /// # Errors
    /// `File`, `Tokens`, `Model`: what is missing or does not fit.
    pub fn open(source: Source, device: &Device, options: &AssistantOptions) -> Result<Self> {
        let tokenizer =
            Tokenizer::open_with_template_source(&source.model, source.chat_template.clone())?;
        let dtype = options.dtype.unwrap_or(match device.has_bf16_products() {
            true => DType::BF16,
            false => DType::F32,
        });
        let open = OpenOptions {
            dtype,
            packing: Packing::Compressed,
            tuning: Tuning::Frozen,
            seed: 0,
        };
        let model = Decoder::open(&source.model, device, &open)?;
        Ok(Self {
            sampling: options.sampling.over_model(&source.model)?,
            template_arguments: options.template_arguments.clone(),
            adapter: adapter_of(&source, &model)?,
            source,
            model: Arc::new(model),
            tokenizer: Arc::new(tokenizer),
            grammars: Arc::default(),
        })
    }

    /// Goes on with what `source` names, if that is another adapter of the same model;
    /// the model stays. Else nothing is changed, and the answer is `false`.
    ///
    /// # Errors
    /// As `open`; then nothing is changed.
    pub fn switch(&mut self, source: &Source) -> Result<bool> {
        let other = self.beside(source)?;
        let switched = other.is_some();
        if let Some(other) = other {
            *self = other;
        }
        Ok(switched)
    }

    /// What `source` names, if that is another adapter of the same model, which both
    /// have then.
    ///
    /// # Errors
    /// As `open`.
    pub fn beside(&self, source: &Source) -> Result<Option<Self>> {
        if source.model != self.source.model {
            return Ok(None);
        }
        Ok(Some(Self {
            tokenizer: Arc::new(Tokenizer::open_with_template_source(
                &source.model,
                source.chat_template.clone(),
            )?),
            adapter: adapter_of(source, &self.model)?,
            model: Arc::clone(&self.model),
            sampling: self.sampling.clone(),
            template_arguments: self.template_arguments.clone(),
            source: source.clone(),
            grammars: Arc::clone(&self.grammars),
        }))
    }

    /// What makes grammars for its answers.
    ///
    /// # Errors
    /// `Grammar` if the tokenizer is not fit for them.
    pub fn grammars(&self) -> Result<&Grammars> {
        if let Some(grammars) = self.grammars.get() {
            return Ok(grammars);
        }
        let made = Grammars::new(&self.tokenizer, self.model.config().vocab_size)?;
        Ok(self.grammars.get_or_init(|| made))
    }

    /// The request to answer `conversation`. Without a system prompt, it gets that of
    /// the training.
    ///
    /// # Errors
    /// `Tokens`: those of the template.
    pub fn request(&self, conversation: Conversation, sampling: Sampling) -> Result<Request> {
        self.request_with(conversation, &Map::new(), sampling)
    }

    /// The same, where the chat template gets `arguments` too.
    ///
    /// # Errors
    /// `Tokens`: those of the template.
    pub fn request_with(
        &self,
        conversation: Conversation,
        arguments: &Map<String, Json>,
        sampling: Sampling,
    ) -> Result<Request> {
        let system = self.source.system.as_deref();
        // Without a template, it has no place.
        let system = system.filter(|_| self.tokenizer.has_template());
        Ok(Request {
            prompt: self.prompt_ids(&conversation.with_default_system(system), arguments)?,
            adapter: self.adapter.clone(),
            sampling,
            grammar: None,
            prompt_logprobs: None,
        })
    }

    /// What answers `request`, with just the room that it takes.
    ///
    /// # Errors
    /// Those of [`Request::check`]; `Model` if memory runs out.
    pub fn generator_for(&self, request: &Request) -> Result<Generator<'_>> {
        let tokens = request.prompt.len() + request.check(&self.model, usize::MAX)?;
        Generator::new(&self.model, &self.tokenizer, tokens)
    }

    /// The same in the cache of a generator of before, as long as it has the room: what stands
    /// there of the request's beginning is not computed again. Else in a new one, with room for
    /// requests that go on with this one.
    ///
    /// # Errors
    /// As for `generator_for`.
    pub fn generator_in(&self, cache: Option<KvCache>, request: &Request) -> Result<Generator<'_>> {
        /// Some turns of a conversation.
        const LEAST: usize = 2048;
        let tokens = request.prompt.len() + request.check(&self.model, usize::MAX)?;
        let cache = match cache.filter(|cache| cache.free_tokens() >= tokens) {
            Some(cache) => cache,
            None => KvCache::new(&self.model, tokens.next_power_of_two().max(LEAST))?,
        };
        Ok(Generator::with_cache(&self.model, &self.tokenizer, cache))
    }

    /// What the model is given of `conversation`; its template gets `arguments`, over those
    /// that it was opened with.
    ///
    /// # Errors
    /// `Tokens`: those of the template.
    pub fn prompt_ids(
        &self,
        conversation: &Conversation,
        arguments: &Map<String, Json>,
    ) -> Result<Vec<u32>> {
        let mut all = self.template_arguments.clone();
        all.extend(arguments.clone());
        Ok(self.tokenizer.prompt_ids(conversation, &all)?)
    }
}

fn adapter_of(source: &Source, model: &Decoder) -> Result<Option<Arc<Adapter>>> {
    let adapter = source.adapter.as_ref();
    let opened = adapter.map(|folder| Adapter::open(folder, model).map(Arc::new));
    Ok(opened.transpose()?)
}
