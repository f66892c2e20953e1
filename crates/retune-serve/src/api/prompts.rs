//! Text or tokens, one or several: what completions and embeddings are given.

use retune_data::Tokenizer;
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

/// A prompt as it is answered, and as it is echoed.
pub(super) struct Prompt {
    pub(super) ids: Vec<u32>,
    pub(super) text: String,
}

impl Prompts {
    /// All of them, at least one and at most `most`; `field` is where they stand.
    ///
    /// # Errors
    /// 400.
    pub(super) fn read(
        self,
        tokenizer: &Tokenizer,
        field: &str,
        most: usize,
    ) -> ApiResult<Vec<Prompt>> {
        let of_text = |text: String| {
            let ids = tokenizer
                .text_ids(&text)
                .map_err(retune_generate::Error::from)?;
            Ok(Prompt { ids, text })
        };
        let of_ids = |ids: Vec<u32>| {
            let text = tokenizer.decode(&ids);
            Ok(Prompt { ids, text })
        };
        let count = match &self {
            Self::Text(_) | Self::Tokens(_) => 1,
            Self::Texts(texts) => texts.len(),
            Self::Lists(lists) => lists.len(),
        };
        if !(1..=most).contains(&count) {
            let problem = format!("{field}: expected 1 to {most}, found {count}");
            return Err(ApiError::invalid(field, problem));
        }
        match self {
            Self::Text(text) => of_text(text).map(|prompt| vec![prompt]),
            Self::Texts(texts) => texts.into_iter().map(of_text).collect(),
            Self::Tokens(ids) => of_ids(ids).map(|prompt| vec![prompt]),
            Self::Lists(lists) => lists.into_iter().map(of_ids).collect(),
        }
    }
}
