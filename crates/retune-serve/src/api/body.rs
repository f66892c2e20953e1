//! The bodies of requests.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body as HttpBody, Bytes};
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, Request};
use axum::http::{StatusCode, header};
use futures_util::StreamExt as _;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use super::{MOST_BYTES, Shared};
use crate::error::{ApiError, ApiResult};

/// Bytes from which on a body is large. One that does not say its length may be.
const LARGE: u64 = 64 << 10;
/// Large bodies that may be on their way at once; more are refused.
pub(crate) const MOST_LARGE: usize = 64;
/// How long one that is far too large is listened to, so that its client hears the answer.
const LISTEN: Duration = Duration::from_secs(1);

/// A body of JSON. The header that says so may be missing.
pub(crate) struct Body {
    json: Json,
    /// Its length.
    bytes: usize,
}

impl FromRequest<Arc<Shared>> for Body {
    type Rejection = ApiError;

    async fn from_request(request: Request, shared: &Arc<Shared>) -> Result<Self, ApiError> {
        let bytes = bytes_within(shared.client_time, request).await?;
        let bytes = bytes.map_err(unreadable)?;
        let read = serde_json::from_slice(&bytes);
        let invalid = |error: serde_json::Error| {
            ApiError::new(StatusCode::BAD_REQUEST, "invalid_json", error.to_string())
        };
        Ok(Self {
            json: read.map_err(invalid)?,
            bytes: bytes.len(),
        })
    }
}

/// `request` when its whole body has come. Until then it holds up nobody, however slowly
/// it comes, but others whose bodies are large.
///
/// # Errors
/// 413 if it is too large, 408 if it does not come, 429 if too many are on their way.
pub(super) async fn received(shared: &Shared, request: Request) -> ApiResult<Request> {
    let length = stated_length(&request);
    if let Some(length) = length.filter(|length| *length > MOST_BYTES as u64) {
        hear_out(request).await;
        let problem = format!("the body has {length} bytes; at most {MOST_BYTES} are taken");
        return Err(ApiError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "unreadable_body",
            problem,
        ));
    }
    let _large = match length.is_some_and(|length| length <= LARGE) {
        true => None,
        false => Some(shared.large_bodies.try_acquire().map_err(|_| {
            let problem = format!("{MOST_LARGE} large bodies are on their way already; try again");
            ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", problem)
        })?),
    };
    let (parts, body) = request.into_parts();
    let whole = Request::from_parts(parts.clone(), body);
    let bytes = bytes_within(shared.client_time, whole).await?;
    let bytes = bytes.map_err(unreadable)?;
    Ok(Request::from_parts(parts, HttpBody::from(bytes)))
}

/// Takes a body that nobody wants, for a while: who is still sending it when the connection is
/// closed may not get to read why.
pub(super) async fn hear_out(request: Request) {
    let mut rest = request.into_body().into_data_stream();
    let listen = async { while let Some(Ok(_)) = rest.next().await {} };
    let _ = tokio::time::timeout(LISTEN, listen).await;
}

/// The bytes that the body of `request` has, if it says so.
pub(crate) fn stated_length(request: &Request) -> Option<u64> {
    let length = request.headers().get(header::CONTENT_LENGTH)?;
    length.to_str().ok()?.parse().ok()
}

/// The body of `request`, if it comes within `time`.
///
/// # Errors
/// 408.
pub(crate) async fn bytes_within(
    time: Duration,
    request: Request,
) -> ApiResult<Result<Bytes, BytesRejection>> {
    let read = tokio::time::timeout(time, Bytes::from_request(request, &())).await;
    read.map_err(|_| {
        ApiError::new(
            StatusCode::REQUEST_TIMEOUT,
            "slow_body",
            format!("the body did not come within {} s", time.as_secs()),
        )
    })
}

/// A body that did not come, or is too large.
pub(crate) fn unreadable(error: BytesRejection) -> ApiError {
    let status = match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => StatusCode::PAYLOAD_TOO_LARGE,
        _ => StatusCode::BAD_REQUEST,
    };
    ApiError::new(status, "unreadable_body", error.body_text())
}

impl Body {
    /// Its length. What was read of it is all that is kept.
    pub(crate) fn into_length(self) -> usize {
        self.bytes
    }

    /// The fields that `T` has. Others are left alone, as OpenAI does.
    ///
    /// # Errors
    /// 400 with the name of the field that is wrong.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> ApiResult<T> {
        serde_path_to_error::deserialize(&self.json).map_err(|error| {
            let path = error.path().to_string();
            let problem = error.inner().to_string();
            match path.as_str() {
                "." => ApiError::new(StatusCode::BAD_REQUEST, "invalid_json", problem),
                _ => ApiError::invalid(path.clone(), format!("{path}: {problem}")),
            }
        })
    }
}
