//! Training: configuration, optimizer, schedule, the loop, checkpoints, logs.

#![forbid(unsafe_code)]

pub mod config;

pub use config::TrainConfig;
