//! Text or tokens, one or several: what completions and embeddings are given.

use retune_data::Tokenizer;
use retune_generate::Assistant;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::error::{ApiError, ApiResult};

/// Text or tokens, one prompt or several.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(
    untagged,
    expecting = "expected a text, a list of tokens, or a list of either"
)]
pub(super) enum Prompts {
    Text(String),
    Texts(Vec<String>),
    Tokens(Vec<u32>),
    Lists(Vec<Vec<u32>>),
}

/// A prompt as it is answered, and as it was given.
pub(super) struct Prompt {
    pub(super) ids: Vec<u32>,
    /// None if it was given as tokens.
    text: Option<String>,
}

impl Prompt {
    pub(super) fn into_text(self, tokenizer: &Tokenizer) -> String {
        self.text.unwrap_or_else(|| tokenizer.decode(&self.ids))
    }
}

impl Prompts {
    pub(super) fn count(&self) -> usize {
        match self {
            Self::Text(_) | Self::Tokens(_) => 1,
            Self::Texts(texts) => texts.len(),
            Self::Lists(lists) => lists.len(),
        }
    }

    /// All of them, at least one and at most `most`; `field` is where they stand.
    ///
    /// # Errors
    /// 400.
    pub(super) fn read(
        self,
        assistant: &Assistant,
        field: &str,
        most: usize,
    ) -> ApiResult<Vec<Prompt>> {
        let tokenizer = &assistant.tokenizer;
        let of_text = |text: String| {
            check_bytes(assistant, text.len(), field)?;
            let ids = tokenizer
                .text_ids(&text)
                .map_err(|error| ApiError::invalid(field, format!("{field}: {error}")))?;
            Ok(Prompt {
                ids,
                text: Some(text),
            })
        };
        let of_ids = |ids: Vec<u32>| Prompt { ids, text: None };
        let count = self.count();
        if !(1..=most).contains(&count) {
            let problem = format!("{field}: expected 1 to {most}, found {count}");
            return Err(ApiError::invalid(field, problem));
        }
        match self {
            Self::Text(text) => of_text(text).map(|prompt| vec![prompt]),
            Self::Texts(texts) => texts.into_iter().map(of_text).collect(),
            Self::Tokens(ids) => Ok(vec![of_ids(ids)]),
            Self::Lists(lists) => Ok(lists.into_iter().map(of_ids).collect()),
        }
    }
}

/// How much shorter a text may become before it is cut into tokens, as by normalization.
const SHORTENED: usize = 4;

/// Whether a text of `bytes` bytes, which stands in `field`, may have as few tokens as the
/// model takes. So a text that is far too long is refused before it costs anything.
///
/// # Errors
/// 400.
pub(super) fn check_bytes(assistant: &Assistant, bytes: usize, field: &str) -> ApiResult<()> {
    let context = assistant.model.config().max_position_embeddings;
    let longest = assistant.tokenizer.longest_token_bytes();
    let least = bytes / (SHORTENED * longest);
    match least > context {
        false => Ok(()),
        true => Err(ApiError {
            code: Some("context_length_exceeded"),
            ..ApiError::invalid(
                field,
                format!(
                    "the text of {bytes} bytes has more tokens than the model takes, {context}; shorten it"
                ),
            )
        }),
    }
}
