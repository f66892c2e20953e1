//! The routes, and what they have in common.

mod about;
mod answers;
mod body;
mod chat;
mod completions;
mod fields;
mod page;
mod tokens;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::{get, post};
use subtle::ConstantTimeEq as _;

use crate::engine::Engine;
use crate::error::{ApiError, ApiResult};
use crate::models::Models;

/// Bytes that the body of a request may have.
const MOST_BYTES: usize = 8 << 20;

/// What all routes know.
pub(crate) struct Shared {
    pub(crate) engine: Engine,
    pub(crate) models: Arc<Models>,
    /// What requests have to bring along, if anything.
    pub(crate) api_key: Option<String>,
    /// Whether the server is on its way down.
    pub(crate) draining: AtomicBool,
    /// Seconds since 1970 when it began.
    pub(crate) started: u64,
}

/// All routes.
pub(crate) fn router(shared: Arc<Shared>) -> Router {
    let guarded = Router::new()
        .route("/v1/models", get(about::models))
        .route("/v1/models/{name}", get(about::model))
        .route("/v1/chat/completions", post(chat::create))
        .route("/v1/completions", post(completions::create))
        .route("/tokenize", post(tokens::tokenize))
        .route("/detokenize", post(tokens::detokenize))
        .route_layer(from_fn_with_state(Arc::clone(&shared), guard));
    Router::new()
        .merge(guarded)
        .route("/health", get(about::health))
        .route("/", get(page::index))
        .route("/{name}", get(page::part))
        .fallback(nowhere)
        .method_not_allowed_fallback(another_method)
        .layer(DefaultBodyLimit::max(MOST_BYTES))
        .with_state(shared)
}

/// Lets through who has the key, while the server is not on its way down.
async fn guard(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> ApiResult<Response> {
    if let Some(key) = &shared.api_key {
        let given = request.headers().get(header::AUTHORIZATION);
        let given = given.and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
        // However long it takes says nothing about the key.
        let is_known = given.is_some_and(|given| given.ct_eq(key.as_bytes()).into());
        if !is_known {
            return Err(ApiError::new(
                StatusCode::UNAUTHORIZED,
                "invalid_api_key",
                "this server asks for an API key: Authorization: Bearer KEY",
            ));
        }
    }
    if shared.draining.load(Ordering::Relaxed) {
        return Err(ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "shutting_down",
            "the server is on its way down and takes no more requests",
        ));
    }
    Ok(next.run(request).await)
}

async fn nowhere(request: Request) -> ApiError {
    ApiError::nowhere(request.uri().path())
}

async fn another_method(request: Request) -> ApiError {
    ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        format!("{} takes no {}", request.uri().path(), request.method()),
    )
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// A name for an answer that no other has.
fn new_id(prefix: &str) -> String {
    format!("{prefix}-{}", uuid::Uuid::new_v4().simple())
}
