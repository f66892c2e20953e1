//! The bodies of requests.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use super::Shared;
use crate::error::{ApiError, ApiResult};

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
