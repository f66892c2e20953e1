//! From a data file to labelled tokens.
//!
//! [`Samples`] reads files of any layout as [`Sample`]s; [`Tokenizer`] is a model's
//! tokenizer with its chat template; [`Encoder`] makes tokens and labels of
//! samples, and keeps them within a length.

#![forbid(unsafe_code)]

mod dataset;
mod encode;
mod error;
mod label;
pub mod layout;
mod sample;
pub mod source;
mod template;
mod tokenizer;

pub use dataset::{DataOptions, Samples};
pub use encode::{Encoded, Encoder, Fate, OverLong};
pub use error::{Error, Result, RowError};
pub use jiff::civil::DateTime;
pub use label::{LabelOptions, Labelled, Learn, Turn, label, turns};
pub use sample::{Content, Conversation, Message, Role, Sample};
pub use template::ChatTemplate;
pub use tokenizer::Tokenizer;
