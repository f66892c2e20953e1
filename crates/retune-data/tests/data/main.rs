//! Data at its public edge.

#![forbid(unsafe_code)]

mod labels;
mod shared;
mod templates;
mod text;
