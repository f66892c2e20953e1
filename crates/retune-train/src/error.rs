//! What can keep a run from starting, or end it.

use std::path::PathBuf;

/// The result of preparing or running a training.
pub type Result<T> = std::result::Result<T, Error>;

/// Something that keeps a run from starting, or ends it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder is missing, not what it should be, or cannot be written.
    #[error("{} {problem}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, in words.
        problem: String,
    },
    /// The loss or the gradient is infinite or no number; no parameter was
    /// changed by it.
    #[error(
        "step {step}: the {what} is not finite; nothing was changed by this step\n  {}\nhint: look at these samples; a lower learning_rate or max_grad_norm helps where the loss rose before",
        samples.join("\n  ")
    )]
    NonFinite {
        /// The optimizer step, the first being 1.
        step: u64,
        /// `loss` or `norm of the gradients`.
        what: &'static str,
        /// The step's samples, with the loss of each, in words.
        samples: Vec<String>,
    },
    /// The data and the settings do not go together.
    #[error("{problem}")]
    Data {
        /// What was expected and what was found, with a hint.
        problem: String,
    },
    /// The data cannot be read or tokenised.
    #[error(transparent)]
    Tokens(#[from] retune_data::Error),
    /// The model cannot be opened or run.
    #[error(transparent)]
    Model(#[from] retune_model::Error),
    /// The compute core refused.
    #[error(transparent)]
    Compute(#[from] retune_compute::Error),
}
