//! What can go wrong with a run.

use std::fmt;
use std::path::PathBuf;

/// The result of something that a run does.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a run cannot begin or go on.
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
        "step {step}: the {what} is not finite; nothing was changed by this step\n  {}\nhint: look at these samples; a lower learning_rate or max_grad_norm helps where the loss rose before; on_nonfinite=skip leaves such steps out",
        samples.join("\n  ")
    )]
    NonFinite {
        /// The optimizer step, the first being 1.
        step: u64,
        /// `loss` or `norm of the gradients`.
        what: &'static str,
        /// The step's samples, with what each begins with, in words.
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
    /// The settings cannot be used; all that is wrong with them.
    #[error("{}", listed(.mistakes))]
    Config {
        /// In the order in which they stand in the file, then on the command line.
        mistakes: Vec<Mistake>,
    },
}

fn listed(mistakes: &[Mistake]) -> String {
    let shown: Vec<String> = mistakes.iter().map(Mistake::to_string).collect();
    match &shown[..] {
        [one] => one.clone(),
        _ => format!(
            "{} mistakes in the settings\n\n{}",
            shown.len(),
            shown.join("\n\n")
        ),
    }
}

/// One thing that is wrong with the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Where it stands.
    pub place: Place,
    /// The setting, as it is written there; none if it is the whole file's fault.
    pub key: Option<String>,
    /// What was expected and what was found, in words.
    pub problem: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// Where a setting was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In a file.
    File {
        /// The file, as it was named.
        path: PathBuf,
        /// The line, from 1; none for the whole file.
        line: Option<usize>,
        /// The column in characters, from 1.
        column: Option<usize>,
    },
    /// On the command line.
    CommandLine {
        /// The option or argument, as it was written: `--learning_rate`.
        option: String,
    },
    /// Nowhere: something is missing.
    Nowhere,
}

impl Mistake {
    /// A mistake of the setting `key`.
    pub fn new(place: Place, key: &str, problem: impl Into<String>) -> Self {
        Self {
            place,
            key: Some(key.to_owned()),
            problem: problem.into(),
            hint: None,
        }
    }

    /// The same, with what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.place, &self.key) {
            (Place::Nowhere, Some(key)) => write!(f, "`{key}`: ")?,
            (Place::Nowhere, None) => {}
            (Place::CommandLine { .. }, _) | (_, None) => write!(f, "{}: ", self.place)?,
            (Place::File { .. }, Some(key)) => write!(f, "{}, `{key}`: ", self.place)?,
        }
        f.write_str(&self.problem)?;
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line, column } => {
                write!(f, "{}", path.display())?;
                if let Some(line) = line {
                    write!(f, ", line {line}")?;
                }
                if let Some(column) = column {
                    write!(f, ", column {column}")?;
                }
                Ok(())
            }
            Self::CommandLine { option } => f.write_str(option),
            Self::Nowhere => f.write_str("the settings"),
        }
    }
}
