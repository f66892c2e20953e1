//! Figures of the server at work, as Prometheus reads them.

use std::time::Instant;

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Label, Level, Metadata, Recorder, Unit};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use retune_generate::{Finish, Piece};

use crate::engine::Load;

/// Seconds up to which durations are counted together.
const SECONDS: [f64; 14] = [
    0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0,
];

const RUNNING: &str = "retune_requests_running";
const WAITING: &str = "retune_requests_waiting";
const CACHE: &str = "retune_cache_tokens";
const CACHE_FREE: &str = "retune_cache_free_tokens";
const STEP: &str = "retune_step_seconds";
const RESPONSES: &str = "retune_http_responses_total";
const REQUESTS: &str = "retune_requests_total";
const ENDED: &str = "retune_answers_total";
const PROMPT: &str = "retune_prompt_tokens_total";
const GENERATED: &str = "retune_generated_tokens_total";
const FIRST: &str = "retune_first_token_seconds";
const NEXT: &str = "retune_next_token_seconds";
const WHOLE: &str = "retune_answer_seconds";

/// All figures.
pub(crate) struct Meters {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    running: Gauge,
    waiting: Gauge,
    cache: Gauge,
    cache_free: Gauge,
    step: Histogram,
}

fn metadata() -> Metadata<'static> {
    Metadata::new(module_path!(), Level::INFO, None)
}

impl Meters {
    pub(crate) fn new() -> Self {
        let builder = PrometheusBuilder::new();
        let recorder = match builder.set_buckets(&SECONDS) {
            Ok(builder) => builder.build_recorder(),
            // Only an empty list is refused.
            Err(_) => PrometheusBuilder::new().build_recorder(),
        };
        let gauges = [
            (RUNNING, "Answers that are being written"),
            (WAITING, "Answers that wait for room"),
            (CACHE, "Tokens for which the cache has room"),
            (CACHE_FREE, "Those of them that no answer has taken"),
        ];
        for (name, text) in gauges {
            recorder.describe_gauge(KeyName::from(name), None, text.into());
        }
        let counters = [
            (RESPONSES, "Responses by path and status"),
            (REQUESTS, "Prompts that the model was given"),
            (ENDED, "Answers by the reason why they ended"),
            (PROMPT, "Tokens of prompts"),
            (GENERATED, "Tokens of answers"),
        ];
        for (name, text) in counters {
            recorder.describe_counter(KeyName::from(name), None, text.into());
        }
        let histograms = [
            (STEP, "A pass of the model over all answers"),
            (
                FIRST,
                "From a prompt at the model to its answer's first token",
            ),
            (NEXT, "From one token of an answer to the next"),
            (WHOLE, "From a prompt at the model to its answer's end"),
        ];
        for (name, text) in histograms {
            recorder.describe_histogram(KeyName::from(name), Some(Unit::Seconds), text.into());
        }
        let gauge = |name| recorder.register_gauge(&Key::from_static_name(name), &metadata());
        Self {
            running: gauge(RUNNING),
            waiting: gauge(WAITING),
            cache: gauge(CACHE),
            cache_free: gauge(CACHE_FREE),
            step: recorder.register_histogram(&Key::from_static_name(STEP), &metadata()),
            handle: recorder.handle(),
            recorder,
        }
    }

    /// All figures in Prometheus's text format.
    pub(crate) fn render(&self) -> String {
        self.handle.render()
    }

    /// Sums up what was measured; else it is kept one by one until somebody reads it.
    pub(crate) fn sum_up(&self) {
        self.handle.run_upkeep();
    }

    pub(crate) fn loaded(&self, load: Load) {
        self.running.set(load.running as f64);
        self.waiting.set(load.waiting as f64);
        self.cache.set(load.cache_tokens as f64);
        self.cache_free.set(load.free_tokens as f64);
    }

    pub(crate) fn stepped(&self, began: Instant) {
        self.step.record(began.elapsed());
    }

    pub(crate) fn responded(&self, path: &str, status: u16) {
        let labels = vec![
            Label::new("path", path.to_owned()),
            Label::new("status", status.to_string()),
        ];
        self.counter(RESPONSES, labels).increment(1);
    }

    /// Those of a request to what is served as `model`.
    pub(crate) fn request(&self, model: &str, prompt_tokens: usize) -> RequestMeters {
        let label = || vec![Label::new("model", model.to_owned())];
        let histogram = |name: &'static str| {
            let key = Key::from_parts(name, label());
            self.recorder.register_histogram(&key, &metadata())
        };
        self.counter(REQUESTS, label()).increment(1);
        self.counter(PROMPT, label())
            .increment(prompt_tokens as u64);
        let ended = |reason: &'static str| {
            let mut labels = label();
            labels.push(Label::new("reason", reason));
            self.counter(ENDED, labels)
        };
        RequestMeters {
            began: Instant::now(),
            last: None,
            generated: self.counter(GENERATED, label()),
            first: histogram(FIRST),
            next: histogram(NEXT),
            whole: histogram(WHOLE),
            stop: ended("stop"),
            length: ended("length"),
            repetition: ended("repetition"),
            error: ended("error"),
            left: ended("left"),
        }
    }

    fn counter(&self, name: &'static str, labels: Vec<Label>) -> Counter {
        let key = Key::from_parts(name, labels);
        self.recorder.register_counter(&key, &metadata())
    }
}

/// The figures of one answer.
#[derive(Clone)]
pub(crate) struct RequestMeters {
    began: Instant,
    last: Option<Instant>,
    generated: Counter,
    first: Histogram,
    next: Histogram,
    whole: Histogram,
    stop: Counter,
    length: Counter,
    repetition: Counter,
    error: Counter,
    left: Counter,
}

impl RequestMeters {
    pub(crate) fn wrote(&mut self, piece: &Piece) {
        if piece.is_of_token() {
            let now = Instant::now();
            match self.last.replace(now) {
                None => self.first.record(now - self.began),
                Some(last) => self.next.record(now - last),
            }
            self.generated.increment(1);
        }
        let Some(finish) = piece.finish else {
            return;
        };
        let counter = match finish {
            Finish::Stop => &self.stop,
            Finish::Length => &self.length,
            Finish::Repetition => &self.repetition,
        };
        counter.increment(1);
        self.whole.record(self.began.elapsed());
    }

    pub(crate) fn failed(&self) {
        self.error.increment(1);
    }

    /// The client has gone before the end.
    pub(crate) fn left(&self) {
        self.left.increment(1);
    }
}
