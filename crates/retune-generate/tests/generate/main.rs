//! Answers, at the public edge.

#![forbid(unsafe_code)]

mod adapters;
mod answers;
mod goldens;
mod sources;
