//! What goes wrong, as the program sees it and as a client does.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use retune_generate::Error as Generate;
use serde_json::json;

/// Why a server cannot be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The model cannot be opened, or its cache has no room.
    #[error(transparent)]
    Generate(#[from] Generate),
    /// The address cannot be listened on.
    #[error("{address} cannot be listened on: {problem}\nhint: choose another --host or --port")]
    Address {
        /// What was asked for.
        address: String,
        /// What the system says.
        problem: std::io::Error,
    },
    /// The thread that owns the model has ended, which is no request's fault.
    #[error("the model's thread has ended; this is a fault of retune")]
    Engine,
    /// A file is missing or not what it should be.
    #[error("{} {problem}", path.display())]
    File {
        /// The file.
        path: std::path::PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A setting of the server makes no sense.
    #[error("{name}: {problem}")]
    Setting {
        /// Its name.
        name: &'static str,
        /// What is wrong with it, and what to do.
        problem: String,
    },
}

/// An error as OpenAI's clients read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
    /// The field of the request that is wrong.
    pub(crate) param: Option<String>,
    pub(crate) code: Option<&'static str>,
}

pub(crate) type ApiResult<T> = std::result::Result<T, ApiError>;

impl ApiError {
    /// The request is wrong.
    pub(crate) fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            message: message.into(),
            param: Some(param.into()),
            code: None,
        }
    }

    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            param: None,
            code: Some(code),
        }
    }

    /// The client has not brought the key along that is asked for.
    pub(crate) fn no_key(message: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "invalid_api_key", message)
    }

    /// There is nothing at `path`.
    pub(crate) fn nowhere(path: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "unknown_url",
            format!(
                "there is no {path} here; /openapi.json has all routes, such as /v1/chat/completions, and there is a page at /"
            ),
        )
    }

    /// The answer takes longer than `time`.
    pub(crate) fn too_late(time: std::time::Duration) -> Self {
        Self::new(
            StatusCode::GATEWAY_TIMEOUT,
            "deadline",
            format!(
                "the answer was not there after {} s; ask for fewer tokens, or come when there is less to do",
                time.as_secs_f64()
            ),
        )
    }

    /// The engine failed, which no request is to blame for.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", message)
    }

    /// The body of the answer, which also stands in a stream that breaks off.
    pub(crate) fn body(&self) -> serde_json::Value {
        let kind = match self.status {
            StatusCode::UNAUTHORIZED => "authentication_error",
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            status if status.is_server_error() => "server_error",
            _ => "invalid_request_error",
        };
        json!({"error": {
            "message": self.message,
            "type": kind,
            "param": self.param,
            "code": self.code,
        }})
    }
}

impl From<Generate> for ApiError {
    fn from(error: Generate) -> Self {
        match error {
            Generate::Setting { ref name, .. } => {
                Self::invalid(renamed(name), renamed(&error.to_string()))
            }
            Generate::TooLong { .. } => Self {
                code: Some("context_length_exceeded"),
                ..Self::invalid("messages", error.to_string())
            },
            Generate::EmptyPrompt | Generate::UnknownToken { .. } => {
                Self::invalid("prompt", error.to_string())
            }
            Generate::Grammar { .. } => Self::invalid("response_format", error.to_string()),
            // Of what leaves no token, each alone may be right.
            Generate::NothingAllowed => Self::new(
                StatusCode::BAD_REQUEST,
                "nothing_allowed",
                renamed(&error.to_string()),
            ),
            // A template that refuses the messages.
            Generate::Tokens(_) => Self::invalid("messages", error.to_string()),
            _ => Self::internal(error.to_string()),
        }
    }
}

/// OpenAI's names for what Hugging Face calls otherwise.
fn renamed(text: &str) -> String {
    text.replace("_new_tokens", "_tokens")
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body())).into_response();
        let headers = response.headers_mut();
        if self.status == StatusCode::TOO_MANY_REQUESTS {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
