//! The web page: files that are part of the program.

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName};
use axum::http::header::{REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use axum::response::{IntoResponse, Response};

use crate::error::ApiError;

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

/// Name, kind and content of each; the ending of the name says the kind.
macro_rules! files {
    ($($name:literal),+ $(,)?) => {
        &[$(($name, kind($name), include_str!(concat!("../../web/", $name)))),+]
    };
}

const FILES: &[(&str, &str, &str)] = files![
    "answer.js",
    "api.js",
    "chart.js",
    "chat.js",
    "composer.js",
    "conversation.js",
    "data.css",
    "data.js",
    "datafile.js",
    "datasettings.js",
    "dom.js",
    "en.js",
    "figures.js",
    "findings.js",
    "format.js",
    "history.js",
    "i18n.js",
    "index.html",
    "key.js",
    "main.js",
    "notice.js",
    "panel.js",
    "plot.js",
    "poll.js",
    "progress.js",
    "rowview.js",
    "rules.js",
    "run.js",
    "runcharts.js",
    "runlist.js",
    "samples.js",
    "scale.js",
    "series.js",
    "settings.js",
    "sse.js",
    "storage.js",
    "style.css",
    "text.js",
    "tokens.js",
    "toolbar.js",
    "training.css",
    "training.js",
    "transcript.js",
    "turn.js",
    "zh.js",
];

const fn kind(name: &str) -> &'static str {
    match name.as_bytes() {
        [.., b'.', b'j', b's'] => SCRIPT,
        [.., b'.', b'c', b's', b's'] => STYLE,
        [.., b'.', b'h', b't', b'm', b'l'] => HTML,
        _ => panic!("a file of the page has an ending of no known kind"),
    }
}

/// What a page may do: nothing but with what it came with, and no page may frame it.
const POLICY: &str = "default-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(super) async fn index() -> Response {
    file("index.html").into_response()
}

pub(super) async fn part(name: Result<Path<String>, PathRejection>) -> Response {
    let name = name.map_or_else(|_| "\u{fffd}".to_owned(), |Path(name)| name);
    file(&name).into_response()
}

/// One of the files; a name that is none is no path, and leads nowhere else.
fn file(name: &str) -> Result<impl IntoResponse + use<>, ApiError> {
    let found = FILES.iter().find(|(own, ..)| *own == name);
    let (_, kind, content) = found.ok_or_else(|| ApiError::nowhere(&format!("/{name}")))?;
    let headers: [(HeaderName, &str); 5] = [
        (CONTENT_TYPE, kind),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        // The next version of the program has others.
        (CACHE_CONTROL, "no-cache"),
    ];
    Ok((headers, *content))
}
