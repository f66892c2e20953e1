//! The program from outside, and the rules that hold for the whole workspace.

#![forbid(unsafe_code)]

mod agreement;
mod builtin;
mod data;
mod env;
mod eval;
mod generate;
mod lint;
mod program;
mod serve;
mod tokenizer;
mod train;
mod train_config;
mod workspace;
