//! Data files that clients send to have them looked at. Nothing of them is kept.
//!
//! A file lies in the system's temporary folder, under a name of our own that others can
//! neither guess nor open, until the work on it has ended, however that ends. Files wait
//! in a bounded line, are worked on two at a time where that holds up no request, and are
//! given up when their client leaves or after a while.

use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::Request;
use axum::http::StatusCode;
use retune_data::source::Format;
use tempfile::TempPath;
use tokio::sync::Semaphore;

use crate::api::{bytes_within, stated_length, unreadable};
use crate::error::{ApiError, ApiResult};

/// Bytes that a file may have.
pub(crate) const MOST_FILE_BYTES: usize = 64 << 20;
/// Characters of a file's name.
const LONGEST_NAME: usize = 255;
/// Files that may be open at once, coming, waiting and worked on; more are refused.
const MOST_FILES: usize = 8;
/// Those that are worked on.
const MOST_WORK: usize = 2;
/// How long a file may take to come.
const COMING: Duration = Duration::from_secs(120);
/// How long the work on it may take.
const WORKING: Duration = Duration::from_secs(300);

/// What a file is called, and what that says of it.
#[derive(Debug, Clone)]
pub(crate) struct FileName {
    name: String,
    pub(crate) format: Format,
}

impl FileName {
    /// # Errors
    /// 400 if the name tells no format.
    pub(crate) fn new(name: Option<&str>) -> ApiResult<Self> {
        let invalid = |problem: String| ApiError::invalid("name", format!("name: {problem}"));
        let name = name.unwrap_or_default();
        if name.chars().count() > LONGEST_NAME {
            return Err(invalid(format!(
                "expected at most {LONGEST_NAME} characters"
            )));
        }
        let format = Format::of_name(Path::new(name)).ok_or_else(|| {
            let known: Vec<&str> = Format::extensions().collect();
            let known = known.join(", .");
            invalid(format!(
                "expected the name of a file that ends in .{known}, or in one of these and .gz or .zst, found {name:?}"
            ))
        })?;
        Ok(Self {
            name: name.to_owned(),
            format,
        })
    }
}

/// A file that lies on the disk as long as this is there.
pub(crate) struct OpenFile {
    pub(crate) name: FileName,
    path: TempPath,
    /// Whether nobody waits for the work any more.
    pub(crate) stop: Arc<AtomicBool>,
}

impl OpenFile {
    fn write(name: FileName, bytes: &[u8], stop: Arc<AtomicBool>) -> io::Result<Self> {
        let mut file = tempfile::Builder::new().prefix("retune-").tempfile()?;
        file.write_all(bytes)?;
        Ok(Self {
            name,
            path: file.into_temp_path(),
            stop,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// `text` with the name that the client knows, where it has that of the disk.
    pub(crate) fn in_clients_words(&self, text: &str) -> String {
        text.replace(&self.path.display().to_string(), &self.name.name)
    }

    /// The same of a text of JSON.
    pub(crate) fn in_clients_json(&self, json: &str) -> String {
        let escaped = |text: &str| {
            let quoted = serde_json::Value::from(text).to_string();
            quoted[1..quoted.len() - 1].to_owned()
        };
        let path = escaped(&self.path.display().to_string());
        json.replace(&path, &escaped(&self.name.name))
    }
}

/// Where files are looked at.
#[derive(Debug)]
pub(crate) struct Desk {
    files: Arc<Semaphore>,
    work: Arc<Semaphore>,
}

impl Desk {
    pub(crate) fn new() -> Self {
        Self {
            files: Arc::new(Semaphore::new(MOST_FILES)),
            work: Arc::new(Semaphore::new(MOST_WORK)),
        }
    }

    /// Files that are open.
    pub(crate) fn open(&self) -> usize {
        MOST_FILES - self.files.available_permits()
    }

    /// Does `work` on the file called `name` that is the body of `request`.
    ///
    /// # Errors
    /// 413 if it is too large, 408 if it does not come, 429 if there are too many, and
    /// those of the work.
    pub(crate) async fn look_at<T: Send + 'static>(
        &self,
        name: FileName,
        request: Request,
        work: impl FnOnce(&OpenFile) -> ApiResult<T> + Send + 'static,
    ) -> ApiResult<T> {
        let place = Arc::clone(&self.files).try_acquire_owned().map_err(|_| {
            let problem = format!("{MOST_FILES} files are open already; try again");
            ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", problem)
        })?;
        let bytes = received(request).await?;
        let turn = Arc::clone(&self.work).acquire_owned().await;
        let stop = Stop::default();
        let stopped = Arc::clone(&stop.0);
        let working = tokio::task::spawn_blocking(move || {
            // Free again when the work has ended, not when its client has left.
            let _held = (place, turn);
            let file = OpenFile::write(name, &bytes, stopped).map_err(|error| {
                let problem = error.kind();
                ApiError::internal(format!("the file cannot be laid on the disk: {problem}"))
            })?;
            drop(bytes);
            work(&file)
        });
        let done = tokio::time::timeout(WORKING, working).await.map_err(|_| {
            let problem = format!(
                "the file takes more than {} s to look at; retune data lint and retune data inspect have no such limit",
                WORKING.as_secs()
            );
            ApiError::new(StatusCode::GATEWAY_TIMEOUT, "deadline", problem)
        })?;
        done.map_err(|_| ApiError::internal("the work on the file broke off"))?
    }
}

/// Tells the work, when it is dropped, that nobody waits for it any more.
#[derive(Debug, Default)]
struct Stop(Arc<AtomicBool>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The body of `request`.
async fn received(request: Request) -> ApiResult<Bytes> {
    let too_many = || {
        too_large(format!(
            "the file has more than {} MiB; retune data lint and retune data inspect have no such limit",
            MOST_FILE_BYTES >> 20
        ))
    };
    if stated_length(&request).is_some_and(|length| length > MOST_FILE_BYTES as u64) {
        return Err(too_many());
    }
    let bytes = bytes_within(COMING, request).await?;
    bytes.map_err(|error| match error.status() {
        // It did not say how long it is.
        StatusCode::PAYLOAD_TOO_LARGE => too_many(),
        _ => unreadable(error),
    })
}

/// Of a file that the program would take and a server does not.
pub(crate) fn too_large(problem: String) -> ApiError {
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "file_too_large", problem)
}
