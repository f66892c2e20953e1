//! What can go wrong with an evaluation.

use retune_data::source::Place;

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
    /// No row that all models can take.
    #[error(
        "none of the {rows} rows fits into what the models take\nhint: shorten them, or leave out the model that takes least"
    )]
    NoneFits {
        /// The rows.
        rows: usize,
    },
    /// A row that cannot be used under a model's tokenizer or template.
    #[error("{place}: {problem}")]
    Row {
        /// Where it stands.
        place: Box<Place>,
        /// Why.
        #[source]
        problem: Box<retune_data::Error>,
    },
    /// A model computes numbers that are not finite.
    #[error(
        "the model finds a loss that is not finite\nhint: its weights may be damaged, or too large for bf16; --precision f32 tells"
    )]
    NotFinite,
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
