//! Data at its public edge.

#![forbid(unsafe_code)]

mod shared;
mod templates;
