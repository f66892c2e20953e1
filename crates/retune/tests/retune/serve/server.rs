//! A server, started as a user starts it.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use ureq::http::Response;
use ureq::{Agent, RequestBuilder};

use crate::program::Folder;

/// The folder in which it keeps what it keeps for a while.
pub(super) const TEMPORARY: &str = "temporary";

/// A server, which ends with the test.
pub(super) struct Server {
    pub(super) child: Child,
    pub(super) url: String,
    pub(super) agent: Agent,
    pub(super) key: Option<&'static str>,
    /// In which it runs.
    pub(super) folder: Folder,
    _out: BufReader<ChildStdout>,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// Serves the built-in base with `options`.
    pub(super) fn start(options: &[&str]) -> Self {
        Self::start_in(Folder::new(), options)
    }

    /// The same in `folder`, where there may be something already.
    pub(super) fn start_in(folder: Folder, options: &[&str]) -> Self {
        Self::start_with(folder, "builtin", options)
    }

    /// The same with another model.
    pub(super) fn start_with(folder: Folder, model: &str, options: &[&str]) -> Self {
        let temporary = folder.path(TEMPORARY);
        std::fs::create_dir_all(&temporary).expect("a folder");
        let mut child = Command::new(env!("CARGO_BIN_EXE_retune"))
            .args(["serve", model, "--port", "0"])
            .args(options)
            .current_dir(folder.path(""))
            .env("RETUNE_CACHE", folder.path("cache"))
            .env("CUDA_VISIBLE_DEVICES", "")
            .env("TMPDIR", &temporary)
            .env("TMP", &temporary)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut out = BufReader::new(child.stdout.take().expect("its output"));
        let mut line = String::new();
        let url = loop {
            line.clear();
            let read = out.read_line(&mut line).expect("a line");
            assert!(read > 0, "the server ended before it listened");
            if let Some(url) = line.strip_prefix("listening  ") {
                break url.trim().to_owned();
            }
        };
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(120)));
        Self {
            child,
            url,
            agent: config.build().into(),
            key: None,
            _out: out,
            folder,
        }
    }

    fn with_key<B>(&self, request: RequestBuilder<B>) -> RequestBuilder<B> {
        match self.key {
            Some(key) => request.header("Authorization", format!("Bearer {key}")),
            None => request,
        }
    }

    pub(super) fn post(&self, path: &str, body: &Value) -> Response<ureq::Body> {
        let request = self.agent.post(format!("{}{path}", self.url));
        let request = self.with_key(request);
        request.send_json(body).expect("a response")
    }

    /// The answer to bytes as they are.
    pub(super) fn send(&self, path: &str, body: &[u8]) -> (u16, Value) {
        let request = self.agent.post(format!("{}{path}", self.url));
        read(self.with_key(request).send(body).expect("a response"))
    }

    pub(super) fn get(&self, path: &str) -> Response<ureq::Body> {
        let request = self.agent.get(format!("{}{path}", self.url));
        self.with_key(request).call().expect("a response")
    }

    /// Status and body.
    pub(super) fn ask(&self, path: &str, body: &Value) -> (u16, Value) {
        read(self.post(path, body))
    }

    /// The events of a stream, without the last, which says that it is done.
    pub(super) fn events(&self, path: &str, body: &Value) -> Vec<Value> {
        let mut response = self.post(path, body);
        let text = response.body_mut().read_to_string().expect("events");
        let mut data: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("data: "))
            .collect();
        assert_eq!(data.pop(), Some("[DONE]"), "{text}");
        let events = data.into_iter().map(serde_json::from_str);
        events.collect::<Result<_, _>>().expect("JSON")
    }

    /// How many answers ended for a `reason`, as `/metrics` has it.
    pub(super) fn ended(&self, reason: &str) -> u64 {
        let text = self.get("/metrics").body_mut().read_to_string();
        let text = text.expect("a text");
        let label = format!("reason=\"{reason}\"");
        let lines = text.lines();
        let found =
            lines.filter(|line| line.starts_with("retune_answers_total") && line.contains(&label));
        let counts = found.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
        counts.sum()
    }

    /// Waits until the server has as many open requests.
    pub(super) fn wait_for(&self, open: u64) {
        let start = Instant::now();
        loop {
            let (_, health) = read(self.get("/health"));
            if health["open"] == open {
                return;
            }
            assert!(start.elapsed() < Duration::from_secs(60), "{health}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

pub(super) fn read(mut response: Response<ureq::Body>) -> (u16, Value) {
    let status = response.status().as_u16();
    let body = response.body_mut().read_json();
    (status, body.expect("JSON"))
}
