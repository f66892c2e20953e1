//! What can go wrong with an evaluation.

/// The result of something that evaluates.
pub type Result<T> = std::result::Result<T, Error>;

/// Why there is no figure.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A row has nothing to compare its answer with.
    #[error(
        "expected at least one reference, found none\nhint: leave rows without a reference out, or give an empty text if the answer should be empty"
    )]
    NoReferences,
    /// Files that hold no row.
    #[error("{files}: expected at least one row, found none")]
    NoRows {
        /// The files.
        files: String,
    },
    /// Data, tokenizer or template.
    #[error(transparent)]
    Data(#[from] retune_data::Error),
    /// A model cannot be opened or asked.
    #[error(transparent)]
    Generate(#[from] retune_generate::Error),
    /// A model cannot be run.
    #[error(transparent)]
    Model(#[from] retune_model::Error),
    /// A setting of a metric makes no sense.
    #[error("{name}: expected {expected}, found {found}")]
    Setting {
        /// Its name, as the metric's own tool has it.
        name: &'static str,
        /// Which values it takes.
        expected: &'static str,
        /// What was given.
        found: String,
    },
    /// Two lists that go together row by row have different lengths.
    #[error("expected {expected} {of}, one for each row, found {found}")]
    Rows {
        /// What the list holds.
        of: &'static str,
        /// How many rows there are.
        expected: usize,
        /// How many were given.
        found: usize,
    },
}
