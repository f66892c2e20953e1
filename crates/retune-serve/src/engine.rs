//! The thread that owns the model: all requests, a step at a time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::JoinHandle;

use retune_generate::{Assistant, Generator, Piece, Request};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use axum::http::StatusCode;

use crate::error::{ApiError, ApiResult, Error};

/// How much an engine takes on.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// Tokens that all requests together have room for in the cache.
    pub cache_tokens: usize,
    /// Requests that may be open at once, running and waiting; more are refused.
    pub max_requests: usize,
}

/// A piece of one of a job's answers, or why there are no more.
pub(crate) type Event = Result<(usize, Piece), ApiError>;

/// A request on its way through the engine. Dropping it ends its answers.
pub(crate) struct Job {
    pub(crate) events: UnboundedReceiver<Event>,
    open: Arc<AtomicUsize>,
}

impl Drop for Job {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

enum Command {
    Answer {
        request: Box<Request>,
        samples: usize,
        events: UnboundedSender<Event>,
    },
    /// Says that the loop is alive.
    Probe(oneshot::Sender<Load>),
}

/// What an engine has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) running: usize,
    pub(crate) waiting: usize,
    pub(crate) free_tokens: usize,
    pub(crate) cache_tokens: usize,
}

/// The model at work, on a thread of its own.
#[derive(Debug)]
pub struct Engine {
    commands: Option<Sender<Command>>,
    thread: Option<JoinHandle<()>>,
    open: Arc<AtomicUsize>,
    max_requests: usize,
}

impl Engine {
    /// Starts the thread on the model of `assistant`.
    ///
    /// # Errors
    /// `Generate` if the cache has no room; `Setting` if the system refuses the thread.
    pub fn start(assistant: Arc<Assistant>, options: &EngineOptions) -> Result<Self, Error> {
        let (commands, received) = channel();
        let (ready, started) = channel();
        let tokens = options.cache_tokens;
        let thread = std::thread::Builder::new()
            .name("engine".to_owned())
            .spawn(move || {
                let generator = Generator::new(&assistant.model, &assistant.tokenizer, tokens);
                match generator {
                    Ok(generator) => {
                        let _ = ready.send(Ok(()));
                        Worker::new(tokens, generator).run(&received);
                    }
                    Err(error) => drop(ready.send(Err(error))),
                }
            })
            .map_err(|error| Error::Setting {
                name: "threads",
                problem: format!("the system refuses a thread: {error}"),
            })?;
        if let Ok(started) = started.recv() {
            started?;
        }
        Ok(Self {
            commands: Some(commands),
            thread: Some(thread),
            open: Arc::new(AtomicUsize::new(0)),
            max_requests: options.max_requests,
        })
    }

    /// Takes a request for `samples` answers.
    ///
    /// # Errors
    /// 429 if too many are open, 503 if the engine has ended.
    pub(crate) fn answer(&self, request: Request, samples: usize) -> ApiResult<Job> {
        let (events, received) = unbounded_channel();
        self.open.fetch_add(1, Ordering::Relaxed);
        // Given back when it is dropped, on every way out.
        let job = Job {
            events: received,
            open: Arc::clone(&self.open),
        };
        if self.open() > self.max_requests {
            return Err(ApiError::new(
                StatusCode::TOO_MANY_REQUESTS,
                "too_many_requests",
                format!("{} requests are open already; try again", self.max_requests),
            ));
        }
        self.send(Command::Answer {
            request: Box::new(request),
            samples,
            events,
        })?;
        Ok(job)
    }

    /// Waits for the loop to come by, and what it has to do.
    ///
    /// # Errors
    /// 503 if the engine has ended.
    pub(crate) async fn load(&self) -> ApiResult<Load> {
        let (sender, received) = oneshot::channel();
        self.send(Command::Probe(sender))?;
        received.await.map_err(|_| ended())
    }

    /// Requests that are open.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    fn send(&self, command: Command) -> ApiResult<()> {
        let sent = self.commands.as_ref().map(|sender| sender.send(command));
        match sent {
            Some(Ok(())) => Ok(()),
            _ => Err(ended()),
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // The loop ends when nobody can command any more.
        drop(self.commands.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn ended() -> ApiError {
    ApiError::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "engine_ended",
        "the model no longer answers; the server has to be started again",
    )
}

/// Where the pieces of an answer go.
struct Listener {
    sample: usize,
    events: UnboundedSender<Event>,
}

struct Worker<'m> {
    cache_tokens: usize,
    generator: Generator<'m>,
    listeners: BTreeMap<u64, Listener>,
}

impl<'m> Worker<'m> {
    fn new(cache_tokens: usize, generator: Generator<'m>) -> Self {
        Self {
            cache_tokens,
            generator,
            listeners: BTreeMap::new(),
        }
    }

    fn run(mut self, commands: &Receiver<Command>) {
        loop {
            // With nothing to do it waits; else it takes what has come meanwhile.
            while self.generator.is_idle() {
                match commands.recv() {
                    Ok(command) => self.obey(command),
                    Err(_) => return,
                }
            }
            loop {
                match commands.try_recv() {
                    Ok(command) => self.obey(command),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return,
                }
            }
            self.forget_those_who_left();
            self.step();
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Answer {
                request,
                samples,
                events,
            } => match self.generator.add_samples(*request, samples) {
                Ok(numbers) => {
                    for (sample, number) in numbers.into_iter().enumerate() {
                        let events = events.clone();
                        self.listeners.insert(number, Listener { sample, events });
                    }
                }
                Err(error) => drop(events.send(Err(error.into()))),
            },
            Command::Probe(answer) => {
                let running = self.generator.running();
                let _ = answer.send(Load {
                    running,
                    waiting: self.listeners.len().saturating_sub(running),
                    free_tokens: self.generator.free_tokens(),
                    cache_tokens: self.cache_tokens,
                });
            }
        }
    }

    /// A client that has gone frees its place, whether it ran or waited.
    fn forget_those_who_left(&mut self) {
        self.listeners.retain(|number, listener| {
            let left = listener.events.is_closed();
            if left {
                self.generator.cancel(*number);
            }
            !left
        });
    }

    fn step(&mut self) {
        match self.generator.step_apart() {
            Ok(pieces) => {
                for (number, piece) in pieces {
                    self.pass_on(number, piece.map_err(ApiError::from));
                }
            }
            Err(error) => self.fail(&error.into()),
        }
    }

    fn pass_on(&mut self, number: u64, piece: Result<Piece, ApiError>) {
        let goes_on = matches!(&piece, Ok(piece) if piece.finish.is_none());
        if let Some(listener) = self.listeners.get(&number) {
            // Whoever has gone is forgotten before the next step.
            let _ = listener
                .events
                .send(piece.map(|piece| (listener.sample, piece)));
        }
        if !goes_on {
            self.listeners.remove(&number);
        }
    }

    /// Ends all requests with `error`, and begins anew.
    fn fail(&mut self, error: &ApiError) {
        for listener in std::mem::take(&mut self.listeners).into_values() {
            let _ = listener.events.send(Err(error.clone()));
        }
        self.generator.clear();
    }
}
