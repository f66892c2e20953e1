//! Listening, answering, and going down in good order.

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsAcceptor;

use crate::adapters::{AdapterFolder, OpenFolder};
use crate::api::{MOST_LARGE, Shared, now, router};
use crate::desk::Desk;
use crate::engine::Engine;
use crate::error::Error;
use crate::models::Models;
use crate::readers::Readers;
use crate::runs::Runs;
use crate::tls::TlsFiles;

/// How a server is set up.
pub struct ServerOptions {
    /// What requests have to bring along as `Authorization: Bearer …`.
    pub api_key: Option<String>,
    /// Whether only pages of this machine may ask: a page of another name that leads here
    /// is refused, so that no site that its user looks at can speak to the model.
    pub only_local_names: bool,
    /// The folder in which trainings lie that are told of.
    pub runs: PathBuf,
    /// The adapters that can be loaded while it runs.
    pub adapters: Option<AdapterFolder>,
    /// Certificate and key, to be spoken to by HTTPS.
    pub tls: Option<TlsFiles>,
    /// How long a request may take until its last token, waiting included.
    pub request_time: Duration,
    /// How long a client may take to send the headers of its first or next request, to
    /// send a body (data files have longer), and to read some of what it is sent.
    pub client_time: Duration,
    /// How long answers that are being made may take when the server goes down.
    pub drain: Duration,
}

/// How often it is looked whether what is open has ended.
const LOOK: Duration = Duration::from_millis(20);
/// Ports that are tried, one after the other.
const TRIES: u16 = 100;
/// Connections that may be open at once, if the system lets the program have as many;
/// others wait until one ends.
const MOST_CONNECTIONS: u64 = 4096;
/// Connections that may wait to be accepted, if the system lets as many. One that finds no
/// place is tried again by its client's system, but only after a second.
const MOST_WAITING: u32 = 4096;
/// Files that are open beside them.
const OTHER_FILES: u64 = 128;
/// How long a client may take to agree on a cipher.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// Bytes that a request's headers may have.
const HEADER_BYTES: usize = 64 << 10;
/// How long what was answered may take to leave when the server goes down.
const FLUSH: Duration = Duration::from_secs(2);
/// How often figures are summed up.
const SUM_UP: Duration = Duration::from_secs(5);

/// Listens on `address`, or if its port is taken on the next one that is free. Port 0 is
/// any that is free. Called within a runtime of tokio.
///
/// # Errors
/// `Address`.
pub fn bind(address: SocketAddr) -> Result<TcpListener, Error> {
    let mut last = None;
    for step in 0..TRIES {
        let Some(port) = address.port().checked_add(step) else {
            break;
        };
        match listen(SocketAddr::new(address.ip(), port)) {
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

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    // Connections of a server that has just ended do not hold its port. On Windows they do
    // not anyway, and the option would let two servers have one port.
    socket.set_reuseaddr(cfg!(unix))?;
    socket.bind(address)?;
    socket.listen(MOST_WAITING)
}

/// A model behind HTTP.
pub struct Server {
    shared: Arc<Shared>,
    tls: Option<TlsAcceptor>,
    drain: Duration,
}

impl Server {
    /// A server of `models`, which `engine` answers.
    ///
    /// # Errors
    /// `File` or `Setting` if the certificate or its key cannot be used.
    pub fn new(engine: Engine, models: Arc<Models>, options: ServerOptions) -> Result<Self, Error> {
        let tls = options.tls.as_ref().map(TlsFiles::acceptor).transpose()?;
        Ok(Self {
            shared: Arc::new(Shared {
                engine,
                models,
                runs: Runs {
                    folder: options.runs,
                },
                desk: Desk::new(),
                readers: Readers::new(),
                large_bodies: Semaphore::new(MOST_LARGE),
                api_key: options.api_key,
                only_local_names: options.only_local_names,
                adapters: options.adapters.map(OpenFolder::new).map(Arc::new),
                request_time: options.request_time,
                client_time: options.client_time,
                draining: AtomicBool::new(false),
                started: now(),
            }),
            tls,
            drain: options.drain,
        })
    }

    /// Answers what comes through `listener` until `stop` is ready. Then new requests are
    /// refused with 503, and those that are open have the time to end that the options
    /// give them.
    ///
    /// # Errors
    /// `Engine` if the model's thread ends before that.
    pub async fn run(
        self,
        listener: TcpListener,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), Error> {
        let (stopping, mut stopped) = watch::channel(false);
        let shared = Arc::clone(&self.shared);
        let down = async move {
            stop.await;
            shared.draining.store(true, Ordering::SeqCst);
            let _ = stopping.send(true);
            // The listener stays, to say no, until what is open has ended.
            while shared.engine.open() > 0 || shared.desk.open() > 0 {
                tokio::time::sleep(LOOK).await;
            }
        };
        let drain = self.drain;
        let limit = async move {
            let _ = stopped.wait_for(|stopped| *stopped).await;
            tokio::time::sleep(drain).await;
        };
        tokio::select! {
            () = self.accept(listener, down) => Ok(()),
            () = limit => Ok(()),
            () = self.shared.engine.gone() => Err(Error::Engine),
        }
    }

    async fn accept(&self, listener: TcpListener, down: impl Future<Output = ()>) {
        let routes = router(Arc::clone(&self.shared));
        let places = Arc::new(Semaphore::new(most_connections()));
        let graceful = GracefulShutdown::new();
        let mut sum_up = tokio::time::interval(SUM_UP);
        tokio::pin!(down);
        loop {
            let next = async {
                let place = Arc::clone(&places).acquire_owned().await;
                (listener.accept().await, place)
            };
            tokio::select! {
                () = &mut down => break,
                _ = sum_up.tick() => self.shared.engine.meters().sum_up(),
                (accepted, place) = next => match (accepted, place) {
                    (Ok((stream, _)), Ok(place)) => {
                        self.connect(stream, routes.clone(), &graceful, place);
                    }
                    // One connection that did not come about, or a system that has no more
                    // open files, which it will have again.
                    (Err(_), _) => tokio::time::sleep(LOOK).await,
                    // Nobody closes the semaphore.
                    (_, Err(_)) => break,
                },
            }
        }
        drop(listener);
        let _ = tokio::time::timeout(FLUSH, graceful.shutdown()).await;
    }

    /// Answers what comes through `stream`, for as long as `place` is had.
    fn connect(
        &self,
        stream: TcpStream,
        routes: Router,
        graceful: &GracefulShutdown,
        place: OwnedSemaphorePermit,
    ) {
        // Tokens are small, and are to leave at once.
        let _ = stream.set_nodelay(true);
        let watcher = graceful.watcher();
        let tls = self.tls.clone();
        let time = self.shared.client_time;
        tokio::spawn(async move {
            let _place = place;
            match tls {
                None => talk(stream, time, routes, watcher).await,
                Some(tls) => {
                    let agreed = tokio::time::timeout(HANDSHAKE_TIME, tls.accept(stream)).await;
                    if let Ok(Ok(stream)) = agreed {
                        talk(stream, time, routes, watcher).await;
                    }
                }
            }
        });
    }
}

/// As many as there may be open files for.
fn most_connections() -> usize {
    let wanted = MOST_CONNECTIONS + OTHER_FILES;
    let files = rlimit::increase_nofile_limit(wanted).unwrap_or(wanted);
    files.saturating_sub(OTHER_FILES).clamp(1, MOST_CONNECTIONS) as usize
}

/// Answers what comes through `stream` from a client that has `time` for each thing it does.
async fn talk<S>(stream: S, time: Duration, routes: Router, watcher: Watcher)
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(time));
    let io = TokioIo::new(Box::pin(stream));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(time)
        .max_buf_size(HEADER_BYTES)
        .serve_connection(io, TowerToHyperService::new(routes));
    // How one connection ends is nobody else's concern.
    let _ = watcher.watch(connection).await;
}
