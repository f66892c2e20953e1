//! Training: configuration, optimizer, schedule, the loop, checkpoints, logs.

#![forbid(unsafe_code)]

pub mod config;
mod error;
pub mod events;

pub use config::TrainConfig;
pub use error::{Error, Mistake, Place, Result};
