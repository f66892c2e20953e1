//! The bodies of requests.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use crate::error::{ApiError, ApiResult};

/// How long a body may take to come.
const TIME: Duration = Duration::from_secs(30);

/// A body of JSON. The header that says so may be missing.
pub(crate) struct Body {
    json: Json,
    /// Its length.
    pub(crate) bytes: usize,
}

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let read = tokio::time::timeout(TIME, Bytes::from_request(request, state)).await;
        let read = read.map_err(|_| {
            ApiError::new(
                StatusCode::REQUEST_TIMEOUT,
                "slow_body",
                format!("the body did not come within {} s", TIME.as_secs()),
            )
        })?;
        let bytes = read.map_err(unreadable)?;
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
    pub(crate) fn into_bytes(self) -> usize {
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
