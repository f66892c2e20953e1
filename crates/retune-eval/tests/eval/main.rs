//! Figures over texts, at the public edge.

#![forbid(unsafe_code)]

mod answers;
mod goldens;
mod labels;
mod models;
mod resampling;
mod rouge;
mod shared;
mod translation;
