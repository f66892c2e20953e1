//! `retune serve`, asked over HTTP.

mod adapters;
mod answers;
mod api;
mod browser;
mod data;
mod limits;
mod runs;
mod server;

use serde_json::{Value, json};

const CHAT: &str = "/v1/chat/completions";

/// A body of a chat that says `text`, and `more`.
fn asked(text: &str, more: Value) -> Value {
    let mut body = json!({
        "messages": [{"role": "user", "content": text}],
        "temperature": 0, "max_tokens": 12,
    });
    for (name, value) in more.as_object().expect("an object") {
        body[name] = value.clone();
    }
    body
}
