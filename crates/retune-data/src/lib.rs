//! From a data file to labelled tokens.
//!
//! [`Samples`] reads files of any layout as [`Sample`]s; [`Tokenizer`] is a model's
//! tokenizer with its chat template; [`Encoder`] makes tokens and labels of
//! samples, and keeps them within a length.

#![forbid(unsafe_code)]

mod cache;
mod dataset;
mod encode;
mod error;
mod inspect;
mod label;
pub mod layout;
mod pack;
mod prepare;
mod sample;
pub mod source;
mod split;
mod template;
mod tokenizer;

pub use cache::TokenFile;
pub use dataset::{DataOptions, Samples};
pub use encode::{Encoded, Encoder, Fate, OverLong};
pub use error::{Error, Result, RowError};
pub use inspect::{Inspection, TokenView, inspect};
pub use jiff::civil::DateTime;
pub use label::{LabelOptions, Labelled, Learn, Turn, label, turns};
pub use pack::{PackedBatch, epoch_order, epoch_steps, pack, shared_prefix};
pub use prepare::{BadRows, LeftOut, Preparation, Prepared, file_hash, prepare};
pub use sample::{Content, Conversation, Message, Role, Sample};
pub use split::{SplitRow, split};
pub use template::ChatTemplate;
pub use tokenizer::Tokenizer;
