//! What answers are worth.
//!
//! [`metrics`] are pure functions over texts, labels and token ids, without a
//! model and without files.

#![forbid(unsafe_code)]

mod error;
pub mod metrics;

pub use error::{Error, Result};
