//! Adapters loaded and unloaded, as vLLM's API has it.

use std::sync::Arc;

use axum::Json as JsonBody;
use axum::extract::State;
use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::Shared;
use super::body::Body;
use crate::adapters::OpenFolder;
use crate::error::{ApiError, ApiResult};
use crate::models::Served;

/// Letters of an adapter's name.
const MOST_LETTERS: usize = 128;

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct LoadRequest {
    lora_name: String,
    /// Below the adapter folder; the name, if it is not said.
    lora_path: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct UnloadRequest {
    lora_name: String,
}

/// Serves an adapter, in the place of the one that has its name already. Requests that
/// are being answered end with the one that they began with.
pub(super) async fn load(
    State(shared): State<Arc<Shared>>,
    body: Body,
) -> ApiResult<JsonBody<Json>> {
    let LoadRequest {
        lora_name: name,
        lora_path: path,
    } = body.read()?;
    let adapters = folder(&shared)?;
    let is_plain = |c: char| c.is_alphanumeric() || "-_.:".contains(c);
    if name.is_empty() || name.chars().count() > MOST_LETTERS || !name.chars().all(is_plain) {
        let problem = format!(
            "lora_name: expected at most {MOST_LETTERS} letters, digits, -, _, . and :, found {name:?}"
        );
        return Err(ApiError::invalid("lora_name", problem));
    }
    shared.models.check_place(&name)?;
    // One at a time: each may be large.
    let turn = Arc::clone(&adapters.opening).acquire_owned().await;
    let path = path.unwrap_or_else(|| name.clone());
    let opening = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        adapters.open(&path)
    });
    let opened = opening.await;
    let assistant = opened.map_err(|error| ApiError::internal(error.to_string()))??;
    let replaced = shared.models.put(Served {
        name: name.clone(),
        assistant: Arc::new(assistant),
    })?;
    Ok(JsonBody(json!({
        "object": "adapter",
        "id": name,
        "status": if replaced { "replaced" } else { "loaded" },
    })))
}

/// Serves an adapter no longer.
pub(super) async fn unload(
    State(shared): State<Arc<Shared>>,
    body: Body,
) -> ApiResult<JsonBody<Json>> {
    let UnloadRequest { lora_name: name } = body.read()?;
    folder(&shared)?;
    shared.models.remove(&name)?;
    Ok(JsonBody(
        json!({"object": "adapter", "id": name, "status": "unloaded"}),
    ))
}

fn folder(shared: &Shared) -> ApiResult<Arc<OpenFolder>> {
    shared.adapters.clone().ok_or_else(|| {
        ApiError::new(
            StatusCode::FORBIDDEN,
            "no_adapter_folder",
            "adapters are loaded only where the server was started with --adapter-folder and --admin-key",
        )
    })
}
