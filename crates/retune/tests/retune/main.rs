//! The program from outside, and the rules that hold for the whole workspace.

#![forbid(unsafe_code)]

mod agreement;
mod data;
mod env;
mod eval;
mod generate;
mod lint;
mod program;
mod tokenizer;
mod train;
mod train_config;
mod workspace;
