//! Data at its public edge.

#![forbid(unsafe_code)]

mod agreement;
mod bounds;
mod folder;
mod hostile;
mod labels;
mod layouts;
mod properties;
mod shared;
mod source;
mod templates;
mod text;
mod tokens;
