//! Models at their public edge.

#![forbid(unsafe_code)]

mod cache;
mod config;
mod goldens;
mod init;
mod save;
