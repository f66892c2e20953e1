//! How a run is fitted into memory: what is kept, what is computed again.

use retune_compute::ops::{FrozenWeight, Packing};
use retune_compute::{DType, Device};
use retune_model::{LoraConfig, ModelConfig, TargetModules, Tuning, chunk_rows, head_packing};
use serde::{Deserialize, Serialize};

use crate::config::{Switch, TrainConfig};
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

/// Tokens that keep any device busy.
const BATCH_TOKENS: usize = 4096;
/// The shortest max_length that is proposed.
const SHORTEST: usize = 64;

/// Tokens that go through a model together where memory allows.
pub(crate) fn most_tokens(device: &Device) -> usize {
    match device.is_cuda() {
        // A pass over few tokens is mostly the time that its operations take to begin.
        true => 16 * BATCH_TOKENS,
        false => BATCH_TOKENS,
    }
}

/// What is to be fitted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Demand<'a> {
    pub(crate) device: &'a Device,
    /// Tokens that go through the model together where memory allows.
    pub(crate) most_tokens: usize,
    pub(crate) model: &'a ModelConfig,
    pub(crate) tuning: &'a Tuning,
    pub(crate) dtype: DType,
    pub(crate) checkpointing: Switch,
    /// Tokens of the longest step, and of the longest sample.
    pub(crate) lengths: [usize; 2],
    /// How large batches have to be, if that is settled.
    pub(crate) batch_tokens: Option<usize>,
}

/// Chooses what is fastest within `budget` bytes: first the packing of weights is given up,
/// then batches get smaller, down to what keeps any device busy, then activations are kept
/// no longer, then batches get smaller still.
///
/// # Errors
/// `Data` if nothing fits, with what the least demanding choice would take, and which
/// settings would fit.
pub(crate) fn plan(demand: &Demand<'_>, config: &TrainConfig, budget: u64) -> Result<Plan> {
    let lora = Tuning::Lora(LoraConfig {
        r: config.r,
        lora_alpha: config.lora_alpha as f32,
        lora_dropout: 0.0,
        use_rslora: config.use_rslora,
        target_modules: TargetModules::Name("all-linear".to_owned()),
    });
    let elsewhere = match demand.device.is_cuda() {
        true => "; device: cpu has the machine's own memory",
        false => "",
    };
    demand.fit(budget).map_err(|least| Error::Data {
        problem: format!(
            "this run takes at least {:.2} GB of tensors, and may take {:.2} GB\nhint: {}; memory sets the limit{elsewhere}",
            least as f64 / 1e9,
            budget as f64 / 1e9,
            demand.alternatives(&lora, budget)
        ),
    })
}

impl<'a> Demand<'a> {
    /// The first choice that fits, or the bytes of the least demanding one.
    fn fit(&self, budget: u64) -> std::result::Result<Plan, u64> {
        let [step_tokens, longest] = self.lengths;
        let recomputes: &[bool] = match self.checkpointing {
            Switch::Auto => &[false, true],
            Switch::On => &[true],
            Switch::Off => &[false],
        };
        let most = self.most_tokens.max(longest).min(step_tokens.max(1));
        let mut tokens = self.batch_tokens.unwrap_or(most);
        let mut least = u64::MAX;
        let packings = [Packing::Both, Packing::Forward, Packing::Rows];
        let models = packings.map(|packing| (packing, self.weights(packing)));
        loop {
            // Activations are computed again for the sake of no larger batch than that.
            let large = tokens > BATCH_TOKENS.max(longest) && self.batch_tokens.is_none();
            let recomputes = if large { &recomputes[..1] } else { recomputes };
            for &recompute in recomputes {
                for (packing, model_bytes) in models {
                    let peak_bytes = model_bytes + self.activations(tokens, recompute);
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
            if tokens <= longest.max(1) || self.batch_tokens.is_some() {
                return Err(least);
            }
            tokens = (tokens / 2).max(longest);
        }
    }

    /// Which other settings would fit, in words: one of them, or if none does all together.
    fn alternatives(&self, lora: &'a Tuning, budget: u64) -> String {
        // A run that goes on may change nothing that its numbers follow from.
        let goes_on = self.batch_tokens.is_some();
        let mut all = *self;
        let mut names = Vec::new();
        let mut fitting = Vec::new();
        let mut consider = |name: String, change: &dyn Fn(Self) -> Self| {
            all = change(all);
            if let Ok(plan) = change(*self).fit(budget) {
                fitting.push(format!("{name} ({:.2} GB)", plan.peak_bytes as f64 / 1e9));
            }
            names.push(name);
        };
        if self.checkpointing == Switch::Off {
            consider("gradient_checkpointing: auto".to_owned(), &|demand| Self {
                checkpointing: Switch::Auto,
                ..demand
            });
        }
        if self.dtype == DType::F32 && !goes_on {
            consider("precision: bf16".to_owned(), &|demand| Self {
                dtype: DType::BF16,
                ..demand
            });
        }
        if matches!(self.tuning, Tuning::Full { .. }) && !goes_on {
            consider("finetuning_type: lora".to_owned(), &|demand| Self {
                tuning: lora,
                ..demand
            });
        }
        let [step_tokens, longest] = self.lengths;
        // Not below what a question and its answer have.
        let shorter = std::iter::successors(Some(longest / 2), |length| Some(length / 2));
        let shorter = shorter.take_while(|length| *length >= SHORTEST);
        let cut = |length: usize| {
            move |demand: Self| Self {
                lengths: [
                    step_tokens.min(step_tokens / longest.max(1) * length),
                    length,
                ],
                ..demand
            }
        };
        let shorter: Vec<usize> = shorter.collect();
        let fits = |length: &&usize| cut(**length)(*self).fit(budget).is_ok();
        let length = shorter.iter().find(fits).or(shorter.last());
        if let Some(length) = length.filter(|_| !goes_on) {
            let name = format!("max_length: {length} without the rows that are longer");
            consider(name, &cut(*length));
        }
        match (fitting.is_empty(), all.fit(budget)) {
            (false, _) => format!("it fits with {}", fitting.join(", or with ")),
            (true, Ok(plan)) => format!(
                "it fits with all of {} ({:.2} GB)",
                names.join(", "),
                plan.peak_bytes as f64 / 1e9
            ),
            (true, Err(_)) if goes_on => {
                "it goes on where there is as much memory as it had".to_owned()
            }
            (true, Err(least)) => format!(
                "the least that other settings can make of it is {:.2} GB, so it wants more memory or a smaller model",
                least as f64 / 1e9
            ),
        }
    }

    fn weights(&self, packing: Packing) -> u64 {
        let numbers = |shape: &[usize]| shape.iter().product::<usize>() as u64;
        // Value, gradient, two moments, and a copy for products of bf16.
        let copy = if self.dtype == DType::BF16 { 2 } else { 0 };
        let trained = self.tuning.trained(self.model);
        let frozen = self.model.tensors().into_iter();
        let frozen = frozen.filter(|(name, _)| !trained.contains_key(name));
        let frozen = frozen.map(|(name, shape)| match <[usize; 2]>::try_from(&shape[..]) {
            Ok(matrix) => {
                let layer = name.contains(".layers.");
                let packing = if layer {
                    packing
                } else {
                    head_packing(packing)
                };
                FrozenWeight::packed_bytes(self.device, matrix, self.dtype, packing) as u64
            }
            Err(_) => 4 * numbers(&shape),
        });
        let trained = trained.values().map(|shape| (16 + copy) * numbers(shape));
        frozen.sum::<u64>() + trained.sum::<u64>()
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
        let rows = chunk_rows(self.device).min(tokens);
        // Logits, their gradient, and on a CPU its transposed copy for the head's own.
        let head = match model.tie_word_embeddings {
            true => "model.embed_tokens.weight",
            false => "lm_head.weight",
        };
        let trains_head = self.tuning.trained(model).contains_key(head);
        let copies = match trains_head && !self.device.is_cuda() {
            true => 2,
            false => 1,
        };
        let head = rows * model.vocab_size * (4 + copies * narrow) + 8 * tokens * c;
        (tokens * all + head) as u64
    }
}

#[cfg(test)]
mod tests {
    use retune_compute::ops::Packing;

    use super::*;

    /// The shape of Qwen2.5-0.5B.
    fn model() -> ModelConfig {
        let folder = tempfile::tempdir().expect("a folder");
        let config = serde_json::json!({
            "model_type": "qwen2", "vocab_size": 151_936, "hidden_size": 896,
            "intermediate_size": 4864, "num_hidden_layers": 24, "num_attention_heads": 14,
            "num_key_value_heads": 2, "max_position_embeddings": 32_768,
            "tie_word_embeddings": true,
        });
        let path = folder.path().join("config.json");
        std::fs::write(path, config.to_string()).expect("written");
        ModelConfig::open(folder.path()).expect("a model")
    }

    fn lora(r: usize, layers: &str) -> Tuning {
        Tuning::Lora(LoraConfig {
            r,
            lora_alpha: 32.0,
            lora_dropout: 0.0,
            use_rslora: false,
            target_modules: TargetModules::Name(layers.to_owned()),
        })
    }

    fn demand<'a>(device: &'a Device, model: &'a ModelConfig, tuning: &'a Tuning) -> Demand<'a> {
        Demand {
            device,
            most_tokens: BATCH_TOKENS,
            model,
            tuning,
            dtype: DType::BF16,
            checkpointing: Switch::Off,
            lengths: [1024, 512],
            batch_tokens: None,
        }
    }

    #[test]
    fn weights_count_what_is_trained_and_what_is_not() {
        let (device, model) = (Device::cpu(), model());
        let bytes = |tuning: &Tuning| demand(&device, &model, tuning).weights(Packing::Rows);
        // Values, gradients and moments in f32, and a copy in bf16.
        let numbers = model.num_parameters();
        assert_eq!(bytes(&Tuning::FULL), 18 * numbers);
        let frozen = Tuning::Full {
            freeze: vec!["embed_tokens".to_owned()],
        };
        // Where it is kept, memory is handed out in larger pieces.
        let saved = (bytes(&Tuning::FULL) - bytes(&frozen)) as f64;
        let expected = 16.0 * 151_936.0 * 896.0;
        assert!((saved / expected - 1.0).abs() < 0.02, "{saved} {expected}");
        // An adapter of another rank, or of one kind of layer.
        let step = |r: usize, layers: &str| bytes(&lora(r, layers)) - bytes(&Tuning::Frozen);
        assert_eq!(step(64, "q_proj"), 18 * 24 * 64 * (896 + 896));
        assert_eq!(step(256, "all-linear"), 32 * step(8, "all-linear"));
    }

    #[test]
    fn what_does_not_fit_is_told_what_would() {
        let (device, model, full) = (Device::cpu(), model(), Tuning::FULL);
        let lora = lora(8, "all-linear");
        let demand = |tuning| demand(&device, &model, tuning);
        let said = |demand: Demand<'_>, gigabytes: f64| {
            let budget = (1e9 * gigabytes) as u64;
            let refused = plan(&demand, &TrainConfig::default(), budget);
            refused.expect_err("it does not fit").to_string()
        };
        let text = said(demand(&full), 4.0);
        assert!(text.contains("this run takes at least 9."), "{text}");
        assert!(
            text.contains("it fits with finetuning_type: lora ("),
            "{text}"
        );
        let text = said(demand(&lora), 1.7);
        assert!(
            text.contains("it fits with gradient_checkpointing: auto ("),
            "{text}"
        );
        let wide = Demand {
            dtype: DType::F32,
            ..demand(&full)
        };
        let text = said(wide, 1.4);
        let all = "it fits with all of gradient_checkpointing: auto, precision: bf16, finetuning_type: lora, max_length: ";
        assert!(text.contains(all), "{text}");
        let text = said(demand(&lora), 0.5);
        assert!(
            text.contains("it wants more memory or a smaller model"),
            "{text}"
        );
    }

    #[test]
    fn large_batches_get_smaller_before_activations_are_computed_again() {
        let (device, model, lora) = (Device::cpu(), model(), lora(8, "all-linear"));
        let large = Demand {
            most_tokens: 65_536,
            checkpointing: Switch::Auto,
            lengths: [65_536, 512],
            ..demand(&device, &model, &lora)
        };
        let fitted = |budget: u64| {
            let plan = large.fit(budget).expect("it fits");
            (plan.fit.batch_tokens, plan.fit.recompute)
        };
        let bytes = |tokens: usize, recompute: bool| {
            large.weights(Packing::Rows) + large.activations(tokens, recompute)
        };
        assert_eq!(fitted(u64::MAX), (65_536, false));
        assert_eq!(fitted(bytes(65_536, true)), (8192, false));
        assert_eq!(fitted(bytes(4096, true)), (4096, true));
        // A run that goes on has the batches that it had.
        let settled = Demand {
            batch_tokens: Some(65_536),
            ..large
        };
        let plan = settled.fit(bytes(65_536, true)).expect("it fits");
        assert_eq!((plan.fit.batch_tokens, plan.fit.recompute), (65_536, true));
    }
}
