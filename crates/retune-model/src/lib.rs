//! Models: Hugging Face folders opened, run forward and backward,
//! saved, and made anew.
//!
//! A layer computes `forward(x) -> (y, saved)` and `backward(d_y, saved) ->
//! d_x`; gradients of parameters accumulate. Tensors' files are read in `weights` alone,
//! and written in `write`.

#![forbid(unsafe_code)]

mod adapter;
mod cache;
mod config;
mod decoder;
mod error;
mod init;
mod layers;
mod lora_config;
mod open;
mod parameter;
mod pattern;
mod registry;
mod save;
mod shape;
mod weights;
mod write;

pub use adapter::Adapter;
pub use cache::{CachedTokens, KvCache, NextTokens};
pub use config::ModelConfig;
pub use decoder::{Activations, Batch, Decoder, chunk_rows, largest};
pub use error::{Error, Result};
pub use init::NewModel;
pub use lora_config::{LoraConfig, TargetModules};
pub use open::{OpenOptions, Tuning, head_packing};
pub use parameter::Parameter;
pub use pattern::name_matches;
pub use registry::MODEL_TYPES;
pub use save::{CONFIG_FILES, copy_files};
pub use shape::ShapeOptions;
pub use weights::{Weights, is_file_name};
pub use write::{Durability, write_tensors};
