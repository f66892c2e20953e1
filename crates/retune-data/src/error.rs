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
}
