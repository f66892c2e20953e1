//! The architectures, under the names of `model_type`: what each has that the
//! common decoder may have or not.

use crate::config::RawConfig;

/// What an architecture makes of a configuration.
pub(crate) struct Architecture {
    name: &'static str,
    /// Its class in `transformers`, which `architectures` names.
    pub(crate) class: &'static str,
    pub(crate) qkv_bias: fn(&RawConfig) -> bool,
    pub(crate) o_bias: fn(&RawConfig) -> bool,
    pub(crate) qk_norm: bool,
    pub(crate) sliding_window: fn(&RawConfig, usize) -> Vec<Option<usize>>,
}

/// What `transformers` takes where a file has no `sliding_window`.
const WINDOW: Option<usize> = Some(4096);
/// What it takes where there is no `max_window_layers`.
const FULL_LAYERS: usize = 28;

const ARCHITECTURES: [Architecture; 4] = [
    Architecture {
        name: "qwen2",
        class: "Qwen2ForCausalLM",
        qkv_bias: |_| true,
        o_bias: |_| false,
        qk_norm: false,
        sliding_window: qwen_window,
    },
    Architecture {
        name: "qwen3",
        class: "Qwen3ForCausalLM",
        qkv_bias: |config| config.attention_bias.unwrap_or(false),
        o_bias: |config| config.attention_bias.unwrap_or(false),
        qk_norm: true,
        sliding_window: qwen_window,
    },
    Architecture {
        name: "llama",
        class: "LlamaForCausalLM",
        qkv_bias: |config| config.attention_bias.unwrap_or(false),
        o_bias: |config| config.attention_bias.unwrap_or(false),
        qk_norm: false,
        sliding_window: |_, layers| vec![None; layers],
    },
    Architecture {
        name: "mistral",
        class: "MistralForCausalLM",
        qkv_bias: |_| false,
        o_bias: |_| false,
        qk_norm: false,
        sliding_window: |config, layers| vec![config.sliding_window.unwrap_or(WINDOW); layers],
    },
];

/// The architecture `model_type`, or what there is.
pub(crate) fn architecture(model_type: &str) -> Result<&'static Architecture, String> {
    let found = ARCHITECTURES.iter().find(|known| known.name == model_type);
    found.ok_or_else(|| {
        let known = MODEL_TYPES.join(", ");
        format!("model_type {model_type} is not known; there are {known}")
    })
}

/// The names of `model_type` that can be opened.
pub const MODEL_TYPES: [&str; ARCHITECTURES.len()] = {
    let mut names = [""; ARCHITECTURES.len()];
    let mut index = 0;
    while index < names.len() {
        names[index] = ARCHITECTURES[index].name;
        index += 1;
    }
    names
};

/// Qwen's window is off unless asked for, and then off in the first layers.
fn qwen_window(config: &RawConfig, layers: usize) -> Vec<Option<usize>> {
    let on = config.use_sliding_window.unwrap_or(false);
    let window = config.sliding_window.unwrap_or(WINDOW).filter(|_| on);
    let full = config.max_window_layers.unwrap_or(FULL_LAYERS);
    let slides = |layer: usize| match &config.layer_types {
        Some(types) => types
            .get(layer)
            .is_some_and(|kind| kind == "sliding_attention"),
        None => layer >= full,
    };
    (0..layers)
        .map(|layer| window.filter(|_| slides(layer)))
        .collect()
}
