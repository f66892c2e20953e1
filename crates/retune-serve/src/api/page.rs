//! The web page: files that are part of the program.

use axum::extract::Path;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName};
use axum::http::header::{REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use axum::response::{IntoResponse, Response};

use crate::error::ApiError;

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

/// Name, kind and content of each.
const FILES: [(&str, &str, &str); 21] = [
    ("answer.js", SCRIPT, include_str!("../../web/answer.js")),
    ("api.js", SCRIPT, include_str!("../../web/api.js")),
    ("chat.js", SCRIPT, include_str!("../../web/chat.js")),
    ("composer.js", SCRIPT, include_str!("../../web/composer.js")),
    (
        "conversation.js",
        SCRIPT,
        include_str!("../../web/conversation.js"),
    ),
    ("dom.js", SCRIPT, include_str!("../../web/dom.js")),
    ("history.js", SCRIPT, include_str!("../../web/history.js")),
    ("i18n.js", SCRIPT, include_str!("../../web/i18n.js")),
    ("index.html", HTML, include_str!("../../web/index.html")),
    ("key.js", SCRIPT, include_str!("../../web/key.js")),
    ("main.js", SCRIPT, include_str!("../../web/main.js")),
    ("notice.js", SCRIPT, include_str!("../../web/notice.js")),
    ("panel.js", SCRIPT, include_str!("../../web/panel.js")),
    ("settings.js", SCRIPT, include_str!("../../web/settings.js")),
    ("sse.js", SCRIPT, include_str!("../../web/sse.js")),
    ("storage.js", SCRIPT, include_str!("../../web/storage.js")),
    ("style.css", STYLE, include_str!("../../web/style.css")),
    ("text.js", SCRIPT, include_str!("../../web/text.js")),
    ("toolbar.js", SCRIPT, include_str!("../../web/toolbar.js")),
    (
        "transcript.js",
        SCRIPT,
        include_str!("../../web/transcript.js"),
    ),
    ("turn.js", SCRIPT, include_str!("../../web/turn.js")),
];

/// What a page may do: nothing but with what it came with, and no page may frame it.
const POLICY: &str = "default-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(super) async fn index() -> Response {
    file("index.html").into_response()
}

pub(super) async fn part(Path(name): Path<String>) -> Response {
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
