//! The commands: each has its arguments and a function `run`.

pub(crate) mod builtin;
pub(crate) mod chat;
pub(crate) mod completions;
pub(crate) mod data;
pub(crate) mod env;
pub(crate) mod eval;
pub(crate) mod generate;
pub(crate) mod init;
pub(crate) mod man;
pub(crate) mod merge;
pub(crate) mod plan;
pub(crate) mod sampling;
pub(crate) mod serve;
pub(crate) mod tokenizer;
pub(crate) mod train;
