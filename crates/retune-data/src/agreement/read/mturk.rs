//! Results of a batch of Amazon Mechanical Turk, a row for each assignment.

use serde_json::{Map, Value as Json};

use super::value::{self, Answer};
use super::{Collected, ExportOptions};

const PREFIX: &str = "Answer.";

/// Whether a first row looks like one of MTurk's.
pub(super) fn is(fields: &Map<String, Json>) -> bool {
    fields.contains_key("HITId") && fields.contains_key("WorkerId")
}

pub(super) fn add(
    fields: &Map<String, Json>,
    options: &ExportOptions,
    collected: &mut Collected,
) -> Result<(), String> {
    if fields.get("AssignmentStatus").and_then(Json::as_str) == Some("Rejected") {
        collected.leave_out("assignments that were rejected");
        return Ok(());
    }
    let item = value::required(fields, options.item.as_deref().unwrap_or("HITId"))?;
    let annotator = value::required(fields, options.annotator.as_deref().unwrap_or("WorkerId"))?;
    let input = fields.iter().find(|(name, _)| name.starts_with("Input."));
    let text = fields.get("Input.text").or(input.map(|(_, value)| value));
    collected.describe(&item, text.and_then(Json::as_str));
    let answers = answers(fields, options.label.as_deref())?;
    if answers.is_empty() {
        collected.leave_out("assignments without an answer");
        return Ok(());
    }
    collected.add(item, annotator, answers);
    Ok(())
}

/// The answers by the name of the form's field. The fields of radio buttons and
/// checkboxes come as a column for each option, `Answer.field.option`, with
/// `true` or `false`; they are one answer. A question that is `wanted` may be
/// named as the column is.
fn answers(
    fields: &Map<String, Json>,
    wanted: Option<&str>,
) -> Result<Vec<(String, Answer)>, String> {
    let mut answers = Vec::new();
    let mut options: Vec<(&str, Vec<Json>)> = Vec::new();
    for (column, content) in fields {
        let Some(name) = column.strip_prefix(PREFIX) else {
            continue;
        };
        match (name.rsplit_once('.'), truth(content)) {
            // The widget for classification writes `Answer.field.label`.
            (Some((field, option)), Some(chosen)) if option != "label" => {
                let place = options.iter().position(|(name, _)| *name == field);
                let place = place.unwrap_or_else(|| {
                    options.push((field, Vec::new()));
                    options.len() - 1
                });
                if chosen {
                    options[place].1.push(Json::String(option.to_owned()));
                }
            }
            _ => {
                if let Some(answer) = answer(content)? {
                    answers.push((name.to_owned(), answer));
                }
            }
        }
    }
    for (field, chosen) in options {
        answers.push((field.to_owned(), value::labels(&chosen)?));
    }
    for (name, _) in &mut answers {
        if wanted.and_then(|wanted| wanted.strip_prefix(PREFIX)) == Some(name) {
            name.insert_str(0, PREFIX);
        }
    }
    Ok(answers)
}

fn truth(content: &Json) -> Option<bool> {
    match content {
        Json::Bool(value) => Some(*value),
        Json::String(text) if text.eq_ignore_ascii_case("true") => Some(true),
        Json::String(text) if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

/// A cell; the widget for entities writes its spans as JSON.
fn answer(content: &Json) -> Result<Option<Answer>, String> {
    let list = content
        .as_str()
        .filter(|text| text.trim_start().starts_with('['));
    match list.and_then(|text| serde_json::from_str::<Json>(text).ok()) {
        Some(list) => value::answer(&list),
        None => value::answer(content),
    }
}
