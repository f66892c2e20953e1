//! Exports, at the public edge.

#![forbid(unsafe_code)]

mod merge;
