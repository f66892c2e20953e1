//! `/v1/embeddings`: texts as vectors.

use std::sync::Arc;

use axum::Json as JsonBody;
use axum::extract::{Extension, State};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use retune_generate::{EmbedRequest, Pooling};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::Shared;
use super::body::Body;
use super::prompts::Prompts;
use crate::engine::Slot;
use crate::error::{ApiError, ApiResult};

/// Texts that one request may have.
const MOST_TEXTS: usize = 2048;

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct EmbeddingRequest {
    model: Option<String>,
    input: Prompts,
    encoding_format: Option<Encoding>,
    dimensions: Option<usize>,
    pooling: Option<Pooled>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Encoding {
    #[default]
    Float,
    /// Little-endian f32.
    Base64,
}

/// What becomes of the vectors of a text's tokens: OpenAI has no field for it.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Pooled {
    #[default]
    Mean,
    Last,
}

pub(super) async fn create(
    State(shared): State<Arc<Shared>>,
    Extension(slot): Extension<Arc<Slot>>,
    body: Body,
) -> ApiResult<JsonBody<Json>> {
    let request: EmbeddingRequest = body.read()?;
    let bytes = body.into_length();
    let served = shared.models.find(request.model.as_deref())?;
    let size = served.assistant.model.config().hidden_size;
    if let Some(asked) = request.dimensions.filter(|asked| *asked != size) {
        let problem = format!("dimensions: the model's vectors have {size}, not {asked}");
        return Err(ApiError::invalid("dimensions", problem));
    }
    let pooling = match request.pooling.unwrap_or_default() {
        Pooled::Mean => Pooling::Mean,
        Pooled::Last => Pooling::Last,
    };
    let assistant = Arc::clone(&served.assistant);
    let read = move || {
        let prompts = request
            .input
            .read(&assistant, "input", MOST_TEXTS)?
            .into_iter();
        let texts = prompts.map(|prompt| {
            let text = EmbedRequest {
                ids: prompt.ids,
                adapter: assistant.adapter.clone(),
                pooling,
            };
            match text.check(&assistant.model) {
                Ok(()) => Ok(text),
                Err(error) => Err(ApiError {
                    param: Some("input".to_owned()),
                    ..error.into()
                }),
            }
        });
        texts.collect::<ApiResult<Vec<EmbedRequest>>>()
    };
    let texts = shared.readers.run(bytes, read).await?;
    let tokens: usize = texts.iter().map(|text| text.ids.len()).sum();
    let left = shared.request_time.saturating_sub(slot.since.elapsed());
    let vectors = tokio::time::timeout(left, shared.engine.embed(&slot, texts)?.wait())
        .await
        .map_err(|_| ApiError::too_late(shared.request_time))??;
    let encode = |vector: Vec<f32>| match request.encoding_format.unwrap_or_default() {
        Encoding::Float => Json::from(vector),
        Encoding::Base64 => {
            let bytes = vector.iter().flat_map(|value| value.to_le_bytes());
            STANDARD.encode(bytes.collect::<Vec<u8>>()).into()
        }
    };
    let entry = |(index, vector): (usize, Vec<f32>)| json!({"object": "embedding", "index": index, "embedding": encode(vector)});
    let data: Vec<Json> = vectors.into_iter().enumerate().map(entry).collect();
    Ok(JsonBody(json!({
        "object": "list",
        "model": served.name,
        "data": data,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    })))
}
