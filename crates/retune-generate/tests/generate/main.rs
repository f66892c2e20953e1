//! Answers, at the public edge.

#![forbid(unsafe_code)]

mod answers;
mod sources;
