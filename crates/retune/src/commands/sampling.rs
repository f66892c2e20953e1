//! How answers are sampled: options that `generate` and `chat` have in common.

use std::path::{Path, PathBuf};

use anyhow::Result;
use retune_compute::{CpuOptions, DType, Device};
use retune_generate::{Assistant, AssistantOptions, Sampling, Source};

use crate::outcome::input_fault;

/// Which model, and how it is opened.
#[derive(clap::Args)]
pub(crate) struct ModelArgs {
    /// A model's folder, an adapter's, or a run's (its best checkpoint, or else its last)
    folder: PathBuf,
    /// The base model of an adapter, if it is not where the adapter says
    #[arg(long, value_name = "FOLDER")]
    model: Option<PathBuf>,
    /// Threads [default: the machine's cores]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// The type of products' factors [default: bf16 where the processor multiplies it]
    #[arg(long, value_name = "TYPE")]
    precision: Option<Type>,
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
        self.open_folder(&self.folder)
    }

    /// How the model's makers would have it sampled, without opening it.
    pub(crate) fn sampling(&self) -> Result<Sampling> {
        let source = Source::find(&self.folder, self.model.as_deref())?;
        Ok(Sampling::of_model(&source.model)?)
    }

    /// Opens another folder in the same way.
    pub(crate) fn open_folder(&self, folder: &Path) -> Result<Assistant> {
        let source = Source::find(folder, self.model.as_deref())?;
        let device = Device::cpu_with(&CpuOptions {
            threads: self.threads,
            ..CpuOptions::default()
        })?;
        let options = AssistantOptions {
            dtype: self.precision.map(DType::from),
        };
        Ok(Assistant::open(source, &device, &options)?)
    }
}

/// Settings of generation, which go over the model's own.
#[derive(clap::Args, Clone, Default)]
#[command(next_help_heading = "Sampling")]
pub(crate) struct SamplingArgs {
    /// Take the most likely token each time
    #[arg(long)]
    greedy: bool,
    /// Draw the next token; given by itself with one of the next four
    #[arg(long = "do_sample", alias = "do-sample", conflicts_with = "greedy")]
    do_sample: bool,
    /// Above 1 answers vary more, below 1 less; 0 is greedy
    #[arg(long, value_name = "NUMBER")]
    temperature: Option<f64>,
    /// Draw from the N most likely tokens; 0 for all
    #[arg(long = "top_k", alias = "top-k", value_name = "N")]
    top_k: Option<usize>,
    /// Draw from the most likely tokens that have this probability together
    #[arg(long = "top_p", alias = "top-p", value_name = "SHARE")]
    top_p: Option<f64>,
    /// Draw from tokens at least this likely beside the most likely one
    #[arg(long = "min_p", alias = "min-p", value_name = "SHARE")]
    min_p: Option<f64>,
    /// Make tokens of prompt and answer less likely; 1 is off
    #[arg(
        long = "repetition_penalty",
        alias = "repetition-penalty",
        value_name = "NUMBER"
    )]
    repetition_penalty: Option<f64>,
    /// Taken from a token's logit for each time it stands in the answer
    #[arg(
        long = "frequency_penalty",
        alias = "frequency-penalty",
        value_name = "NUMBER",
        allow_hyphen_values = true
    )]
    frequency_penalty: Option<f64>,
    /// Taken from the logits of all tokens that stand in the answer
    #[arg(
        long = "presence_penalty",
        alias = "presence-penalty",
        value_name = "NUMBER",
        allow_hyphen_values = true
    )]
    presence_penalty: Option<f64>,
    /// No N tokens come twice in this order; 0 is off
    #[arg(
        long = "no_repeat_ngram_size",
        alias = "no-repeat-ngram-size",
        value_name = "N"
    )]
    no_repeat_ngram_size: Option<usize>,
    /// The least tokens of an answer
    #[arg(long = "min_new_tokens", alias = "min-new-tokens", value_name = "N")]
    min_new_tokens: Option<usize>,
    /// The most tokens of an answer
    #[arg(long = "max_new_tokens", alias = "max-new-tokens", value_name = "N")]
    max_new_tokens: Option<usize>,
    /// A text at which the answer ends; may be given several times
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
    /// What random choices are drawn from
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

impl SamplingArgs {
    /// These settings over `model`'s.
    pub(crate) fn over(&self, model: &Sampling) -> Result<Sampling> {
        let sampled = self.do_sample
            || self.temperature.is_some()
            || self.top_k.is_some()
            || self.top_p.is_some()
            || self.min_p.is_some();
        let sampling = Sampling {
            do_sample: !self.greedy && (sampled || model.do_sample),
            temperature: self.temperature.unwrap_or(model.temperature),
            top_k: self.top_k.unwrap_or(model.top_k),
            top_p: self.top_p.unwrap_or(model.top_p),
            min_p: self.min_p.unwrap_or(model.min_p),
            repetition_penalty: self.repetition_penalty.unwrap_or(model.repetition_penalty),
            frequency_penalty: self.frequency_penalty.unwrap_or(model.frequency_penalty),
            presence_penalty: self.presence_penalty.unwrap_or(model.presence_penalty),
            no_repeat_ngram_size: self
                .no_repeat_ngram_size
                .unwrap_or(model.no_repeat_ngram_size),
            min_new_tokens: self.min_new_tokens.unwrap_or(model.min_new_tokens),
            max_new_tokens: self.max_new_tokens.unwrap_or(model.max_new_tokens),
            stop: self.stop.clone(),
            seed: self.seed.unwrap_or(model.seed),
            ..model.clone()
        };
        sampling.check()?;
        Ok(sampling)
    }
}

/// Changes one setting by its name.
pub(crate) fn set(sampling: &mut Sampling, name: &str, value: &str) -> Result<()> {
    fn parsed<T: std::str::FromStr>(name: &str, value: &str) -> Result<T> {
        value
            .parse()
            .map_err(|_| input_fault(format!("{name}: {value:?} is no such number")))
    }
    let mut changed = sampling.clone();
    match name {
        "do_sample" => changed.do_sample = parsed(name, value)?,
        "temperature" => {
            changed.temperature = parsed(name, value)?;
            changed.do_sample = changed.temperature > 0.0;
        }
        "top_k" => changed.top_k = parsed(name, value)?,
        "top_p" => changed.top_p = parsed(name, value)?,
        "min_p" => changed.min_p = parsed(name, value)?,
        "repetition_penalty" => changed.repetition_penalty = parsed(name, value)?,
        "frequency_penalty" => changed.frequency_penalty = parsed(name, value)?,
        "presence_penalty" => changed.presence_penalty = parsed(name, value)?,
        "no_repeat_ngram_size" => changed.no_repeat_ngram_size = parsed(name, value)?,
        "min_new_tokens" => changed.min_new_tokens = parsed(name, value)?,
        "max_new_tokens" => changed.max_new_tokens = parsed(name, value)?,
        "seed" => changed.seed = parsed(name, value)?,
        _ => {
            return Err(input_fault(format!(
                "there is no setting {name}; there are do_sample, temperature, top_k, top_p, min_p, repetition_penalty, frequency_penalty, presence_penalty, no_repeat_ngram_size, min_new_tokens, max_new_tokens, seed"
            )));
        }
    }
    changed.check()?;
    *sampling = changed;
    Ok(())
}
