//! Data at its public edge.

#![forbid(unsafe_code)]

mod agreement;
mod labels;
mod shared;
mod templates;
mod text;
