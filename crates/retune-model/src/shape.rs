//! The `config.json` of a model that is to be made.

use serde_json::{Map, Value as Json, json};

use crate::error::{Error, Result};
use crate::registry;

/// What may be said of a new model's shape. What is not follows from the rest,
/// or is that of a small model.
#[derive(Debug, Clone, PartialEq, Default)]
#[allow(missing_docs, reason = "Hugging Face's names, as in ModelConfig")]
pub struct ShapeOptions {
    pub model_type: Option<String>,
    pub vocab_size: Option<usize>,
    pub hidden_size: Option<usize>,
    pub intermediate_size: Option<usize>,
    pub num_hidden_layers: Option<usize>,
    pub num_attention_heads: Option<usize>,
    pub num_key_value_heads: Option<usize>,
    pub head_dim: Option<usize>,
    pub max_position_embeddings: Option<usize>,
    pub rope_theta: Option<f64>,
    pub tie_word_embeddings: Option<bool>,
    pub initializer_range: Option<f64>,
}

impl ShapeOptions {
    /// The fields of `config.json` for a model of about six million parameters
    /// beside its embedding, but for what is said.
    ///
    /// # Errors
    /// `Shape` if `model_type` is not known.
    pub fn fields(&self) -> Result<Map<String, Json>> {
        let model_type = self.model_type.as_deref().unwrap_or("qwen3");
        let architecture = registry::architecture(model_type).map_err(|problem| Error::Shape {
            problems: vec![problem],
        })?;
        // A size of zero is an error of its own, and what follows from it none.
        let hidden_size = self.hidden_size.filter(|size| *size > 0).unwrap_or(256);
        let heads = (hidden_size / 64).max(1);
        let heads = self
            .num_attention_heads
            .filter(|heads| *heads > 0)
            .unwrap_or(heads);
        let kv_heads = if heads.is_multiple_of(2) {
            heads / 2
        } else {
            heads
        };
        let small = json!({
            "architectures": [architecture.class],
            "attention_bias": false,
            "attention_dropout": 0.0,
            "head_dim": hidden_size / heads,
            "hidden_act": "silu",
            "hidden_size": hidden_size,
            "initializer_range": 0.02,
            "intermediate_size": (hidden_size.saturating_mul(8) / 3).div_ceil(64).saturating_mul(64),
            "max_position_embeddings": 2048,
            "mlp_bias": false,
            "model_type": model_type,
            "num_attention_heads": heads,
            "num_hidden_layers": 8,
            "num_key_value_heads": kv_heads,
            "rms_norm_eps": 1e-6,
            "rope_theta": 10000.0,
            // Where it is missing, Mistral has one of 4096.
            "sliding_window": null,
            "tie_word_embeddings": true,
            "use_cache": true,
            "use_sliding_window": false,
        });
        let mut fields = match small {
            Json::Object(fields) => fields,
            _ => unreachable!("an object stands above"),
        };
        self.replace_in(&mut fields);
        Ok(fields)
    }

    /// Puts what is said into the fields of a `config.json`, and leaves the rest.
    pub fn replace_in(&self, fields: &mut Map<String, Json>) {
        let values = [
            ("model_type", self.model_type.as_deref().map(Json::from)),
            ("vocab_size", self.vocab_size.map(Json::from)),
            ("hidden_size", self.hidden_size.map(Json::from)),
            ("intermediate_size", self.intermediate_size.map(Json::from)),
            ("num_hidden_layers", self.num_hidden_layers.map(Json::from)),
            (
                "num_attention_heads",
                self.num_attention_heads.map(Json::from),
            ),
            (
                "num_key_value_heads",
                self.num_key_value_heads.map(Json::from),
            ),
            ("head_dim", self.head_dim.map(Json::from)),
            (
                "max_position_embeddings",
                self.max_position_embeddings.map(Json::from),
            ),
            (
                "tie_word_embeddings",
                self.tie_word_embeddings.map(Json::from),
            ),
            ("initializer_range", self.initializer_range.map(Json::from)),
        ];
        for (name, value) in values {
            if let Some(value) = value {
                fields.insert(name.to_owned(), value);
            }
        }
        if let Some(theta) = self.rope_theta {
            // Newer files have it beside how positions are scaled.
            match fields.get_mut("rope_parameters") {
                Some(Json::Object(rope)) => rope.insert("rope_theta".into(), theta.into()),
                _ => fields.insert("rope_theta".into(), theta.into()),
            };
        }
    }
}

/// The fields that are sizes, and the most that each may be: so that no product
/// of them overflows.
const SIZES: [(&str, u64); 8] = [
    ("vocab_size", 1 << 24),
    ("hidden_size", 1 << 20),
    ("intermediate_size", 1 << 22),
    ("num_hidden_layers", 10_000),
    ("num_attention_heads", 1 << 14),
    ("num_key_value_heads", 1 << 14),
    ("head_dim", 256),
    ("max_position_embeddings", 1 << 31),
];
/// Those that may be missing.
const OPTIONAL: [&str; 2] = ["num_key_value_heads", "head_dim"];

/// All that is wrong with the fields of a new model, whose tokenizer has `ids`.
pub(crate) fn problems(fields: &Map<String, Json>, ids: usize) -> Vec<String> {
    let mut problems = wrong_sizes(fields);
    problems.extend(wrong_together(fields, ids));
    for (name, most) in [
        ("rope_theta", f64::from(f32::MAX)),
        ("rms_norm_eps", 1.0),
        ("initializer_range", 1.0),
    ] {
        let nested = fields
            .get("rope_parameters")
            .and_then(|rope| rope.get(name));
        let value = nested.or(fields.get(name)).filter(|value| !value.is_null());
        let number = value.and_then(Json::as_f64);
        if let Some(found) = value
            && !number.is_some_and(|number| number > 0.0 && number <= most)
        {
            let most = if most > 1.0 {
                String::new()
            } else {
                format!(" and at most {most}")
            };
            problems.push(format!(
                "{name}: expected a number above 0{most}, found {found}"
            ));
        }
    }
    problems
}

/// The sizes that are none, or so large that no model has them.
pub(crate) fn wrong_sizes(fields: &Map<String, Json>) -> Vec<String> {
    let wrong = SIZES
        .iter()
        .filter_map(|(name, most)| wrong_size(fields, name, *most));
    wrong.collect()
}

/// A size, if it is one.
fn size(fields: &Map<String, Json>, name: &str) -> Option<usize> {
    let value = fields.get(name)?.as_u64()?;
    usize::try_from(value).ok().filter(|value| *value > 0)
}

fn wrong_size(fields: &Map<String, Json>, name: &str, most: u64) -> Option<String> {
    let value = fields.get(name).filter(|value| !value.is_null());
    let found = match value {
        None if OPTIONAL.contains(&name) => return None,
        None => "nothing".to_owned(),
        Some(value)
            if value
                .as_u64()
                .is_some_and(|size| (1..=most).contains(&size)) =>
        {
            return None;
        }
        Some(value) => value.to_string(),
    };
    Some(format!(
        "{name}: expected a whole number from 1 to {most}, found {found}"
    ))
}

/// Sizes that do not go together. Those that are wrong alone are left out.
fn wrong_together(fields: &Map<String, Json>, ids: usize) -> Vec<String> {
    let mut problems = Vec::new();
    let size = |name| size(fields, name);
    if let Some(vocabulary) = size("vocab_size").filter(|size| *size < ids) {
        problems.push(format!(
            "vocab_size: expected at least the {ids} of the tokenizer, found {vocabulary}"
        ));
    }
    let heads = size("num_attention_heads");
    if let (Some(heads), Some(kv_heads)) = (heads, size("num_key_value_heads"))
        && !heads.is_multiple_of(kv_heads)
    {
        problems.push(format!(
            "num_key_value_heads: expected a divisor of the {heads} of num_attention_heads, found {kv_heads}"
        ));
    }
    match (size("head_dim"), size("hidden_size"), heads) {
        // Positions turn pairs of numbers.
        (Some(odd), ..) if !odd.is_multiple_of(2) => {
            problems.push(format!("head_dim: expected an even number, found {odd}"));
        }
        (None, Some(hidden_size), Some(heads)) if !hidden_size.is_multiple_of(2 * heads) => {
            problems.push(format!(
                "hidden_size: expected a multiple of twice the {heads} of num_attention_heads where there is no head_dim, found {hidden_size}"
            ));
        }
        _ => {}
    }
    let kinds = fields.get("layer_types").and_then(Json::as_array);
    if let (Some(kinds), Some(layers)) = (kinds, size("num_hidden_layers"))
        && kinds.len() != layers
    {
        problems.push(format!(
            "layer_types: expected one for each of the {layers} layers, found {}",
            kinds.len()
        ));
    }
    problems
}
