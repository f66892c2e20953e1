//! What a model is worth on rows that it did not learn from.
//!
//! [`HeldOut`] are the rows, [`Work`] has a model score and answer them, [`Scoring`]
//! says what answers are worth, [`Comparison`] sets models side by side, and [`Grid`]
//! measures which of them loop under which settings. [`metrics`] are pure functions
//! over texts, labels and token ids, without a model and without files.

#![forbid(unsafe_code)]

mod compare;
mod error;
mod evaluate;
mod grid;
mod held_out;
mod likelihood;
mod measure;
pub mod metrics;
mod scores;

pub use compare::{Change, Comparison, Line, Subject};
pub use error::{Error, Result};
pub use evaluate::{Stage, Work};
pub use grid::{Cause, CauseKind, Cell, Grid, GridRow, Setting, settings};
pub use held_out::{HeldOut, HeldOutRow};
pub use likelihood::{Likelihood, likelihood};
pub use measure::{Better, Figure, Form, Measure};
pub use scores::{Outcome, RowScores, Scoring};
