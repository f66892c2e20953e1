//! Training: settings, the order of samples, the loop, checkpoints, logs.
//!
//! [`TrainConfig`] holds the settings; [`Prepared`] is a run with its data and its
//! steps, which knows what memory it takes; [`Trainer`] has the model too, and
//! runs.

#![forbid(unsafe_code)]

mod answers;
mod batch;
mod checkpoint;
pub mod config;
mod course;
mod data;
mod error;
pub mod events;
mod fit;
mod log;
mod open;
mod optimizer;
mod schedule;
mod spike;
mod trainer;
mod validate;

pub use batch::{Numbered, batches};
pub use checkpoint::{
    Changes, Checkpoint, Found, Origin, RunLock, Which, check_adapter_base, checkpoints, has_saved,
};
pub use config::TrainConfig;
pub use course::{Course, Replay, StepSamples};
pub use data::TrainData;
pub use error::{Error, Mistake, Place, Result};
pub use fit::{Fit, Plan};
pub use log::{LogPosition, RunLog};
pub use open::Prepared;
pub use optimizer::{Moments, Optimizer};
pub use schedule::Schedule;
pub use spike::Spike;
pub use trainer::{Ending, Event, Observer, Progress, StepReport, Trainer};
pub use validate::{Answer, Validation};
