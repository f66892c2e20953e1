//! What is served, and whether it works.

use std::sync::Arc;
use std::time::Duration;

use axum::Json as JsonBody;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use serde_json::{Value as Json, json};

use super::Shared;
use crate::error::{ApiError, ApiResult};
use crate::models::Served;

/// How long a step of the engine may take before it counts as stuck.
const STUCK: Duration = Duration::from_secs(60);

pub(super) async fn models(State(shared): State<Arc<Shared>>) -> JsonBody<Json> {
    let all = shared.models.all();
    let data: Vec<Json> = all.iter().map(|served| told(&shared, served)).collect();
    JsonBody(json!({"object": "list", "data": data}))
}

pub(super) async fn model(
    State(shared): State<Arc<Shared>>,
    name: Result<Path<String>, PathRejection>,
) -> ApiResult<JsonBody<Json>> {
    // What is no text is no model's name.
    let name = name.map_or_else(|_| "\u{fffd}".to_owned(), |Path(name)| name);
    let served = shared.models.find(Some(&name))?;
    Ok(JsonBody(told(&shared, &served)))
}

/// OpenAI's fields of a model, and in one of ours what a page asks for.
fn told(shared: &Shared, served: &Served) -> Json {
    let assistant = &served.assistant;
    let sampling = &assistant.sampling;
    let kind = match &assistant.adapter {
        Some(_) => "adapter",
        None => "base",
    };
    let temperature = match sampling.do_sample {
        true => sampling.temperature,
        false => 0.0,
    };
    json!({
        "id": served.name,
        "object": "model",
        "created": shared.started,
        "owned_by": "retune",
        "retune": {
            "kind": kind,
            "system": assistant.source.system,
            "context": assistant.model.config().max_position_embeddings,
            "sampling": {
                "temperature": temperature,
                "top_p": sampling.top_p,
                "top_k": sampling.top_k,
                "repetition_penalty": sampling.repetition_penalty,
                "max_tokens": sampling.max_new_tokens,
            },
        },
    })
}

/// Whether the engine comes by, and what it has to do.
pub(super) async fn health(State(shared): State<Arc<Shared>>) -> ApiResult<JsonBody<Json>> {
    let load = tokio::time::timeout(STUCK, shared.engine.load())
        .await
        .map_err(|_| {
            ApiError::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "engine_stuck",
                format!(
                    "the model has not finished a step for {} s",
                    STUCK.as_secs()
                ),
            )
        })??;
    Ok(JsonBody(json!({
        "status": "ok",
        "open": shared.engine.open(),
        "running": load.running,
        "waiting": load.waiting,
        "cache_tokens": load.cache_tokens,
        "free_tokens": load.free_tokens,
    })))
}

/// Figures of the work, as Prometheus reads them.
pub(super) async fn metrics(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    ([(CONTENT_TYPE, kind)], shared.engine.meters().render())
}
