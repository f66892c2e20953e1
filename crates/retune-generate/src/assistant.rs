//! A model with its tokenizer, ready to be asked.

use std::path::Path;

use retune_compute::ops::Packing;
use retune_compute::{DType, Device, Tier};
use retune_data::{Conversation, Tokenizer};
use retune_model::{Decoder, LoraConfig, OpenOptions, Tuning};

use crate::error::{Error, Result};
use crate::generator::Request;
use crate::sampling::Sampling;
use crate::source::Source;

/// How a model is opened for generation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AssistantOptions {
    /// The type of products' factors; bf16 where the processor multiplies it.
    pub dtype: Option<DType>,
}

/// A model, its adapter and its tokenizer.
#[derive(Debug)]
pub struct Assistant {
    /// Where they come from.
    pub source: Source,
    /// The model.
    pub model: Decoder,
    /// Its tokenizer and chat template.
    pub tokenizer: Tokenizer,
    /// How its makers would have it sampled.
    pub sampling: Sampling,
}

impl Assistant {
    /// Opens what `source` names.
    ///
    /// # Errors
    /// `File`, `Tokens`, `Model`: what is missing or does not fit.
    pub fn open(source: Source, device: &Device, options: &AssistantOptions) -> Result<Self> {
        let tokenizer =
            Tokenizer::open_with_template_source(&source.model, source.chat_template.clone())?;
        let tuning = match &source.adapter {
            Some(adapter) => Tuning::Lora(LoraConfig::open(adapter)?),
            None => Tuning::Frozen,
        };
        let dtype = options.dtype.unwrap_or(match Tier::best() {
            Tier::Avx512Bf16 => DType::BF16,
            _ => DType::F32,
        });
        let open = OpenOptions {
            dtype,
            packing: Packing::Forward,
            tuning,
            seed: 0,
        };
        let mut model = Decoder::open(&source.model, device, &open)?;
        if let Some(adapter) = &source.adapter {
            model.load_adapter(&weights_of(adapter)?)?;
        }
        Ok(Self {
            sampling: Sampling::of_model(&source.model)?,
            source,
            model,
            tokenizer,
        })
    }

    /// The request to answer `conversation`. Without a system prompt, it gets that of
    /// the training.
    ///
    /// # Errors
    /// `Tokens`: those of the template.
    pub fn request(&self, conversation: Conversation, sampling: Sampling) -> Result<Request> {
        let conversation = conversation.with_default_system(self.source.system.as_deref());
        Ok(Request {
            prompt: self.tokenizer.prompt_ids(&conversation)?,
            sampling,
        })
    }
}

fn weights_of(adapter: &Path) -> Result<std::path::PathBuf> {
    let path = adapter.join("adapter_model.safetensors");
    if path.is_file() {
        return Ok(path);
    }
    let pickled = adapter.join("adapter_model.bin").is_file();
    Err(Error::File {
        path,
        problem: match pickled {
            true => "is missing, and adapter_model.bin is a pickle, which may run anything\nhint: let PEFT save it with safe_serialization=True".to_owned(),
            false => "is missing".to_owned(),
        },
    })
}
