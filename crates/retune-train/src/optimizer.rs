//! AdamW over all parameters of a model, each with its own rate and decay.

use retune_compute::ops::{AdamW, adamw_steps};
use retune_compute::{DType, Tensor};
use retune_model::{Parameter, name_matches};

use crate::config::TrainConfig;
use crate::error::Result;

/// How one parameter is trained, and its moments.
#[derive(Debug)]
pub struct Moments {
    /// The mean gradient, f32.
    pub exp_avg: Tensor,
    /// The mean square, f32.
    pub exp_avg_sq: Tensor,
    /// What the schedule's rate is multiplied by.
    factor: f64,
    weight_decay: f64,
}

/// AdamW with the moments of all parameters.
#[derive(Debug)]
pub struct Optimizer {
    betas: [f64; 2],
    eps: f64,
    moments: Vec<Moments>,
}

impl Optimizer {
    /// Moments of zero for `parameters`. `layers` is the number of blocks, which
    /// `layerwise_lr_decay` counts down from.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn new(parameters: &[&mut Parameter], layers: usize, config: &TrainConfig) -> Result<Self> {
        let moments = parameters.iter().map(|parameter| {
            let value = &parameter.value;
            let zeros = || Tensor::zeros(value.device(), value.shape(), DType::F32);
            // Norms and biases are vectors.
            let decays = value.shape().len() > 1;
            Ok(Moments {
                exp_avg: zeros()?,
                exp_avg_sq: zeros()?,
                factor: rate_factor(&parameter.name, layers, config),
                weight_decay: if decays { config.weight_decay } else { 0.0 },
            })
        });
        Ok(Self {
            betas: [config.adam_beta1, config.adam_beta2],
            eps: config.adam_epsilon,
            moments: moments.collect::<Result<_>>()?,
        })
    }

    /// The moments, in the order of the parameters.
    pub(crate) fn moments(&mut self) -> &mut [Moments] {
        &mut self.moments
    }

    /// One update, the first being 1: gradients are multiplied by `grad_scale`, and
    /// are zero afterwards.
    ///
    /// # Errors
    /// Those of the operation; then no parameter has changed.
    pub fn step(
        &mut self,
        parameters: Vec<&mut Parameter>,
        learning_rate: f64,
        grad_scale: f32,
        update: u64,
    ) -> Result<()> {
        let pairs = parameters.into_iter().zip(&mut self.moments);
        let updates = pairs.map(|(parameter, moments)| {
            let adamw = AdamW {
                learning_rate: learning_rate * moments.factor,
                beta1: self.betas[0],
                beta2: self.betas[1],
                eps: self.eps,
                weight_decay: moments.weight_decay,
                grad_scale,
                step: u32::try_from(update).unwrap_or(u32::MAX),
            };
            parameter.update(&mut moments.exp_avg, &mut moments.exp_avg_sq, adamw)
        });
        Ok(adamw_steps(updates.collect())?)
    }
}

/// The rate of a parameter beside that of the schedule: its own in
/// `learning_rates` (the longest pattern that matches), times the decay of its
/// layer. The embedding lies below the first block, the last norm and the head
/// are as high as the last block.
fn rate_factor(name: &str, layers: usize, config: &TrainConfig) -> f64 {
    let own = config.learning_rates.iter();
    let own = own.filter(|(pattern, _)| name_matches(pattern, name));
    let own = own.max_by_key(|(pattern, _)| pattern.len());
    let own = own.map_or(1.0, |(_, rate)| rate / config.learning_rate);
    let below = match (layer_of(name), name.contains("embed_tokens")) {
        (Some(layer), _) => layers.saturating_sub(layer + 1),
        (None, true) => layers,
        (None, false) => 0,
    };
    own * config.layerwise_lr_decay.powi(below as i32)
}

/// The number in `….layers.N.…`.
fn layer_of(name: &str) -> Option<usize> {
    let (_, behind) = name.split_once(".layers.")?;
    behind.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_fall_from_layer_to_layer_and_follow_patterns() {
        let mut config = TrainConfig {
            layerwise_lr_decay: 0.5,
            learning_rate: 1e-3,
            ..TrainConfig::default()
        };
        let factor = |config: &TrainConfig, name: &str| rate_factor(name, 3, config);
        assert_eq!(factor(&config, "model.norm.weight"), 1.0);
        assert_eq!(factor(&config, "model.layers.2.mlp.up_proj.weight"), 1.0);
        assert_eq!(factor(&config, "model.layers.0.mlp.up_proj.weight"), 0.25);
        assert_eq!(factor(&config, "model.embed_tokens.weight"), 0.125);
        config.learning_rates.insert("lora_B".to_owned(), 2e-3);
        let b = "base_model.model.model.layers.1.mlp.up_proj.lora_B.weight";
        assert_eq!(factor(&config, b), 1.0);
        assert_eq!(factor(&config, &b.replace("lora_B", "lora_A")), 0.5);
        config
            .learning_rates
            .insert("layers.1.mlp.*_proj.lora_B".to_owned(), 4e-3);
        assert_eq!(factor(&config, b), 2.0);
    }
}
