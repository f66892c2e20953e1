//! The thread that owns the model: all requests, a step at a time.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::Instant;

use retune_generate::{Assistant, EmbedRequest, Embedder, Generator, Piece, Request};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{oneshot, watch};

use axum::http::StatusCode;

use crate::error::{ApiError, ApiResult, Error};
use crate::meters::{Meters, RequestMeters};

/// How much an engine takes on.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// Tokens that all requests together have room for in the cache.
    pub cache_tokens: usize,
    /// Requests that may be open at once, running and waiting; more are refused.
    pub max_requests: usize,
}

/// A piece of one of a job's answers with the number of that answer, or why there are no
/// more.
pub(crate) type Event = Result<(usize, Piece), ApiError>;

/// A request on its way through the engine. Dropping it ends its answers.
pub(crate) struct Job {
    pub(crate) events: UnboundedReceiver<Event>,
    _slot: Arc<Slot>,
}

/// Texts on their way through the engine. Dropping it ends that.
pub(crate) struct EmbedJob {
    vectors: Vec<oneshot::Receiver<ApiResult<Vec<f32>>>>,
    _slot: Arc<Slot>,
}

impl EmbedJob {
    /// The vectors, in the order of the texts.
    pub(crate) async fn wait(self) -> ApiResult<Vec<Vec<f32>>> {
        let mut vectors = Vec::with_capacity(self.vectors.len());
        for vector in self.vectors {
            vectors.push(vector.await.map_err(|_| ended())??);
        }
        Ok(vectors)
    }
}

/// One of the requests that may be open at once, from when its body has come until its
/// answer is told; given back when it is dropped.
pub(crate) struct Slot {
    /// That of no other request.
    number: u64,
    open: Arc<AtomicUsize>,
    /// When it was taken.
    pub(crate) since: Instant,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

enum Command {
    Answer {
        request: Box<Request>,
        samples: usize,
        /// The number of its first answer among all of the request.
        first: usize,
        /// The number of the slot that its request has.
        owner: u64,
        meters: Box<RequestMeters>,
        events: UnboundedSender<Event>,
    },
    Embed {
        text: EmbedRequest,
        owner: u64,
        vector: oneshot::Sender<ApiResult<Vec<f32>>>,
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
pub struct Engine {
    commands: Option<Sender<Command>>,
    thread: Option<JoinHandle<()>>,
    open: Arc<AtomicUsize>,
    /// Slots that there have been.
    slots: AtomicU64,
    max_requests: usize,
    cache_tokens: usize,
    meters: Arc<Meters>,
    /// Closed when the thread ends.
    alive: watch::Receiver<()>,
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
        let meters = Arc::new(Meters::new());
        let measured = Arc::clone(&meters);
        let (living, alive) = watch::channel(());
        let thread = std::thread::Builder::new()
            .name("engine".to_owned())
            .spawn(move || {
                // Dropped when the thread ends, be it by a panic.
                let _living = living;
                let generator = Generator::new(&assistant.model, &assistant.tokenizer, tokens);
                match generator {
                    Ok(generator) => {
                        let cache_tokens = generator.free_tokens();
                        let _ = ready.send(Ok(cache_tokens));
                        let embedder = Embedder::new(&assistant.model);
                        let worker = Worker {
                            cache_tokens,
                            generator,
                            listeners: BTreeMap::new(),
                            embedder,
                            texts: BTreeMap::new(),
                            meters: measured,
                        };
                        worker.run(&received);
                    }
                    Err(error) => drop(ready.send(Err(error))),
                }
            })
            .map_err(|error| Error::Setting {
                name: "threads",
                problem: format!("the system refuses a thread: {error}"),
            })?;
        // A thread that ends without a word has no room for anything.
        let cache_tokens = started.recv().unwrap_or(Ok(0))?;
        Ok(Self {
            commands: Some(commands),
            thread: Some(thread),
            open: Arc::new(AtomicUsize::new(0)),
            slots: AtomicU64::new(0),
            max_requests: options.max_requests,
            cache_tokens,
            meters,
            alive,
        })
    }

    /// Takes the prompts of one request, each for `samples` answers of what is served as
    /// `model`.
    ///
    /// # Errors
    /// 503 if the engine has ended.
    pub(crate) fn answer(
        &self,
        slot: &Arc<Slot>,
        model: &str,
        prompts: Vec<Request>,
        samples: usize,
    ) -> ApiResult<Job> {
        let (events, received) = unbounded_channel();
        for (index, request) in prompts.into_iter().enumerate() {
            self.send(Command::Answer {
                meters: Box::new(self.meters.request(model, request.prompt.len())),
                request: Box::new(request),
                samples,
                first: index * samples,
                owner: slot.number,
                events: events.clone(),
            })?;
        }
        Ok(Job {
            events: received,
            _slot: Arc::clone(slot),
        })
    }

    /// Takes texts that are to become vectors.
    ///
    /// # Errors
    /// As for `answer`.
    pub(crate) fn embed(&self, slot: &Arc<Slot>, texts: Vec<EmbedRequest>) -> ApiResult<EmbedJob> {
        let send = |text| {
            let (vector, received) = oneshot::channel();
            self.send(Command::Embed {
                text,
                owner: slot.number,
                vector,
            })?;
            Ok(received)
        };
        Ok(EmbedJob {
            vectors: texts.into_iter().map(send).collect::<ApiResult<_>>()?,
            _slot: Arc::clone(slot),
        })
    }

    /// A slot for one more request.
    ///
    /// # Errors
    /// 429 if too many are open.
    pub(crate) fn slot(&self) -> ApiResult<Slot> {
        let add = |open: usize| (open < self.max_requests).then_some(open + 1);
        let added = self
            .open
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, add);
        if added.is_err() {
            return Err(ApiError::new(
                StatusCode::TOO_MANY_REQUESTS,
                "too_many_requests",
                format!("{} requests are open already; try again", self.max_requests),
            ));
        }
        Ok(Slot {
            number: self.slots.fetch_add(1, Ordering::Relaxed) + 1,
            open: Arc::clone(&self.open),
            since: Instant::now(),
        })
    }

    /// Tokens that a prompt and its answer have room for in the cache.
    pub(crate) fn context(&self) -> usize {
        self.cache_tokens
    }

    /// The figures of its work.
    pub(crate) fn meters(&self) -> &Meters {
        &self.meters
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

    /// Ready when the thread has ended.
    pub(crate) async fn gone(&self) {
        let mut alive = self.alive.clone();
        while alive.changed().await.is_ok() {}
    }

    /// Requests that are open.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
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
    /// The number of the answer among all of its request.
    choice: usize,
    events: UnboundedSender<Event>,
    meters: RequestMeters,
}

struct Worker<'m> {
    cache_tokens: usize,
    generator: Generator<'m>,
    listeners: BTreeMap<u64, Listener>,
    embedder: Embedder<'m>,
    texts: BTreeMap<u64, oneshot::Sender<ApiResult<Vec<f32>>>>,
    meters: Arc<Meters>,
}

impl Worker<'_> {
    fn run(mut self, commands: &Receiver<Command>) {
        loop {
            // With nothing to do it waits; else it takes what has come meanwhile.
            while self.generator.is_idle() && self.embedder.is_idle() {
                self.meters.loaded(self.load());
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
            self.meters.loaded(self.load());
            if !self.generator.is_idle() {
                let began = Instant::now();
                self.step();
                self.meters.stepped(began);
            }
            if !self.embedder.is_idle() {
                self.embed();
            }
        }
    }

    fn load(&self) -> Load {
        let running = self.generator.running();
        Load {
            running,
            waiting: self.listeners.len().saturating_sub(running) + self.texts.len(),
            free_tokens: self.generator.free_tokens(),
            cache_tokens: self.cache_tokens,
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Answer {
                request,
                samples,
                first,
                owner,
                meters,
                events,
            } => match self.generator.add_samples(*request, samples, owner) {
                Ok(numbers) => {
                    for (sample, number) in numbers.into_iter().enumerate() {
                        let listener = Listener {
                            choice: first + sample,
                            events: events.clone(),
                            meters: (*meters).clone(),
                        };
                        self.listeners.insert(number, listener);
                    }
                }
                Err(error) => {
                    meters.failed();
                    let _ = events.send(Err(error.into()));
                }
            },
            Command::Embed {
                text,
                owner,
                vector,
            } => match self.embedder.add(text, owner) {
                Ok(number) => drop(self.texts.insert(number, vector)),
                Err(error) => drop(vector.send(Err(error.into()))),
            },
            Command::Probe(answer) => {
                let _ = answer.send(self.load());
            }
        }
    }

    /// A client that has gone frees its slot, whether it ran or waited.
    fn forget_those_who_left(&mut self) {
        let mut gone = HashSet::new();
        self.listeners.retain(|number, listener| {
            let left = listener.events.is_closed();
            if left {
                listener.meters.left();
                gone.insert(*number);
            }
            !left
        });
        if !gone.is_empty() {
            self.generator.cancel(&gone);
        }
        gone.clear();
        self.texts.retain(|number, vector| {
            let left = vector.is_closed();
            if left {
                gone.insert(*number);
            }
            !left
        });
        if !gone.is_empty() {
            self.embedder.cancel(&gone);
        }
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
        if let Some(listener) = self.listeners.get_mut(&number) {
            match &piece {
                Ok(piece) => listener.meters.wrote(piece),
                Err(_) => listener.meters.failed(),
            }
            // Whoever has gone is forgotten before the next step.
            let _ = listener
                .events
                .send(piece.map(|piece| (listener.choice, piece)));
        }
        if !goes_on {
            self.listeners.remove(&number);
        }
    }

    fn embed(&mut self) {
        let beside = !self.generator.is_idle();
        match self.embedder.step(beside) {
            Ok(vectors) => {
                for (number, vector) in vectors {
                    if let Some(listener) = self.texts.remove(&number) {
                        let _ = listener.send(vector.map_err(ApiError::from));
                    }
                }
            }
            Err(error) => {
                let error = ApiError::from(error);
                for listener in std::mem::take(&mut self.texts).into_values() {
                    let _ = listener.send(Err(error.clone()));
                }
                self.embedder.clear();
            }
        }
    }

    /// Ends all answers with `error`, and begins anew.
    fn fail(&mut self, error: &ApiError) {
        for listener in std::mem::take(&mut self.listeners).into_values() {
            listener.meters.failed();
            let _ = listener.events.send(Err(error.clone()));
        }
        self.generator.clear();
    }
}
