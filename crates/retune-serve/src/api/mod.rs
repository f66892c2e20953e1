//! The routes, and what they have in common.

mod about;
mod adapters;
mod answers;
mod body;
mod chat;
mod completions;
mod data;
mod embeddings;
mod fields;
mod messages;
mod openapi;
mod page;
mod prompts;
mod query;
mod runs;
mod tokens;
mod tools;

pub(crate) use body::{MOST_LARGE, bytes_within, stated_length, unreadable};

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::{get, post};
use subtle::ConstantTimeEq as _;
use tokio::sync::Semaphore;

use crate::adapters::OpenFolder;
use crate::desk::{Desk, MOST_FILE_BYTES};
use crate::engine::Engine;
use crate::error::{ApiError, ApiResult};
use crate::models::Models;
use crate::readers::Readers;
use crate::runs::Runs;

/// Bytes that the body of a request may have. Cut into tokens, a text takes some hundred
/// times its size.
const MOST_BYTES: usize = 2 << 20;

/// What all routes know.
pub(crate) struct Shared {
    pub(crate) engine: Engine,
    pub(crate) models: Arc<Models>,
    pub(crate) runs: Runs,
    pub(crate) desk: Desk,
    pub(crate) readers: Readers,
    /// Had by large bodies that are on their way.
    pub(crate) large_bodies: Semaphore,
    /// What requests have to bring along, if anything.
    pub(crate) api_key: Option<String>,
    /// Whether only what calls this machine by a name of its own may ask.
    pub(crate) only_local_names: bool,
    /// Whether the server is on its way down.
    pub(crate) draining: AtomicBool,
    /// Where adapters can be loaded from, if anywhere.
    pub(crate) adapters: Option<Arc<OpenFolder>>,
    /// How long a request may take.
    pub(crate) request_time: Duration,
    /// How long a client may take to send or read something.
    pub(crate) client_time: Duration,
    /// Seconds since 1970 when it began.
    pub(crate) started: u64,
}

/// All routes.
pub(crate) fn router(shared: Arc<Shared>) -> Router {
    let admin = Router::new()
        .route("/v1/load_lora_adapter", post(adapters::load))
        .route("/v1/unload_lora_adapter", post(adapters::unload))
        .route_layer(from_fn_with_state(Arc::clone(&shared), guard_admin));
    let of_a_file = DefaultBodyLimit::max(MOST_FILE_BYTES);
    let answered = Router::new()
        .route("/v1/chat/completions", post(chat::create))
        .route("/v1/completions", post(completions::create))
        .route("/v1/embeddings", post(embeddings::create))
        .route("/tokenize", post(tokens::tokenize))
        .route("/detokenize", post(tokens::detokenize))
        .route_layer(from_fn_with_state(Arc::clone(&shared), take_slot));
    let guarded = Router::new()
        .merge(answered)
        .route("/v1/models", get(about::models))
        .route("/v1/models/{name}", get(about::model))
        .route("/metrics", get(about::metrics))
        .route("/runs", get(runs::list))
        .route("/runs/{id}/metrics", get(runs::metrics))
        .route("/data/lint", post(data::lint).layer(of_a_file))
        .route("/data/row", post(data::row).layer(of_a_file))
        .route_layer(from_fn_with_state(Arc::clone(&shared), guard));
    Router::new()
        .merge(guarded)
        .merge(admin)
        .route("/health", get(about::health))
        .route("/openapi.json", get(openapi::document_route))
        .route("/", get(page::index))
        .route("/{name}", get(page::part))
        .route_layer(from_fn_with_state(Arc::clone(&shared), count))
        .fallback(nowhere)
        .method_not_allowed_fallback(another_method)
        .layer(DefaultBodyLimit::max(MOST_BYTES))
        .layer(from_fn_with_state(Arc::clone(&shared), check_host))
        .with_state(shared)
}

/// Refuses what came here by a name that is not this machine's own. A site can have its
/// name lead to 127.0.0.1, and its page then counts as one of this server.
async fn check_host(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> ApiResult<Response> {
    let host = request.headers().get(header::HOST);
    let host = host
        .and_then(|host| host.to_str().ok())
        .unwrap_or("localhost");
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    let is_local = name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok();
    // What a page asks elsewhere than where it comes from says where it comes from.
    let origin = request.headers().get(header::ORIGIN);
    let origin = origin.map(|origin| origin.to_str().unwrap_or_default());
    let is_own = origin.is_none_or(|origin| {
        let from = origin.split_once("://").map(|(_, from)| from);
        from.is_some_and(|from| from.eq_ignore_ascii_case(host))
    });
    if !is_own && shared.only_local_names {
        return Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "another_origin",
            "pages of others may not ask this server; one that they may ask wants --api-key",
        ));
    }
    match is_local || !shared.only_local_names {
        true => Ok(next.run(request).await),
        false => Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "unknown_host",
            format!(
                "{name:?} is no name of this machine; a server that has others wants --api-key"
            ),
        )),
    }
}

/// Takes a slot for a request when its body has come, and before anything else is done.
async fn take_slot(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> ApiResult<Response> {
    let mut request = body::received(&shared, request).await?;
    let slot = Arc::new(shared.engine.slot()?);
    // The server goes down when no slot is taken, which may have been just now.
    shared.check_is_up()?;
    request.extensions_mut().insert(slot);
    Ok(next.run(request).await)
}

/// Counts responses.
async fn count(
    State(shared): State<Arc<Shared>>,
    path: MatchedPath,
    request: Request,
    next: Next,
) -> Response {
    let response = next.run(request).await;
    let status = response.status().as_u16();
    shared.engine.meters().responded(path.as_str(), status);
    response
}

/// Lets through who has the key, while the server is not on its way down.
async fn guard(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> ApiResult<Response> {
    if let Some(key) = &shared.api_key
        && !has_key(&request, key)
    {
        body::hear_out(request).await;
        return Err(ApiError::no_key(
            "this server asks for an API key: Authorization: Bearer KEY",
        ));
    }
    shared.check_is_up()?;
    Ok(next.run(request).await)
}

/// Lets through who has the key of those who may change what is served.
async fn guard_admin(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> ApiResult<Response> {
    let key = match &shared.adapters {
        Some(adapters) => Some(adapters.admin_key()),
        None => shared.api_key.as_deref(),
    };
    if key.is_some_and(|key| !has_key(&request, key)) {
        body::hear_out(request).await;
        return Err(ApiError::no_key(
            "loading and unloading asks for the admin key: Authorization: Bearer KEY",
        ));
    }
    shared.check_is_up()?;
    Ok(next.run(request).await)
}

/// What stands before the key.
const SCHEME: &[u8] = b"Bearer ";

/// However long it takes says nothing about the key.
fn has_key(request: &Request, key: &str) -> bool {
    let given = request.headers().get(header::AUTHORIZATION);
    let given = given.and_then(|value| value.as_bytes().split_at_checked(SCHEME.len()));
    given.is_some_and(|(scheme, given)| {
        scheme.eq_ignore_ascii_case(SCHEME) && given.ct_eq(key.as_bytes()).into()
    })
}

impl Shared {
    fn check_is_up(&self) -> ApiResult<()> {
        match self.draining.load(Ordering::SeqCst) {
            false => Ok(()),
            true => Err(ApiError::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "shutting_down",
                "the server is on its way down and takes no more requests",
            )),
        }
    }
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
