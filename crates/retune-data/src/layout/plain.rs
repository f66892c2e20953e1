//! Texts without turns.

use serde_json::Value as Json;

use super::fields::Fields;
use crate::error::Result;
use crate::sample::Content;

pub(super) fn read_text(fields: &Fields<'_>) -> Result<Content> {
    Ok(Content::Text(fields.text("text")?.to_owned()))
}

/// A label is a name or a number.
pub(super) fn read_classification(fields: &Fields<'_>) -> Result<Content> {
    let label = match fields.get("label") {
        Some(Json::Number(number)) => number.to_string(),
        Some(Json::Bool(label)) => label.to_string(),
        _ => fields.text("label")?.to_owned(),
    };
    Ok(Content::Classification {
        text: fields.text("text")?.to_owned(),
        label,
    })
}
