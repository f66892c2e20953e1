//! `config.json`, as Hugging Face writes it.

use std::path::{Path, PathBuf};

use retune_compute::ops::{RopeConfig, RopeScaling};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value as Json};

use crate::error::{Error, Result};
use crate::{registry, shape};

/// The shape of a decoder, in Hugging Face's words.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// The architecture: `qwen2`, `qwen3`, `llama`, `mistral`.
    pub model_type: String,
    /// `V`, the number of tokens.
    pub vocab_size: usize,
    /// `C`, the width of the residual stream.
    pub hidden_size: usize,
    /// The width inside the MLP.
    pub intermediate_size: usize,
    /// The number of blocks.
    pub num_hidden_layers: usize,
    /// `H`, the number of query heads.
    pub num_attention_heads: usize,
    /// `KV`, the number of key and value heads.
    pub num_key_value_heads: usize,
    /// `D`, the size of a head.
    pub head_dim: usize,
    /// The epsilon of all norms.
    pub rms_norm_eps: f32,
    /// How positions are encoded.
    pub rope: RopeConfig,
    /// Whether the head is the embedding.
    pub tie_word_embeddings: bool,
    /// Whether `q_proj`, `k_proj` and `v_proj` have a bias.
    pub qkv_bias: bool,
    /// Whether `o_proj` has a bias.
    pub o_bias: bool,
    /// Whether the MLP's projections have a bias.
    pub mlp_bias: bool,
    /// Whether queries and keys are normed by head.
    pub qk_norm: bool,
    /// How many keys a query sees at most, by layer.
    pub sliding_window: Vec<Option<usize>>,
    /// The longest sequence that the model was made for.
    pub max_position_embeddings: usize,
}

/// The fields as they stand in the file.
#[derive(Deserialize)]
pub(crate) struct RawConfig {
    pub(crate) model_type: String,
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    hidden_act: Option<String>,
    rms_norm_eps: Option<f32>,
    rope_theta: Option<f32>,
    rope_scaling: Option<RawRope>,
    rope_parameters: Option<RawRope>,
    tie_word_embeddings: Option<bool>,
    pub(crate) attention_bias: Option<bool>,
    pub(crate) mlp_bias: Option<bool>,
    /// Missing is not `null`: one is the architecture's own window, the other none.
    #[serde(default, deserialize_with = "present")]
    pub(crate) sliding_window: Option<Option<usize>>,
    pub(crate) use_sliding_window: Option<bool>,
    pub(crate) max_window_layers: Option<usize>,
    pub(crate) layer_types: Option<Vec<String>>,
    max_position_embeddings: usize,
}

fn present<'de, D, T>(deserializer: D) -> std::result::Result<Option<Option<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::deserialize(deserializer).map(Some)
}

#[derive(Deserialize)]
struct RawRope {
    rope_type: Option<String>,
    /// Its name in older files; some have both.
    #[serde(rename = "type")]
    old_type: Option<String>,
    rope_theta: Option<f32>,
    factor: Option<f32>,
    low_freq_factor: Option<f32>,
    high_freq_factor: Option<f32>,
    original_max_position_embeddings: Option<usize>,
    beta_fast: Option<f32>,
    beta_slow: Option<f32>,
    attention_factor: Option<f32>,
    truncate: Option<bool>,
}

impl ModelConfig {
    /// Reads `config.json` of a model's folder.
    ///
    /// # Errors
    /// `File` if it is missing or no such configuration, `Config` if it asks for
    /// what is not supported.
    pub fn open(folder: &Path) -> Result<Self> {
        let path = folder.join("config.json");
        let text = std::fs::read_to_string(&path).map_err(|error| Error::File {
            path: path.clone(),
            problem: format!("cannot be read: {error}"),
        })?;
        Self::parse(&text, path)
    }

    pub(crate) fn parse(text: &str, path: PathBuf) -> Result<Self> {
        let unsupported = |problem: String| Error::Config {
            path: path.clone(),
            problem,
        };
        let invalid = |error: serde_json::Error| unsupported(error.to_string());
        let fields: Map<String, Json> = serde_json::from_str(text).map_err(invalid)?;
        let model_type = fields.get("model_type").and_then(Json::as_str);
        let model_type = model_type.ok_or_else(|| {
            let known = registry::MODEL_TYPES.join(", ");
            unsupported(format!("expected a model_type, one of {known}; found none"))
        })?;
        let architecture = registry::architecture(model_type).map_err(unsupported)?;
        let sizes = shape::wrong_sizes(&fields);
        if !sizes.is_empty() {
            return Err(unsupported(sizes.join("; ")));
        }
        // From the text, whose lines errors name.
        let raw: RawConfig = serde_json::from_str(text).map_err(invalid)?;
        let act = raw.hidden_act.as_deref().unwrap_or("silu");
        if act != "silu" {
            return Err(unsupported(format!(
                "expected hidden_act silu, found {act}"
            )));
        }
        let heads = raw.num_attention_heads;
        let kv_heads = raw.num_key_value_heads.unwrap_or(heads);
        if heads == 0 || kv_heads == 0 || !heads.is_multiple_of(kv_heads) {
            return Err(unsupported(format!(
                "expected num_attention_heads to be a multiple of num_key_value_heads, found {heads} and {kv_heads}"
            )));
        }
        let head_dim = raw.head_dim.unwrap_or(raw.hidden_size / heads);
        if raw.sliding_window == Some(Some(0)) {
            return Err(unsupported(
                "expected a sliding_window of at least 1, or null, found 0".to_owned(),
            ));
        }
        let rope = rope(&raw, head_dim).map_err(unsupported)?;
        rope.inverse_frequencies()
            .map_err(|error| unsupported(error.to_string()))?;
        let config = Self {
            vocab_size: raw.vocab_size,
            hidden_size: raw.hidden_size,
            intermediate_size: raw.intermediate_size,
            num_hidden_layers: raw.num_hidden_layers,
            num_attention_heads: heads,
            num_key_value_heads: kv_heads,
            head_dim,
            rms_norm_eps: raw.rms_norm_eps.unwrap_or(1e-6),
            rope,
            tie_word_embeddings: raw.tie_word_embeddings.unwrap_or(false),
            qkv_bias: (architecture.qkv_bias)(&raw),
            o_bias: (architecture.o_bias)(&raw),
            mlp_bias: raw.mlp_bias.unwrap_or(false),
            qk_norm: architecture.qk_norm,
            sliding_window: (architecture.sliding_window)(&raw, raw.num_hidden_layers),
            max_position_embeddings: raw.max_position_embeddings,
            model_type: raw.model_type,
        };
        Ok(config)
    }
}

/// How positions are encoded: `rope_parameters`, or `rope_theta` and
/// `rope_scaling` as older files have them.
fn rope(raw: &RawConfig, head_dim: usize) -> std::result::Result<RopeConfig, String> {
    let given = raw.rope_parameters.as_ref().or(raw.rope_scaling.as_ref());
    let theta = given.and_then(|rope| rope.rope_theta).or(raw.rope_theta);
    let name = given.and_then(|rope| rope.rope_type.as_deref().or(rope.old_type.as_deref()));
    let needed = |value: Option<f32>, field: &str| {
        value.ok_or_else(|| format!("rope scaling {} needs {field}", name.unwrap_or("default")))
    };
    let scaling = match (name.unwrap_or("default"), given) {
        ("default", _) | (_, None) => RopeScaling::Default,
        ("linear", Some(rope)) => RopeScaling::Linear {
            factor: needed(rope.factor, "factor")?,
        },
        ("llama3", Some(rope)) => RopeScaling::Llama3 {
            factor: needed(rope.factor, "factor")?,
            low_freq_factor: needed(rope.low_freq_factor, "low_freq_factor")?,
            high_freq_factor: needed(rope.high_freq_factor, "high_freq_factor")?,
            original_max_position_embeddings: rope
                .original_max_position_embeddings
                .unwrap_or(raw.max_position_embeddings),
        },
        ("yarn", Some(rope)) => RopeScaling::Yarn {
            factor: needed(rope.factor, "factor")?,
            original_max_position_embeddings: rope
                .original_max_position_embeddings
                .unwrap_or(raw.max_position_embeddings),
            beta_fast: rope.beta_fast.unwrap_or(32.0),
            beta_slow: rope.beta_slow.unwrap_or(1.0),
            attention_factor: rope.attention_factor,
            truncate: rope.truncate.unwrap_or(true),
        },
        (other, _) => {
            return Err(format!(
                "expected a rope scaling default, linear, llama3 or yarn, found {other}"
            ));
        }
    };
    Ok(RopeConfig {
        head_dim,
        rope_theta: theta.unwrap_or(10_000.0),
        scaling,
    })
}
