//! How a run is fitted into memory: what is kept, what is computed again.

use retune_compute::ops::{FrozenWeight, Packing};
use retune_compute::{DType, Device};
use retune_model::{ModelConfig, head_packing};
use serde::{Deserialize, Serialize};

use crate::config::{FinetuningType, Switch, TrainConfig};
use crate::error::{Error, Result};

/// How steps are fitted into memory. None of it changes what is computed, but
/// for the order in which gradients of several batches are added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fit {
    /// Whether activations are computed again in the backward pass.
    pub recompute: bool,
    /// The most tokens that go through the model at a time.
    pub batch_tokens: usize,
}

/// A choice, and the bytes of tensors that it is expected to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// How frozen weights are kept.
    pub packing: Packing,
    /// How steps are run.
    pub fit: Fit,
    /// Weights, gradients and moments.
    pub model_bytes: u64,
    /// Those, and the activations of the largest batch.
    pub peak_bytes: u64,
}

/// Tokens that go through a model together where memory allows.
const BATCH_TOKENS: usize = 4096;
/// Rows of logits that the head has in memory at a time.
const HEAD_ROWS: usize = 128;

/// Chooses what is fastest within `budget` bytes: first the packing of weights is
/// given up, then activations are kept no longer, then batches get smaller.
/// `step_tokens` are those of the longest step, `longest` those of the longest
/// sample; `batch_tokens` says how large batches have to be, if that is settled.
///
/// # Errors
/// `Data` if nothing fits, with what the least demanding choice would take.
pub(crate) fn plan(
    device: &Device,
    model: &ModelConfig,
    config: &TrainConfig,
    dtype: DType,
    [step_tokens, longest]: [usize; 2],
    batch_tokens: Option<usize>,
    budget: u64,
) -> Result<Plan> {
    let estimate = Estimate {
        device,
        model,
        config,
        dtype,
    };
    let recomputes: &[bool] = match config.gradient_checkpointing {
        Switch::Auto => &[false, true],
        Switch::On => &[true],
        Switch::Off => &[false],
    };
    let most = BATCH_TOKENS.max(longest).min(step_tokens.max(1));
    let mut tokens = batch_tokens.unwrap_or(most);
    let mut least = u64::MAX;
    loop {
        for &recompute in recomputes {
            for packing in [Packing::Both, Packing::Forward, Packing::Rows] {
                let model_bytes = estimate.model(packing);
                let peak_bytes = model_bytes + estimate.activations(tokens, recompute);
                if peak_bytes <= budget {
                    let fit = Fit {
                        recompute,
                        batch_tokens: tokens,
                    };
                    return Ok(Plan {
                        packing,
                        fit,
                        model_bytes,
                        peak_bytes,
                    });
                }
                least = least.min(peak_bytes);
            }
        }
        if tokens <= longest.max(1) || batch_tokens.is_some() {
            break;
        }
        tokens = (tokens / 2).max(longest);
    }
    Err(Error::Data {
        problem: format!(
            "this run takes at least {:.2} GB of tensors, and may take {:.2} GB\nhint: a smaller max_length than {} helps, or gradient_checkpointing: auto, precision: bf16, finetuning_type: lora, a smaller model; memory sets the limit",
            least as f64 / 1e9,
            budget as f64 / 1e9,
            config.max_length
        ),
    })
}

struct Estimate<'a> {
    device: &'a Device,
    model: &'a ModelConfig,
    config: &'a TrainConfig,
    dtype: DType,
}

impl Estimate<'_> {
    /// The linear layers of a block: outputs and inputs.
    fn linears(&self) -> [[usize; 2]; 7] {
        let model = self.model;
        let (c, inner) = (model.hidden_size, model.intermediate_size);
        let q = model.num_attention_heads * model.head_dim;
        let kv = model.num_key_value_heads * model.head_dim;
        [
            [q, c],
            [kv, c],
            [kv, c],
            [c, q],
            [inner, c],
            [inner, c],
            [c, inner],
        ]
    }

    fn model(&self, packing: Packing) -> u64 {
        let layers = self.model.num_hidden_layers;
        let vocabulary = [self.model.vocab_size, self.model.hidden_size];
        let tables = if self.model.tie_word_embeddings { 1 } else { 2 };
        let linears = self.linears();
        let full = self.config.finetuning_type == FinetuningType::Full;
        // Value, gradient, two moments, and a copy for products of bf16.
        let copy = if self.dtype == DType::BF16 { 2 } else { 0 };
        let trained = |numbers: usize| (numbers * (16 + copy)) as u64;
        let weight = |shape: [usize; 2], packing: Packing| match full {
            true => trained(shape[0] * shape[1]),
            false => FrozenWeight::packed_bytes(self.device, shape, self.dtype, packing) as u64,
        };
        let block: u64 = linears.iter().map(|shape| weight(*shape, packing)).sum();
        let lora = |[out, input]: &[usize; 2]| trained(self.config.r * (out + input));
        let terms: u64 = match full {
            true => 0,
            false => linears.iter().map(lora).sum(),
        };
        tables * weight(vocabulary, head_packing(packing)) + layers as u64 * (block + terms)
    }

    /// What a forward and backward pass over `tokens` keeps at its peak.
    fn activations(&self, tokens: usize, recompute: bool) -> u64 {
        let model = self.model;
        let (c, inner, layers) = (
            model.hidden_size,
            model.intermediate_size,
            model.num_hidden_layers,
        );
        let heads = (model.num_attention_heads + 2 * model.num_key_value_heads) * model.head_dim;
        let q = model.num_attention_heads * model.head_dim;
        let narrow = self.dtype.size();
        // A block's input and its middle, f32; two norms, queries, keys, values and
        // what attention gives; gate, up and their product.
        let kept = 8 * c + narrow * (2 * c + heads + q + 3 * inner);
        // Gradients of a block on their way, f32, and their narrow copies.
        let passing = (4 + narrow) * (2 * c + 2 * inner) + 4 * (heads + q);
        let all = match recompute {
            false => layers * kept + passing,
            true => layers * 4 * c + kept + passing,
        };
        let rows = HEAD_ROWS.min(tokens);
        let head = rows * model.vocab_size * (4 + 2 * narrow) + 8 * tokens * c;
        (tokens * all + head) as u64
    }
}
