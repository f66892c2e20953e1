//! From a data file to labelled tokens.
//!
//! What exists today: [`ChatTemplate`] renders a conversation to the text that a
//! model was trained on, as Hugging Face does; [`Tokenizer`] reads a model's
//! folder; [`label_conversation`] gives tokens and what is learned from.

#![forbid(unsafe_code)]

mod error;
mod label;
mod template;
mod tokenizer;

pub use error::{Error, Result};
pub use jiff::civil::DateTime;
pub use label::{Labelled, label_conversation};
pub use template::ChatTemplate;
pub use tokenizer::Tokenizer;
