//! Training, tested at its public edge.

#![forbid(unsafe_code)]

mod config;
mod curve;
mod events;
mod metrics;
mod steps;
