//! `adapter_config.json`, as PEFT writes it.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Which linear layers get LoRA.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum TargetModules {
    /// One name, or `all-linear`.
    Name(String),
    /// The last parts of their names, such as `q_proj` or `layers.0.self_attn.q_proj`.
    Names(Vec<String>),
}

impl TargetModules {
    /// Whether the layer of that name (`model.layers.0.mlp.up_proj`) is meant.
    pub(crate) fn contains(&self, layer: &str) -> bool {
        let meant = |name: &String| {
            let before = layer.strip_suffix(name.as_str());
            before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
        };
        match self {
            Self::Name(name) => name == "all-linear" || meant(name),
            Self::Names(names) => names.iter().any(meant),
        }
    }
}

/// LoRA's settings, in PEFT's words.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoraConfig {
    /// The rank.
    pub r: usize,
    /// The term's factor is this over `r`.
    pub lora_alpha: f32,
    /// The share of inputs that training leaves out.
    #[serde(default)]
    pub lora_dropout: f32,
    /// Whether the factor is over the square root of `r` instead.
    #[serde(default)]
    pub use_rslora: bool,
    /// Which layers get it.
    pub target_modules: TargetModules,
}

/// PEFT's ways of beginning with factors of the base's own weights, which it takes from them.
const CHANGE_THE_BASE: [&str; 5] = ["pissa", "olora", "corda", "loftq", "lora_ga"];

impl LoraConfig {
    /// The factor of the low-rank term.
    pub fn scale(&self) -> f32 {
        let r = self.r as f32;
        self.lora_alpha / if self.use_rslora { r.sqrt() } else { r }
    }

    /// Reads `adapter_config.json` of an adapter's folder.
    ///
    /// # Errors
    /// `File` if it is missing or no such configuration; `Config` if it asks for
    /// what is not supported.
    pub fn open(folder: &Path) -> Result<Self> {
        let path = folder.join("adapter_config.json");
        let bad = |problem: String| Error::File {
            path: path.clone(),
            problem,
        };
        let text = std::fs::read_to_string(&path)
            .map_err(|error| bad(format!("cannot be read: {error}")))?;
        let value: serde_json::Value =
            serde_json::from_str(&text).map_err(|error| bad(format!("is no JSON: {error}")))?;
        let unsupported = |problem: String| Error::Config {
            path: path.clone(),
            problem,
        };
        let kind = value.get("peft_type").and_then(serde_json::Value::as_str);
        if kind != Some("LORA") {
            let found = kind.unwrap_or("none");
            return Err(unsupported(format!(
                "expected peft_type LORA, found {found}"
            )));
        }
        for flag in ["use_dora", "use_qalora", "lora_bias", "fan_in_fan_out"] {
            if value.get(flag).and_then(serde_json::Value::as_bool) == Some(true) {
                return Err(unsupported(format!("{flag} is not supported")));
            }
        }
        // They change the base's weights, without which their factors mean nothing.
        let init = value
            .get("init_lora_weights")
            .and_then(serde_json::Value::as_str);
        if let Some(init) = init.filter(|init| {
            let init = init.to_lowercase();
            CHANGE_THE_BASE.iter().any(|it| init.starts_with(it))
        }) {
            return Err(unsupported(format!(
                "init_lora_weights {init} is not supported: the adapter belongs to a base whose weights were changed\nhint: have PEFT save it as one of the unchanged base, with path_initial_model_for_weight_conversion"
            )));
        }
        for field in [
            "rank_pattern",
            "alpha_pattern",
            "modules_to_save",
            "layers_to_transform",
            "layer_replication",
            "target_parameters",
            "trainable_token_indices",
            "alora_invocation_tokens",
            "use_bdlora",
        ] {
            let empty = match value.get(field) {
                None | Some(serde_json::Value::Null) => true,
                Some(serde_json::Value::Array(items)) => items.is_empty(),
                Some(serde_json::Value::Object(items)) => items.is_empty(),
                Some(_) => false,
            };
            if !empty {
                return Err(unsupported(format!("{field} is not supported")));
            }
        }
        let config: Self =
            serde_json::from_value(value).map_err(|error| unsupported(error.to_string()))?;
        if let TargetModules::Name(name) = &config.target_modules
            && name.contains(|c: char| !(c.is_alphanumeric() || "_-.".contains(c)))
        {
            return Err(unsupported(format!(
                "target_modules {name:?} is a regular expression, which is not supported\nhint: write the names of the layers as a list"
            )));
        }
        if config.r == 0 {
            return Err(unsupported("expected r of at least 1, found 0".to_owned()));
        }
        if !config.scale().is_finite() {
            let alpha = config.lora_alpha;
            return Err(unsupported(format!(
                "expected lora_alpha over r to be a number, found lora_alpha {alpha}"
            )));
        }
        Ok(config)
    }
}
