//! Models: Hugging Face folders opened, run forward and backward.
//!
//! A layer computes `forward(x) -> (y, saved)` and `backward(d_y, saved) ->
//! d_x`; gradients of parameters accumulate. Reading files is in `config` and
//! `weights` alone.

#![forbid(unsafe_code)]

mod config;
mod decoder;
mod error;
mod layers;
mod lora_config;
mod open;
mod parameter;
mod pattern;
mod registry;
mod weights;

pub use config::ModelConfig;
pub use decoder::{Activations, Batch, Decoder};
pub use error::{Error, Result};
pub use lora_config::{LoraConfig, TargetModules};
pub use open::{OpenOptions, Tuning};
pub use parameter::Parameter;
pub use pattern::name_matches;
pub use weights::Weights;
