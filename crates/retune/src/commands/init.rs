//! `retune init`: a new model's folder, to be trained from nothing.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::builder::PossibleValuesParser;
use retune_compute::{DType, Device};
use retune_data::{TOKENIZER_FILES, Tokenizer};
use retune_model::{Error, MODEL_TYPES, ModelConfig, NewModel, ShapeOptions};
use serde_json::{Map, Value as Json};

use super::data::input::named;
use crate::builtin;
use crate::numbers::finite;
use crate::outcome::input_fault;
use crate::output::check_new_folder;
use crate::output::thousands;

/// Make a new model: a shape, weights drawn at random, and a tokenizer.
///
/// The folder is one of Hugging Face's: config.json, model.safetensors,
/// generation_config.json and the tokenizer's files. Without options, the model
/// has about six million parameters beside its embedding. Sizes that are not
/// given follow from those that are.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  retune tokenizer train texts/ --output tokenizer --vocab-size 8192
  retune init model --tokenizer tokenizer
  retune init model --tokenizer tokenizer --hidden-size 512 --num-hidden-layers 12")]
pub(crate) struct Args {
    /// The folder to write: a new one, or one that is empty
    folder: PathBuf,

    /// The folder whose tokenizer the model gets
    #[arg(long, value_name = "DIR")]
    tokenizer: PathBuf,

    /// A config.json to take the shape from; sizes that are given beside it replace its own
    #[arg(long, value_name = "FILE", conflicts_with = "model_type")]
    config: Option<PathBuf>,

    /// The architecture [default: qwen3]
    #[arg(long, value_parser = PossibleValuesParser::new(MODEL_TYPES))]
    model_type: Option<String>,

    /// Rows of the embedding [default: as many as the tokenizer has ids]
    #[arg(long, value_name = "N")]
    vocab_size: Option<usize>,

    /// The width of the residual stream [default: 256]
    #[arg(long, value_name = "N")]
    hidden_size: Option<usize>,

    /// The width inside the MLP [default: 8/3 of the hidden size, a multiple of 64]
    #[arg(long, value_name = "N")]
    intermediate_size: Option<usize>,

    /// The number of blocks [default: 8]
    #[arg(long, value_name = "N")]
    num_hidden_layers: Option<usize>,

    /// The number of query heads [default: one for each 64 of the hidden size]
    #[arg(long, value_name = "N")]
    num_attention_heads: Option<usize>,

    /// The number of key and value heads [default: half the query heads, or as many]
    #[arg(long, value_name = "N")]
    num_key_value_heads: Option<usize>,

    /// The size of a head [default: the hidden size over the query heads]
    #[arg(long, value_name = "N")]
    head_dim: Option<usize>,

    /// The longest sequence [default: 2048]
    #[arg(long, value_name = "N")]
    max_position_embeddings: Option<usize>,

    /// The base of the rotary position embedding [default: 10000]
    #[arg(long, value_name = "X", value_parser = finite)]
    rope_theta: Option<f64>,

    /// Whether the head is the embedding [default: true]
    #[arg(long, value_name = "BOOL")]
    tie_word_embeddings: Option<bool>,

    /// The standard deviation of the weights [default: 0.02]
    #[arg(long, value_name = "X", value_parser = finite)]
    initializer_range: Option<f64>,

    /// What the weights are drawn from
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,

    /// The type that the weights are written in
    #[arg(long, default_value = "f32", value_parser = named(&DTYPES))]
    dtype: DType,
}

const DTYPES: [(&str, DType); 2] = [("f32", DType::F32), ("bf16", DType::BF16)];

pub(crate) fn run(args: &Args) -> Result<()> {
    let from = builtin::resolve(&args.tokenizer)?;
    let tokenizer = Tokenizer::open(&from)?;
    let model = NewModel::new(fields(args, &tokenizer)?, tokenizer.vocab_size());
    let model = model.map_err(with_hint)?;
    check_new_folder(&args.folder)?;
    std::fs::create_dir_all(&args.folder).map_err(|error| unwritable(&args.folder, &error))?;
    copy_tokenizer(&from, &args.folder)?;
    model.write(&args.folder, &Device::cpu(), args.seed, args.dtype)?;
    show(args, &model)
}

/// The fields of `config.json`.
fn fields(args: &Args, tokenizer: &Tokenizer) -> Result<Map<String, Json>> {
    let options = ShapeOptions {
        model_type: args.model_type.clone(),
        vocab_size: args.vocab_size.or_else(|| Some(tokenizer.vocab_size())),
        hidden_size: args.hidden_size,
        intermediate_size: args.intermediate_size,
        num_hidden_layers: args.num_hidden_layers,
        num_attention_heads: args.num_attention_heads,
        num_key_value_heads: args.num_key_value_heads,
        head_dim: args.head_dim,
        max_position_embeddings: args.max_position_embeddings,
        rope_theta: args.rope_theta,
        tie_word_embeddings: args.tie_word_embeddings,
        initializer_range: args.initializer_range,
    };
    let mut fields = match &args.config {
        None => options.fields()?,
        Some(path) => {
            let mut fields = read_config(path)?;
            options.replace_in(&mut fields);
            fields
        }
    };
    let stops = tokenizer.stop_tokens().iter();
    let stops: Vec<u32> = stops
        .filter_map(|token| tokenizer.token_id(token))
        .collect();
    let ids = [
        ("bos_token_id", tokenizer.named_token_id("bos_token").into()),
        ("pad_token_id", tokenizer.named_token_id("pad_token").into()),
        (
            "eos_token_id",
            match stops[..] {
                [] => Json::Null,
                [stop] => stop.into(),
                _ => stops.into(),
            },
        ),
    ];
    for (name, id) in ids {
        fields.insert(name.to_owned(), id);
    }
    Ok(fields)
}

fn read_config(path: &Path) -> Result<Map<String, Json>> {
    let fault = |problem: String| input_fault(format!("{} {problem}", path.display()));
    let text =
        std::fs::read_to_string(path).map_err(|error| fault(format!("cannot be read: {error}")))?;
    serde_json::from_str(&text)
        .map_err(|error| fault(format!("is no config.json, a JSON object: {error}")))
}

fn with_hint(error: Error) -> anyhow::Error {
    match error {
        Error::Shape { .. } => input_fault(format!(
            "{error}\nhint: retune init --help says what follows from what"
        )),
        other => other.into(),
    }
}

fn copy_tokenizer(from: &Path, to: &Path) -> Result<()> {
    for name in TOKENIZER_FILES {
        let source = from.join(name);
        if !source.exists() {
            continue;
        }
        let unreadable =
            |error| input_fault(format!("{} cannot be read: {error}", source.display()));
        let bytes = std::fs::read(&source).map_err(unreadable)?;
        let target = to.join(name);
        std::fs::File::create(&target)
            .and_then(|mut file| {
                file.write_all(&bytes)?;
                file.sync_all()
            })
            .map_err(|error| unwritable(&target, &error))?;
    }
    Ok(())
}

fn unwritable(path: &Path, error: &std::io::Error) -> anyhow::Error {
    input_fault(format!("cannot write {}: {error}", path.display()))
}

fn show(args: &Args, model: &NewModel) -> Result<()> {
    let ModelConfig {
        model_type,
        vocab_size,
        hidden_size,
        num_hidden_layers,
        num_attention_heads,
        num_key_value_heads,
        head_dim,
        ..
    } = model.config();
    let parameters = model.config().num_parameters();
    let embedding = (vocab_size * hidden_size) as u64;
    let bytes = parameters * args.dtype.size() as u64;
    let mut out = anstream::stdout().lock();
    writeln!(
        out,
        "model       {model_type}: {num_hidden_layers} layers, {hidden_size} wide; {num_attention_heads} heads of {head_dim}, {num_key_value_heads} of them for keys and values"
    )?;
    writeln!(
        out,
        "parameters  {}, {} of them the embedding of {} tokens",
        thousands(parameters),
        thousands(embedding),
        thousands(*vocab_size as u64)
    )?;
    writeln!(
        out,
        "weights     {:.1} MB, {}, seed {}",
        bytes as f64 / 1e6,
        args.dtype,
        args.seed
    )?;
    writeln!(out, "written to  {}", args.folder.display())?;
    Ok(())
}
