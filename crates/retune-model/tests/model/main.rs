//! Models at their public edge.

#![forbid(unsafe_code)]

mod goldens;
mod init;
mod save;
