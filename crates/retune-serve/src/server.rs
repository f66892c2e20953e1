//! Listening, answering, and going down in good order.

use std::future::{Future, IntoFuture as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::net::TcpListener;

use crate::api::{Shared, now, router};
use crate::engine::Engine;
use crate::error::Error;
use crate::models::Models;

/// How a server is set up.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// What requests have to bring along as `Authorization: Bearer …`.
    pub api_key: Option<String>,
    /// How long answers that are being made may take when the server goes down.
    pub drain: Duration,
}

/// How often it is looked whether what is open has ended.
const LOOK: Duration = Duration::from_millis(20);
/// Ports that are tried, one after the other.
const TRIES: u16 = 100;

/// Listens on `address`, or if its port is taken on the next one that is free. Port 0 is
/// any that is free.
///
/// # Errors
/// `Address`.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, Error> {
    let mut last = None;
    for step in 0..TRIES {
        let Some(port) = address.port().checked_add(step) else {
            break;
        };
        match TcpListener::bind((address.ip(), port)).await {
            Ok(listener) => return Ok(listener),
            Err(problem) => {
                let taken = problem.kind() == std::io::ErrorKind::AddrInUse;
                last = Some(problem);
                if !taken {
                    break;
                }
            }
        }
    }
    Err(Error::Address {
        address: address.to_string(),
        problem: last.unwrap_or_else(|| std::io::ErrorKind::AddrNotAvailable.into()),
    })
}

/// A model behind HTTP.
pub struct Server {
    shared: Arc<Shared>,
    drain: Duration,
}

impl Server {
    /// A server of `models`, which `engine` answers.
    pub fn new(engine: Engine, models: Arc<Models>, options: ServerOptions) -> Self {
        Self {
            shared: Arc::new(Shared {
                engine,
                models,
                api_key: options.api_key,
                draining: AtomicBool::new(false),
                started: now(),
            }),
            drain: options.drain,
        }
    }

    /// Answers what comes through `listener` until `stop` is ready. Then new requests are
    /// refused with 503, and those that are open have the time to end that the options
    /// give them.
    ///
    /// # Errors
    /// `Address` if the listener fails.
    pub async fn run(
        self,
        listener: TcpListener,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), Error> {
        let address = listener
            .local_addr()
            .unwrap_or_else(|_| (Ipv4Addr::UNSPECIFIED, 0).into());
        let (stopping, mut stopped) = tokio::sync::watch::channel(false);
        let shared = Arc::clone(&self.shared);
        let down = async move {
            stop.await;
            shared.draining.store(true, Ordering::Relaxed);
            let _ = stopping.send(true);
            // The listener stays, to say no, until what is open has ended.
            while shared.engine.open() > 0 {
                tokio::time::sleep(LOOK).await;
            }
        };
        let limit = async move {
            let _ = stopped.wait_for(|stopped| *stopped).await;
            tokio::time::sleep(self.drain).await;
        };
        let routes = router(Arc::clone(&self.shared));
        let serve = axum::serve(listener, routes).with_graceful_shutdown(down);
        tokio::select! {
            ended = serve.into_future() => ended.map_err(|problem| Error::Address {
                address: address.to_string(),
                problem,
            }),
            () = limit => Ok(()),
        }
    }
}
