//! What can be wrong with a model's folder.

use std::path::PathBuf;

/// The result of reading or running a model.
pub type Result<T> = std::result::Result<T, Error>;

/// Something that keeps a model from being used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file is missing, or not what it should be.
    #[error("{} {problem}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, in words.
        problem: String,
    },
    /// A configuration asks for something that is not there.
    #[error("{}: {problem}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// The field, what was expected and what was found, in words.
        problem: String,
    },
    /// Tensors of a file are not those that a configuration wants.
    #[error("{}: the tensors do not fit the configuration\n  {}{}", path.display(), first_of(problems), hint_of(hint))]
    Tensors {
        /// The file or folder.
        path: PathBuf,
        /// All that is missing, surplus or misshapen.
        problems: Vec<String>,
        /// What to do about it, where that is known.
        hint: Option<String>,
    },
    /// A model that is to be made cannot be.
    #[error("the model cannot have this shape\n  {}", problems.join("\n  "))]
    Shape {
        /// All fields that are wrong: the field, what was expected, what was
        /// found.
        problems: Vec<String>,
    },
    /// The compute core refused.
    #[error(transparent)]
    Compute(#[from] retune_compute::Error),
}

fn hint_of(hint: &Option<String>) -> String {
    let line = hint.iter().map(|hint| format!("\nhint: {hint}"));
    line.collect()
}

/// The problems, a line each; of many the first ones, and how many more there are.
fn first_of(problems: &[String]) -> String {
    const SHOWN: usize = 12;
    let mut lines: Vec<String> = problems.iter().take(SHOWN).cloned().collect();
    if let Some(more @ 1..) = problems.len().checked_sub(SHOWN) {
        lines.push(format!("… and {more} more"));
    }
    lines.join("\n  ")
}
