//! Training, tested at its public edge.

#![forbid(unsafe_code)]

mod config;
mod events;
mod metrics;
mod steps;
