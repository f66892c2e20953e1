//! What can be wrong with a user's files.

use std::fmt;

use crate::gate::TemplateFault;
use crate::source::Place;

/// The result of reading or preparing data.
pub type Result<T> = std::result::Result<T, Error>;

/// Something in the input that cannot be used as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A chat template is not valid Jinja, or uses what Hugging Face's
    /// environment does not have.
    #[error(
        "chat template, line {line}: {problem}\n\
         hint: the template stands in `chat_template.jinja` or in `tokenizer_config.json`"
    )]
    TemplateSyntax {
        /// The line, from 1.
        line: usize,
        /// What is wrong, in words.
        problem: String,
    },
    /// A chat template failed on a conversation.
    #[error("chat template, line {line}: {problem}")]
    TemplateFailed {
        /// The line, from 1.
        line: usize,
        /// What went wrong, in words.
        problem: String,
    },
    /// A chat template refused a conversation with `raise_exception`.
    #[error("the chat template refuses this conversation: {message}")]
    TemplateRefused {
        /// What the template says.
        message: String,
    },
    /// An argument that makes no sense.
    #[error("{problem}")]
    Argument {
        /// What is wrong with it, in words.
        problem: String,
    },
    /// A file is missing, or not what it should be.
    #[error("{} {problem}", path.display())]
    File {
        /// The file.
        path: std::path::PathBuf,
        /// What is wrong with it, in words.
        problem: String,
    },
    /// The columns of a data file cannot be understood.
    #[error("{}: {problem}", path.display())]
    Layout {
        /// The file.
        path: std::path::PathBuf,
        /// What is wrong, in words.
        problem: String,
    },
    /// A row of a data file cannot be used; the next ones can.
    #[error(transparent)]
    Row(Box<RowError>),
    /// The tokenizer cannot encode a text.
    #[error("the tokenizer cannot encode a text: {problem}")]
    Encoding {
        /// What it says.
        problem: String,
    },
    /// A chat template writes the turns before a message differently once the
    /// message is there, so that what was learned is not what is asked.
    #[error(
        "message {message}: the chat template changes what stands before it\n\
         without it: {before:?}\n   with it: {after:?}\n\
         hint: use a template that writes each turn once and for all"
    )]
    NotAPrefix {
        /// The message, from 0.
        message: usize,
        /// The text without the message, around the first difference.
        before: String,
        /// The text with it.
        after: String,
    },
    /// An assistant's turn does not end in a special token, so that a model
    /// would not learn to stop.
    #[error("message {message}: the chat template does not end the turn with a special token")]
    NoTerminator {
        /// The message, from 0.
        message: usize,
    },
    /// A sample has nothing to learn from.
    #[error("there is nothing to learn from: no turn is the assistant's, or all are excluded")]
    NothingScored,
    /// No row of a file gave a sample.
    #[error(
        "none of {} is left to learn from: {over_long} had more tokens than max_length, {unusable} could not be used\n\
         hint: raise --max-length; retune data lint says what is wrong with rows",
        counted(*rows as usize, "row", "rows")
    )]
    NoSamples {
        /// Rows read.
        rows: u64,
        /// Rows that were dropped because they were too long.
        over_long: usize,
        /// Rows that could not be used.
        unusable: usize,
    },
    /// Training with the model's chat template would be in vain.
    #[error("{}", in_words(.faults))]
    TemplateUnfit {
        /// What is wrong with it.
        faults: Vec<TemplateFault>,
    },
    /// Files hold no text to learn a tokenizer from.
    #[error("there is no text in {rows} rows")]
    NoText {
        /// Rows read.
        rows: u64,
    },
    /// A model without a chat template was asked for a conversation.
    #[error(
        "the model has no chat template: neither `chat_template` in tokenizer_config.json nor chat_template.jinja\n\
         hint: use an instruct model, or name a template with --chat-template FILE"
    )]
    NoTemplate,
    /// A sample has more tokens than are allowed.
    #[error(
        "the row has {tokens} tokens, more than the {max_length} of max_length\n\
         hint: raise --max-length, or choose --over-long drop, truncate-prompt or truncate-answer"
    )]
    OverLong {
        /// The row's tokens.
        tokens: usize,
        /// How many are allowed.
        max_length: usize,
    },
    /// A sample cannot become tokens.
    #[error("{place}: {problem}")]
    Sample {
        /// The sample's row.
        place: Place,
        /// Why.
        problem: Box<Error>,
    },
    /// It is not clear where items, annotators or labels are in a file.
    #[error("{problem}\nhint: {hint}")]
    Annotations {
        /// What is unclear, in words.
        problem: String,
        /// What to do about it.
        hint: String,
    },
    /// Annotations that agreement cannot be computed from.
    #[error("{problem}, but agreement needs two annotators and an item that both have rated")]
    NothingToCompare {
        /// What there is, in words.
        problem: String,
    },
    /// Labels do not fit the scale that they are said to be on.
    #[error("{problem}\nhint: {hint}")]
    LabelScale {
        /// What does not fit, in words.
        problem: String,
        /// What to do about it.
        hint: &'static str,
    },
    /// There is more of something than memory is for.
    #[error("too much to work on: {what} (the limit is {limit})")]
    TooMuch {
        /// Of what.
        what: &'static str,
        /// How many are possible.
        limit: usize,
    },
}

/// What is wrong with one row of a data file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowError {
    /// The row.
    pub place: Place,
    /// The field, if it is one field's fault: `output`, `messages[2].role`.
    pub field: Option<String>,
    /// What was expected and what was found, in words.
    pub problem: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl RowError {
    /// An error of the row at `place`.
    pub fn new(place: Place, problem: impl Into<String>) -> Self {
        Self {
            place,
            field: None,
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

    /// The same, of one field.
    #[must_use]
    pub fn field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }
}

impl fmt::Display for RowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.place)?;
        if let Some(field) = &self.field {
            write!(f, ", field `{field}`")?;
        }
        write!(f, ": {}", self.problem)?;
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for RowError {}

impl From<RowError> for Error {
    fn from(error: RowError) -> Self {
        Self::Row(Box::new(error))
    }
}

/// A number and the word for what it counts.
pub(crate) fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// All faults, then what to do about them, each hint once.
fn in_words(faults: &[TemplateFault]) -> String {
    let problems = faults.iter();
    let problems = problems.map(|fault| format!("{}: {}", fault.rule, fault.problem));
    let mut lines: Vec<String> = problems.collect();
    for fault in faults {
        let hint = format!("hint: {}", fault.hint);
        if !lines.contains(&hint) {
            lines.push(hint);
        }
    }
    lines.join("\n")
}

impl Error {
    /// Whether it is about a file and not about one of its rows, so that nothing is known of
    /// the rows behind it.
    pub fn ends_its_file(&self) -> bool {
        matches!(self, Self::File { .. } | Self::Layout { .. })
    }
}
