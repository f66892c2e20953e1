//! Models at their public edge.

#![forbid(unsafe_code)]

mod cache;
mod goldens;
mod init;
mod save;
