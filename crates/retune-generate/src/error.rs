//! What can go wrong with generation.

use std::path::PathBuf;

/// The result of something that generates.
pub type Result<T> = std::result::Result<T, Error>;

/// Why nothing can be generated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder is missing or not what it should be.
    #[error("{} {problem}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, in words.
        problem: String,
    },
    /// An adapter's base model is not where the adapter says.
    #[error(
        "{} is an adapter of the model {:?}, which is no folder here\nhint: name the base model's folder with --model",
        path.display(),
        base.display().to_string()
    )]
    NoBase {
        /// The adapter's folder.
        path: PathBuf,
        /// Its base model, as it says; empty if it says nothing.
        base: PathBuf,
    },
    /// A setting of a request makes no sense.
    #[error("{name}: expected {expected}, found {found}")]
    Setting {
        /// Its name, as Hugging Face has it.
        name: String,
        /// Which values it takes.
        expected: String,
        /// What was given.
        found: String,
    },
    /// A prompt without tokens.
    #[error("the prompt is empty\nhint: write at least one character")]
    EmptyPrompt,
    /// A prompt of token numbers that the model does not have.
    #[error(
        "the prompt holds token {id}, and the model has tokens below {vocabulary}\nhint: encode it with the model's own tokenizer"
    )]
    UnknownToken {
        /// The token.
        id: u32,
        /// The size of the model's vocabulary.
        vocabulary: usize,
    },
    /// The model computes numbers that are not finite.
    #[error(
        "the model gives logits that are not finite\nhint: its weights may be damaged, or too large for bf16; --precision f32 tells"
    )]
    NotFinite,
    /// Bans, biases and the grammar leave no token to choose.
    #[error(
        "no token is left to choose from\nhint: relax what forbids tokens: logit_bias, min_new_tokens, no_repeat_ngram_size or a schema"
    )]
    NothingAllowed,
    /// What an answer is to be cannot be made into a grammar.
    #[error("{problem}")]
    Grammar {
        /// What is wrong with it.
        problem: String,
    },
    /// A prompt that leaves no room for an answer.
    #[error(
        "the prompt has {tokens} tokens, and with the answer there is room for {context}\nhint: shorten it, or leave out earlier turns"
    )]
    TooLong {
        /// Tokens of the prompt.
        tokens: usize,
        /// Tokens that there is room for.
        context: usize,
    },
    /// Tokenizer or template.
    #[error(transparent)]
    Tokens(#[from] retune_data::Error),
    /// The model cannot be opened or run.
    #[error(transparent)]
    Model(#[from] retune_model::Error),
}
