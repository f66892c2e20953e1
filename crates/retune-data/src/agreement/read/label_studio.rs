//! Label Studio's exports: JSON, a task with all its annotations in each row,
//! and JSON-MIN, an annotation in each row.

use serde_json::{Map, Value as Json};

use super::value::{self, Answer};
use super::{Collected, ExportOptions};

/// Whether a first row looks like one of Label Studio's.
pub(super) fn is(fields: &Map<String, Json>) -> bool {
    annotations(fields).is_some() || is_min(fields)
}

pub(super) fn add(
    fields: &Map<String, Json>,
    options: &ExportOptions,
    collected: &mut Collected,
) -> Result<(), String> {
    match annotations(fields) {
        Some(annotations) => add_task(fields, annotations, options, collected),
        None if is_min(fields) => add_min(fields, options, collected),
        None => Err("has neither `annotations` nor `annotation_id` and `annotator`".into()),
    }
}

/// Those of a task. Before version 1.0 they were called completions.
fn annotations(fields: &Map<String, Json>) -> Option<&Vec<Json>> {
    let value = fields
        .get("annotations")
        .or_else(|| fields.get("completions"));
    value.and_then(Json::as_array)
}

fn is_min(fields: &Map<String, Json>) -> bool {
    fields.contains_key("annotation_id") && fields.contains_key("annotator")
}

fn add_task(
    task: &Map<String, Json>,
    annotations: &[Json],
    options: &ExportOptions,
    collected: &mut Collected,
) -> Result<(), String> {
    let nothing = Map::new();
    let data = task
        .get("data")
        .and_then(Json::as_object)
        .unwrap_or(&nothing);
    let item = match &options.item {
        Some(field) if data.contains_key(field) => value::required(data, field)?,
        Some(field) => value::required(task, field)?,
        None => value::required(task, "id")?,
    };
    let text = data
        .get("text")
        .or_else(|| data.values().find(|value| value.is_string()));
    collected.describe(&item, text.and_then(Json::as_str));
    for annotation in annotations {
        let Some(annotation) = annotation.as_object() else {
            return Err("an annotation is no object".into());
        };
        let is_true = |field| annotation.get(field) == Some(&Json::Bool(true));
        if is_true("was_cancelled") || is_true("skipped") {
            collected.leave_out("annotations that were skipped");
            continue;
        }
        let annotator = annotator(annotation, options)?;
        let answers = answers(annotation, collected)?;
        collected.add(item.clone(), annotator, answers);
    }
    Ok(())
}

/// `completed_by` is a number, or in some exports the user.
fn annotator(annotation: &Map<String, Json>, options: &ExportOptions) -> Result<String, String> {
    if let Some(field) = &options.annotator {
        return value::required(annotation, field);
    }
    let by = annotation.get("completed_by");
    let user = by.and_then(|by| by.get("email").or_else(|| by.get("id")));
    let by = user.or(by).and_then(value::name);
    let by = by.or_else(|| annotation.get("created_username").and_then(value::name));
    by.ok_or_else(|| "an annotation has no `completed_by`".into())
}

/// The answers of an annotation, by the name of the control that they were given in.
fn answers(
    annotation: &Map<String, Json>,
    collected: &mut Collected,
) -> Result<Vec<(String, Answer)>, String> {
    let Some(regions) = annotation.get("result").and_then(Json::as_array) else {
        return Err("an annotation has no list `result`".into());
    };
    let mut by_control: Vec<(&str, Kind, Vec<&Json>)> = Vec::new();
    for region in regions {
        let control = region.get("from_name").and_then(Json::as_str);
        let (Some(control), Some(content)) = (control, region.get("value")) else {
            collected.leave_out("relations and regions without a name");
            continue;
        };
        let Some((kind, content)) = content_of(region, content) else {
            collected.leave_out("regions that are neither labels nor spans of text");
            continue;
        };
        let known = by_control
            .iter_mut()
            .find(|(name, of, _)| *name == control && *of == kind);
        match known {
            Some((_, _, contents)) => contents.extend(content),
            None => by_control.push((control, kind, content)),
        }
    }
    let answer = |(control, kind, contents): (&str, Kind, Vec<&Json>)| {
        let answer = match kind {
            Kind::Labels => value::labels(contents)?,
            Kind::Spans => value::spans(contents)?,
        };
        Ok((control.to_owned(), answer))
    };
    by_control.into_iter().map(answer).collect()
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Labels,
    Spans,
}

/// What a region says, by the type of its control.
fn content_of<'a>(region: &Json, content: &'a Json) -> Option<(Kind, Vec<&'a Json>)> {
    let several = |field| {
        content
            .get(field)?
            .as_array()
            .map(|items| items.iter().collect())
    };
    let one = |field| content.get(field).map(|value| vec![value]);
    let labels = match region.get("type").and_then(Json::as_str)? {
        "labels" | "hypertextlabels" | "paragraphlabels" => {
            // In audio and video, the same control marks seconds.
            let in_text = content.get("text").is_some() || content.get("globalOffsets").is_some();
            return in_text.then(|| (Kind::Spans, vec![content]));
        }
        "choices" => several("choices"),
        "taxonomy" => several("taxonomy"),
        "rating" => one("rating"),
        "number" => one("number"),
        "pairwise" => one("selected"),
        _ => None,
    };
    labels.map(|labels| (Kind::Labels, labels))
}

/// In JSON-MIN, the answers are fields beside the data: behind `id`, and before
/// `annotator`.
fn add_min(
    fields: &Map<String, Json>,
    options: &ExportOptions,
    collected: &mut Collected,
) -> Result<(), String> {
    let item = value::required(fields, options.item.as_deref().unwrap_or("id"))?;
    let annotator = value::required(fields, options.annotator.as_deref().unwrap_or("annotator"))?;
    let text = fields.get("text").or_else(|| fields.values().next());
    collected.describe(&item, text.and_then(Json::as_str));
    let behind = fields.iter().skip_while(|(name, _)| *name != "id").skip(1);
    let mut answers = Vec::new();
    for (name, content) in behind.take_while(|(name, _)| *name != "annotator") {
        // Several choices are in an object, one stands for itself.
        let inner = ["choices", "rating", "number", "selected", "taxonomy"];
        let inner = inner.iter().find_map(|field| content.get(field));
        if let Some(answer) = value::answer(inner.unwrap_or(content))? {
            answers.push((name.clone(), answer));
        }
    }
    collected.add(item, annotator, answers);
    Ok(())
}
