//! What takes a processor for a while before the model has anything to do: templates,
//! tokenizers, grammars. It is done beside the threads that talk to clients.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::error::{ApiError, ApiResult};

/// Bytes from which on a request is long.
const LONG: usize = 64 << 10;
/// Short requests that are read at once.
const MOST_SHORT: usize = 4;

/// Those who read requests. Long ones take turns, so that short ones never wait for them.
#[derive(Debug)]
pub(crate) struct Readers {
    short: Arc<Semaphore>,
    long: Arc<Semaphore>,
}

impl Readers {
    pub(crate) fn new() -> Self {
        Self {
            short: Arc::new(Semaphore::new(MOST_SHORT)),
            long: Arc::new(Semaphore::new(1)),
        }
    }

    /// Does `read` on a request of `bytes` bytes.
    ///
    /// # Errors
    /// Those of `read`; 500 if it breaks off.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        bytes: usize,
        read: impl FnOnce() -> ApiResult<T> + Send + 'static,
    ) -> ApiResult<T> {
        let lane = if bytes > LONG {
            &self.long
        } else {
            &self.short
        };
        let turn = Arc::clone(lane).acquire_owned().await;
        let reading = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            read()
        });
        let broke_off = |_| ApiError::internal("the request could not be read to its end");
        reading.await.map_err(broke_off)?
    }
}
