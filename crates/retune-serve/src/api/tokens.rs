//! `/tokenize` and `/detokenize`, as llama.cpp's server and vLLM have them.

use std::sync::Arc;

use axum::Json as JsonBody;
use axum::extract::State;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::Shared;
use super::body::Body;
use crate::error::{ApiError, ApiResult};

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct TokenizeRequest {
    model: Option<String>,
    /// llama.cpp's name of it.
    content: Option<String>,
    /// vLLM's.
    prompt: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct DetokenizeRequest {
    model: Option<String>,
    tokens: Vec<u32>,
}

pub(super) async fn tokenize(
    State(shared): State<Arc<Shared>>,
    body: Body,
) -> ApiResult<JsonBody<Json>> {
    let request: TokenizeRequest = body.read()?;
    let bytes = body.into_length();
    let served = shared.models.find(request.model.as_deref())?;
    let text = request.content.or(request.prompt);
    let text = text.ok_or_else(|| ApiError::invalid("content", "content: expected a text"))?;
    let read = move || {
        let tokens = served.assistant.tokenizer.text_ids(&text);
        tokens.map_err(|error| ApiError::invalid("content", format!("content: {error}")))
    };
    let tokens = shared.readers.run(bytes, read).await?;
    Ok(JsonBody(json!({"count": tokens.len(), "tokens": tokens})))
}

pub(super) async fn detokenize(
    State(shared): State<Arc<Shared>>,
    body: Body,
) -> ApiResult<JsonBody<Json>> {
    let request: DetokenizeRequest = body.read()?;
    let bytes = body.into_length();
    let served = shared.models.find(request.model.as_deref())?;
    let vocabulary = served.assistant.model.config().vocab_size;
    if let Some(id) = request.tokens.iter().find(|id| **id as usize >= vocabulary) {
        let problem = format!("tokens: {id} is no token of the model, which has {vocabulary}");
        return Err(ApiError::invalid("tokens", problem));
    }
    let read = move || Ok(served.assistant.tokenizer.decode(&request.tokens));
    let text = shared.readers.run(bytes, read).await?;
    Ok(JsonBody(json!({"content": text, "prompt": text})))
}
