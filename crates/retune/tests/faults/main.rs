//! Runs that are killed, stopped, and robbed of their disk, and what becomes of
//! them: they go on to the same bytes, or say what is wrong.
//!
//! With `RETUNE_TORTURE=1` everything is tried many times (`scripts/torture`).
#![cfg(unix)]
#![forbid(unsafe_code)]

mod damage;
mod disk;
mod kill;
mod limits;
#[path = "../retune/program.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod program;
mod run;
mod signals;
