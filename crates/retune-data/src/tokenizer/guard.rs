//! Texts of users, in which no token is one.
//!
//! A mark inside each keeps the template from making a token of it; it is taken out
//! again when the text is encoded.

use serde_json::Value as Json;

use crate::error::{Error, Result};

/// Marks a special token inside a user's text until the template is rendered.
/// It is no character, and stands in no text.
pub(super) const GUARD: char = '\u{fdd0}';

/// A value with the tokens in its texts and names guarded.
pub(super) fn guarded(tokens: &[String], value: &Json) -> Result<Json> {
    Ok(match value {
        Json::String(text) => Json::String(guard(tokens, text)?),
        Json::Array(items) => {
            let items = items.iter().map(|item| guarded(tokens, item));
            Json::Array(items.collect::<Result<_>>()?)
        }
        Json::Object(fields) => {
            let fields = fields.iter();
            let fields =
                fields.map(|(key, value)| Ok((guard(tokens, key)?, guarded(tokens, value)?)));
            Json::Object(fields.collect::<Result<_>>()?)
        }
        other => other.clone(),
    })
}

/// Puts [`GUARD`] behind the first character of each of `tokens`.
fn guard(tokens: &[String], text: &str) -> Result<String> {
    if text.contains(GUARD) {
        return Err(Error::Encoding {
            problem: "it holds U+FDD0, which is no character".to_owned(),
        });
    }
    if !tokens.iter().any(|token| text.contains(token.as_str())) {
        return Ok(text.to_owned());
    }
    let mut guarded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        guarded.push(c);
        if let Some(token) = tokens.iter().find(|token| rest.starts_with(*token)) {
            guarded.push(GUARD);
            guarded.push_str(&token[c.len_utf8()..]);
            rest = &rest[token.len()..];
        } else {
            rest = &rest[c.len_utf8()..];
        }
    }
    Ok(guarded)
}
