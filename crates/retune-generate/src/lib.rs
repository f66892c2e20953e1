//! Generation: what a model says to a prompt.
//!
//! [`Source`] finds model, adapter and template in a folder; [`Assistant`] opens
//! them; [`Generator`] answers several requests at once, token by token, each with
//! its own [`Sampling`].

#![forbid(unsafe_code)]

mod assistant;
mod batch;
mod beam;
mod config;
mod embed;
mod error;
mod generator;
mod grammar;
mod logprobs;
mod loops;
mod queue;
mod sampling;
mod source;
mod text;

pub use assistant::{Assistant, AssistantOptions};
pub use batch::{Answer, Place, answer_all};
pub use beam::{BeamAnswer, BeamSearch, EarlyStopping};
pub use embed::{EmbedRequest, Embedder, Pooling};
pub use error::{Error, Result};
pub use generator::{Finish, Generator, Piece, Request};
pub use grammar::{Grammar, Grammars, one_line_json, spaced_json};
pub use logprobs::TokenLogprobs;
pub use loops::{Loop, LoopRule};
pub use sampling::{History, Sampling};
pub use source::Source;
