//! From a data file to labelled tokens.
//!
//! [`Samples`] reads files of any layout as [`Sample`]s; [`Tokenizer`] is a model's
//! tokenizer with its chat template; [`Encoder`] makes tokens and labels of
//! samples, and keeps them within a length; [`lint`] says what is wrong with
//! files, and [`agreement`] how far annotators agree.

#![forbid(unsafe_code)]

pub mod agreement;
pub mod bootstrap;
mod cache;
mod clean;
mod contained;
mod dataset;
mod encode;
mod error;
mod gate;
mod inspect;
mod label;
pub mod layout;
pub mod lint;
mod pack;
mod prepare;
mod sample;
mod segment;
pub mod source;
mod split;
mod stats;
mod template;
pub mod text;
mod tokenizer;

pub use cache::TokenFile;
pub use clean::{Balance, BalanceBy, CleanOptions, CleanReport, Cleaned, Edit, clean};
pub use dataset::{DataOptions, OpenedFile, Samples};
pub use encode::{Encoded, Encoder, Fate, OverLong};
pub use error::{Error, Result, RowError};
pub use gate::{TemplateFault, check_template};
pub use inspect::{Inspection, TokenView, inspect};
pub use jiff::civil::DateTime;
pub use label::{LabelOptions, Labelled, Learn, Turn, conversation_of, label, turns};
pub use pack::{PackedBatch, epoch_order, epoch_steps, pack, shared_prefix};
pub use prepare::{BadRows, LeftOut, Preparation, Prepared, Understood, prepare};
pub use sample::{Content, Conversation, Message, Preference, Role, Sample};
pub use segment::Segmenter;
pub use split::{SplitRow, split, split_rows, split_tokens};
pub use stats::{Bucket, TextCounter, TextStats, TokenStats, token_stats};
pub use template::ChatTemplate;
pub use tokenizer::{
    NewTokenizer, TOKENIZER_FILES, TokenCounts, Tokenizer, TokenizerOptions, TokenizerProgress,
    chat_template_of, model_hint, train_tokenizer,
};
