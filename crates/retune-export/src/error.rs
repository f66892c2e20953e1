//! What can go wrong with an export.

/// The result of an export.
pub type Result<T> = std::result::Result<T, Error>;

/// Why nothing was exported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The adapter does not belong to the model; all that does not fit.
    #[error("the adapter does not fit the model\n  {}\nhint: name the model that it was trained on", problems.join("\n  "))]
    Adapter {
        /// Each in words.
        problems: Vec<String>,
    },
    /// Files of the model or the adapter cannot be read or written.
    #[error(transparent)]
    Model(#[from] retune_model::Error),
    /// The compute core refused.
    #[error(transparent)]
    Compute(#[from] retune_compute::Error),
}
