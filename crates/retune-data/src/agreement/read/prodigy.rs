//! Prodigy's annotations, a row for each, as `db-out` writes them.

use serde_json::{Map, Value as Json};

use super::value::{self, Answer};
use super::{Collected, ExportOptions};

/// Whether a first row looks like one of Prodigy's.
pub(super) fn is(fields: &Map<String, Json>) -> bool {
    let fields_of_its_own = ["_task_hash", "_input_hash", "_annotator_id", "_session_id"];
    fields_of_its_own
        .iter()
        .any(|field| fields.contains_key(*field))
}

pub(super) fn add(
    fields: &Map<String, Json>,
    options: &ExportOptions,
    collected: &mut Collected,
) -> Result<(), String> {
    let verdict = fields.get("answer").and_then(Json::as_str);
    if verdict == Some("ignore") {
        collected.leave_out("answers that ignore the task");
        return Ok(());
    }
    let annotator = match &options.annotator {
        Some(field) => value::required(fields, field)?,
        None => {
            let given = ["_annotator_id", "_session_id"].iter();
            let given = given.filter_map(|field| fields.get(*field).and_then(value::name));
            given
                .into_iter()
                .next()
                .ok_or("has neither `_annotator_id` nor `_session_id`")?
        }
    };
    let answers = if let Some(field) = &options.label
        && !INTERFACES.contains(&field.as_str())
    {
        let content = fields.get(field).unwrap_or(&Json::Null);
        value::answer(content)?.map(|answer| vec![(field.clone(), answer)])
    } else {
        answers(fields, verdict)?
    };
    let Some(answers) = answers else {
        collected.leave_out("tasks that were rejected as a whole or have no answer");
        return Ok(());
    };
    let binary = answers.iter().any(|(name, _)| name == "answer");
    let item = item(fields, options, binary)?;
    let text = ["text", "html", "image"]
        .iter()
        .find_map(|field| fields.get(*field)?.as_str());
    collected.describe(&item, text);
    collected.add(item, annotator, answers);
    Ok(())
}

/// What the interfaces ask for, as questions.
const INTERFACES: [&str; 3] = ["choice", "spans", "answer"];

/// The answers, by interface: options that were chosen, spans that were marked,
/// or else whether the task was accepted. None if the task was rejected.
fn answers(
    fields: &Map<String, Json>,
    verdict: Option<&str>,
) -> Result<Option<Vec<(String, Answer)>>, String> {
    let view = fields.get("_view_id").and_then(Json::as_str).unwrap_or("");
    let list = |field: &str| fields.get(field).and_then(Json::as_array);
    let choice = list("accept").filter(|_| matches!(view, "" | "choice" | "blocks"));
    // In the binary interfaces a span, if any, belongs to the question.
    let manual = view.ends_with("_manual") || view == "spans" || view == "blocks";
    let manual = manual || (view.is_empty() && !fields.contains_key("label"));
    let spans = list("spans").filter(|_| manual);
    let mut answers = Vec::new();
    if let Some(chosen) = choice {
        answers.push(("choice".to_owned(), value::labels(chosen)?));
    }
    if let Some(marked) = spans {
        answers.push(("spans".to_owned(), value::spans(marked)?));
    }
    match (answers.is_empty(), verdict) {
        (false, Some("reject")) => Ok(None),
        (false, _) => Ok(Some(answers)),
        // An interface for spans writes none if nothing was marked.
        (true, Some("reject")) if manual && view.ends_with("_manual") => Ok(None),
        (true, _) if view.ends_with("_manual") => {
            Ok(Some(vec![("spans".to_owned(), Answer::Spans(Vec::new()))]))
        }
        (true, Some(verdict)) => {
            let verdict = Answer::Label(verdict.to_owned());
            Ok(Some(vec![("answer".to_owned(), verdict)]))
        }
        (true, None) => Err("has no `answer`".into()),
    }
}

/// The same input is the same item; where the question is in the task, as in
/// the binary interfaces, the task is.
fn item(
    fields: &Map<String, Json>,
    options: &ExportOptions,
    binary: bool,
) -> Result<String, String> {
    if let Some(field) = &options.item {
        return value::required(fields, field);
    }
    let hashes = match binary {
        true => ["_task_hash", "_input_hash"],
        false => ["_input_hash", "_task_hash"],
    };
    let mut hashes = hashes
        .iter()
        .filter_map(|hash| fields.get(*hash).and_then(value::name));
    let item = hashes
        .next()
        .or_else(|| fields.get("text").and_then(value::name));
    item.ok_or_else(|| "has neither `_input_hash` nor `_task_hash` nor `text`".into())
}
