//! What can be wrong with a user's files.

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
    /// A file is missing, or not what it should be.
    #[error("{} {problem}", path.display())]
    File {
        /// The file.
        path: std::path::PathBuf,
        /// What is wrong with it, in words.
        problem: String,
    },
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
    /// A conversation has nothing to learn from.
    #[error("no message is the assistant's, so there is nothing to learn from")]
    NothingScored,
}
