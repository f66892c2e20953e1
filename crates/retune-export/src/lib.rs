//! What was trained, as others take it: an adapter merged into its base model.

#![forbid(unsafe_code)]

mod error;
mod merge;

pub use error::{Error, Result};
pub use merge::{Merged, merge};
