//! From a data file to labelled tokens.
//!
//! What exists today is the chat template: [`ChatTemplate`] renders a
//! conversation to the text that a model was trained on, as Hugging Face does.

#![forbid(unsafe_code)]

mod error;
mod template;

pub use error::{Error, Result};
pub use jiff::civil::DateTime;
pub use template::ChatTemplate;
