//! How answers are sampled: options that `generate` and `chat` have in common.

use std::path::{Path, PathBuf};

use anyhow::Result;
use retune_compute::{CpuOptions, CudaOptions, DType, DeviceChoice};
use retune_generate::{Assistant, AssistantOptions, Sampling, Source};
use retune_model::Weights;
use retune_train::config::{DEVICES, device_choice};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value as Json};

use crate::builtin;
use crate::numbers::{finite, within};
use crate::output::{gpu_refused, kernel_folder};

/// Which model, and how it is opened.
#[derive(clap::Args)]
pub(crate) struct ModelArgs {
    /// A model's folder, an adapter's, or a run's (its best checkpoint, or else its last)
    folder: PathBuf,
    #[command(flatten)]
    open: OpenArgs,
}

/// How models are opened.
#[derive(clap::Args)]
pub(crate) struct OpenArgs {
    /// The base model of an adapter, if it is not where the adapter says
    #[arg(long, value_name = "FOLDER")]
    model: Option<PathBuf>,
    /// Where to compute: auto, cpu, cuda or cuda:N, an NVIDIA GPU
    #[arg(long, value_name = "NAME", default_value = "auto", value_parser = named_device)]
    device: DeviceChoice,
    /// Threads [default: the machine's cores]
    #[arg(long, value_name = "N", value_parser = within::<usize>(1..=1024))]
    threads: Option<usize>,
    /// The type of products' factors [default: bf16 where the device multiplies it, and for
    /// answers where the weights are stored in it]
    #[arg(long, value_name = "TYPE")]
    precision: Option<Type>,
    /// What the chat template gets beside the messages, as JSON: {"enable_thinking": false}
    #[arg(long = "chat_template_kwargs", alias = "chat-template-kwargs", value_name = "JSON", value_parser = json_object)]
    chat_template_kwargs: Option<Map<String, Json>>,
}

fn json_object(text: &str) -> std::result::Result<Map<String, Json>, String> {
    serde_json::from_str(text).map_err(|error| format!("expected a JSON object: {error}"))
}

/// An element type, as it is named on the command line.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum Type {
    F32,
    Bf16,
}

impl From<Type> for DType {
    fn from(named: Type) -> Self {
        match named {
            Type::F32 => Self::F32,
            Type::Bf16 => Self::BF16,
        }
    }
}

impl ModelArgs {
    /// Opens the model.
    pub(crate) fn open(&self) -> Result<Assistant> {
        self.open_source(self.open.source(&self.folder)?)
    }

    /// How the model's makers would have it sampled, without opening it.
    pub(crate) fn sampling(&self) -> Result<Sampling> {
        Ok(Sampling::of_model(&self.open.source(&self.folder)?.model)?)
    }

    /// What another folder holds.
    pub(crate) fn source(&self, folder: &Path) -> Result<Source> {
        self.open.one_of_several(folder)
    }

    /// Opens that in the same way.
    pub(crate) fn open_source(&self, source: Source) -> Result<Assistant> {
        self.open.open_to_answer(source, Sampling::default())
    }
}

impl OpenArgs {
    /// What `folder` holds, as one of several: the base model that is named is that of
    /// those which are adapters.
    pub(crate) fn one_of_several(&self, folder: &Path) -> Result<Source> {
        match builtin::find(folder, None) {
            Ok(source) if source.adapter.is_none() => Ok(source),
            _ => self.source(folder),
        }
    }

    /// What `folder` holds.
    pub(crate) fn source(&self, folder: &Path) -> Result<Source> {
        let source = builtin::find(folder, self.model.as_deref())?;
        // What the adapter names itself is not read for this.
        if let (Some(adapter), Some(_)) = (&source.adapter, &self.model) {
            retune_train::check_adapter_base(adapter, &source.model)?;
        }
        Ok(source)
    }

    /// Opens what was found, to be measured: in the type that training has.
    pub(crate) fn open(&self, source: Source) -> Result<Assistant> {
        self.opened(source, self.precision.map(DType::from), Sampling::default())
    }

    /// Opens what was found, to be talked to, with `sampling` where `generation_config.json`
    /// says nothing. Weights that are stored in bf16 are read in it by every device: an answer
    /// is bound by reading them.
    pub(crate) fn open_to_answer(&self, source: Source, sampling: Sampling) -> Result<Assistant> {
        let dtype = match self.precision {
            Some(named) => Some(named.into()),
            None => {
                let stored = Weights::open(&source.model)?.dtype();
                (stored == DType::BF16).then_some(stored)
            }
        };
        self.opened(source, dtype, sampling)
    }

    fn opened(
        &self,
        source: Source,
        dtype: Option<DType>,
        sampling: Sampling,
    ) -> Result<Assistant> {
        let cpu = CpuOptions {
            threads: self.threads,
            ..CpuOptions::default()
        };
        let cuda = CudaOptions {
            cache: kernel_folder(),
            ..CudaOptions::default()
        };
        let device = self.device.open(&cpu, &cuda, gpu_refused)?;
        let options = AssistantOptions {
            dtype,
            sampling,
            template_arguments: self.chat_template_kwargs.clone().unwrap_or_default(),
        };
        Ok(Assistant::open(source, &device, &options)?)
    }
}

/// Settings of generation, which go over the model's own.
#[derive(clap::Args, Serialize)]
#[command(next_help_heading = "Sampling")]
pub(crate) struct SamplingArgs {
    /// Take the most likely token each time
    #[arg(long, conflicts_with_all = ["temperature", "top_k", "top_p", "min_p"])]
    #[serde(skip)]
    greedy: bool,
    /// Draw the next token; goes without saying with one of the next four
    #[arg(long = "do_sample", alias = "do-sample", conflicts_with = "greedy")]
    #[serde(skip)]
    do_sample: bool,
    /// Above 1 answers vary more, below 1 less; 0 is greedy
    #[arg(long, value_name = "NUMBER", value_parser = finite)]
    temperature: Option<f64>,
    /// Draw from the N most likely tokens; 0 for all
    #[arg(long = "top_k", alias = "top-k", value_name = "N")]
    top_k: Option<usize>,
    /// Draw from the most likely tokens that have this probability together
    #[arg(long = "top_p", alias = "top-p", value_name = "SHARE", value_parser = finite)]
    top_p: Option<f64>,
    /// Draw from tokens at least this likely beside the most likely one
    #[arg(long = "min_p", alias = "min-p", value_name = "SHARE", value_parser = finite)]
    min_p: Option<f64>,
    /// Make tokens of prompt and answer less likely; 1 is off
    #[arg(
        long = "repetition_penalty",
        alias = "repetition-penalty",
        value_name = "NUMBER",
        value_parser = finite
    )]
    repetition_penalty: Option<f64>,
    /// Taken from a token's logit for each time it stands in the answer
    #[arg(
        long = "frequency_penalty",
        alias = "frequency-penalty",
        value_name = "NUMBER",
        value_parser = finite
    )]
    frequency_penalty: Option<f64>,
    /// Taken from the logits of all tokens that stand in the answer
    #[arg(
        long = "presence_penalty",
        alias = "presence-penalty",
        value_name = "NUMBER",
        value_parser = finite
    )]
    presence_penalty: Option<f64>,
    /// Make phrases that the answer said before less likely; 0 is off, 0.8 is usual
    #[arg(
        long = "dry_multiplier",
        alias = "dry-multiplier",
        value_name = "NUMBER",
        value_parser = finite
    )]
    dry_multiplier: Option<f64>,
    /// How fast that grows with the phrase's length
    #[arg(long = "dry_base", alias = "dry-base", value_name = "NUMBER", value_parser = finite)]
    dry_base: Option<f64>,
    /// Phrases of fewer tokens may come again
    #[arg(
        long = "dry_allowed_length",
        alias = "dry-allowed-length",
        value_name = "N"
    )]
    dry_allowed_length: Option<usize>,
    /// No N tokens come twice in this order; 0 is off
    #[arg(
        long = "no_repeat_ngram_size",
        alias = "no-repeat-ngram-size",
        value_name = "N"
    )]
    no_repeat_ngram_size: Option<usize>,
    /// Add to a token's logit: a token's number, a colon, a number
    #[arg(
        long = "logit_bias",
        alias = "logit-bias",
        value_name = "ID:NUMBER",
        value_parser = bias,
        allow_hyphen_values = true
    )]
    #[serde(serialize_with = "as_record")]
    logit_bias: Vec<(u32, f64)>,
    /// The least tokens of an answer
    #[arg(long = "min_new_tokens", alias = "min-new-tokens", value_name = "N")]
    min_new_tokens: Option<usize>,
    /// The most tokens of an answer
    #[arg(long = "max_new_tokens", alias = "max-new-tokens", value_name = "N")]
    max_new_tokens: Option<usize>,
    /// A text at which the answer ends; may be given several times
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
    /// The number of a token at which the answer ends; may be given several times
    #[arg(long = "stop_token_ids", alias = "stop-token-ids", value_name = "ID")]
    stop_token_ids: Vec<u32>,
    /// End an answer that says a phrase N times in a row; 0 is off
    #[arg(
        long = "max_phrase_repeats",
        alias = "max-phrase-repeats",
        value_name = "N"
    )]
    max_phrase_repeats: Option<usize>,
    /// What random choices are drawn from
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

impl SamplingArgs {
    /// These settings over `model`'s.
    pub(crate) fn over(&self, model: &Sampling) -> Result<Sampling> {
        let mut given = match serde_json::to_value(self)? {
            Json::Object(given) => given,
            _ => Map::new(),
        };
        given.retain(|_, value| match value {
            Json::Null => false,
            Json::Array(items) => !items.is_empty(),
            Json::Object(items) => !items.is_empty(),
            _ => true,
        });
        if self.greedy || self.do_sample {
            given.insert("do_sample".to_owned(), self.do_sample.into());
        }
        Ok(model.with(&given)?)
    }

    /// Whether they ask for tokens to be drawn.
    pub(crate) fn draws(&self) -> bool {
        let drawn = [self.temperature, self.top_p, self.min_p];
        self.do_sample || self.top_k.is_some() || drawn.iter().any(Option::is_some)
    }

    /// Whether they ask for an end of answers that loop.
    pub(crate) fn ends_loops(&self) -> bool {
        self.max_phrase_repeats.is_some_and(|repeats| repeats > 0)
    }
}

fn named_device(text: &str) -> std::result::Result<DeviceChoice, String> {
    device_choice(text).map_err(|hint| format!("expected {DEVICES}; {hint}"))
}

fn bias(text: &str) -> std::result::Result<(u32, f64), String> {
    let parts = text.split_once(':');
    let parsed = parts.and_then(|(id, bias)| Some((id.parse().ok()?, finite(bias).ok()?)));
    parsed
        .ok_or_else(|| "expected a token's number, a colon and a number, such as 42:-5".to_owned())
}

fn as_record<S: Serializer>(
    pairs: &[(u32, f64)],
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_map(pairs.iter().copied())
}
