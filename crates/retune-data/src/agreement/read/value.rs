//! Values of exports as labels, names and spans.

use serde_json::{Map, Value as Json};

use crate::agreement::Span;

/// Texts are shorter, and lengths of many can be added up.
const MAX_END: u64 = 1 << 28;
/// Parts of a label that consists of several.
const MAX_PARTS: usize = 1000;

/// What was answered to a question.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Answer {
    Label(String),
    Spans(Vec<Span>),
    /// Of several choices none, or no span.
    Empty,
}

/// The answer that a value is; none if it is missing.
pub(super) fn answer(value: &Json) -> Result<Option<Answer>, String> {
    match value {
        Json::Array(items) if items.is_empty() => Ok(Some(Answer::Empty)),
        Json::Array(items) if items.iter().all(is_span) => spans(items).map(Some),
        Json::Array(items) => labels(items).map(Some),
        Json::Object(_) => Err(format!("{} is no label", short(value))),
        _ => Ok(name(value).map(Answer::Label)),
    }
}

/// Several labels at once, as one: their order does not matter.
pub(super) fn labels<'a>(items: impl IntoIterator<Item = &'a Json>) -> Result<Answer, String> {
    let mut parts = Vec::new();
    for item in items {
        // A path in a taxonomy.
        let part = match item {
            Json::Array(path) => {
                let steps: Option<Vec<String>> = path.iter().map(name).collect();
                steps.map(|steps| steps.join(" / "))
            }
            item => name(item),
        };
        parts.push(part.ok_or_else(|| format!("{} is no label", short(item)))?);
        if parts.len() > MAX_PARTS {
            return Err(format!("more than {MAX_PARTS} labels at once"));
        }
    }
    parts.sort_unstable();
    parts.dedup();
    match parts.is_empty() {
        true => Ok(Answer::Empty),
        false => Ok(Answer::Label(parts.join(" + "))),
    }
}

/// A text, number or truth value as a name, unless it is empty.
pub(super) fn name(value: &Json) -> Option<String> {
    let name = match value {
        Json::String(text) => text.trim().to_owned(),
        Json::Number(number) => number.to_string(),
        Json::Bool(value) => value.to_string(),
        _ => return None,
    };
    (!name.is_empty()).then_some(name)
}

/// The name in a field that has to be there.
pub(super) fn required(fields: &Map<String, Json>, field: &str) -> Result<String, String> {
    match fields.get(field) {
        None => Err(format!("has no `{field}`")),
        Some(value) => name(value).ok_or_else(|| format!("`{field}` is no name: {}", short(value))),
    }
}

fn is_span(value: &Json) -> bool {
    let has = |field| value.get(field).is_some();
    (has("start") && has("end")) || (has("startOffset") && has("endOffset"))
}

/// Objects with a start, an end and labels, as Label Studio, Prodigy and
/// MTurk's widget for entities write them.
pub(super) fn spans<'a>(items: impl IntoIterator<Item = &'a Json>) -> Result<Answer, String> {
    let mut spans = Vec::new();
    for item in items {
        let (start, end) = offsets(item)?;
        for label in span_labels(item)? {
            spans.push(Span { start, end, label });
        }
    }
    Ok(Answer::Spans(spans))
}

fn offsets(span: &Json) -> Result<(u32, u32), String> {
    // In hypertext, `start` and `end` are places in the document's tree.
    let global = span.get("globalOffsets").unwrap_or(span);
    let at = |first: &str, second: &str| {
        let value = global.get(first).filter(|value| value.is_number());
        let value = value.or_else(|| span.get(second).filter(|_| span.get(first).is_none()))?;
        let whole = |value: f64| (value >= 0.0 && value.fract() == 0.0).then_some(value as u64);
        value.as_u64().or_else(|| value.as_f64().and_then(whole))
    };
    match (at("start", "startOffset"), at("end", "endOffset")) {
        (Some(start), Some(end)) if start <= end && end <= MAX_END => {
            Ok((start as u32, end as u32))
        }
        (Some(start), Some(end)) => Err(format!("a span from {start} to {end} is none")),
        _ => Err(format!("a span has no start and end: {}", short(span))),
    }
}

fn span_labels(span: &Json) -> Result<Vec<String>, String> {
    const FIELDS: [&str; 4] = ["label", "labels", "hypertextlabels", "paragraphlabels"];
    let value = FIELDS.iter().find_map(|field| span.get(field));
    let labels: Option<Vec<String>> = match value {
        Some(Json::Array(labels)) => labels.iter().map(name).collect(),
        Some(label) => name(label).map(|label| vec![label]),
        None => None,
    };
    let labels = labels.filter(|labels| !labels.is_empty() && labels.len() <= MAX_PARTS);
    labels.ok_or_else(|| format!("a span has no label: {}", short(span)))
}

/// The beginning of a value, for messages. Large ones are not written out.
pub(super) fn short(value: &Json) -> String {
    match value {
        Json::Array(items) => format!("a list of {}", items.len()),
        Json::Object(fields) => {
            let names: Vec<&str> = fields.keys().take(6).map(String::as_str).collect();
            format!("an object with {}", names.join(", "))
        }
        Json::String(text) => format!("{:?}", text.chars().take(40).collect::<String>()),
        other => other.to_string(),
    }
}
