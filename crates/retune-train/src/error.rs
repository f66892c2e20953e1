//! What can go wrong in a training run.

use std::path::PathBuf;

/// The result of a step of training, or of what is written about it.
pub type Result<T> = std::result::Result<T, Error>;

/// What stops a training run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file is missing, or not what it should be, or cannot be written.
    #[error("{} {problem}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, in words.
        problem: String,
    },
}
