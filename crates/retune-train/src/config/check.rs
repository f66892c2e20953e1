//! One value against its field: its type, its bounds, its names.

use std::collections::BTreeSet;

use serde_json::{Map, Value as Json};

use super::choices::device_choice;
use super::field::{Field, Kind, Range};
use super::memory::MemorySize;
use super::names::nearest;
use super::source::{Entry, Mark, Node, Value};

/// A value that a field does not take: where, why, and what to do about it.
pub(super) struct Fault {
    pub mark: Mark,
    pub problem: String,
    pub hint: Option<String>,
}

impl Fault {
    fn new(node: &Node, expected: &str) -> Self {
        Self {
            mark: node.mark,
            problem: format!("expected {expected}, found {}", node.value.in_words()),
            hint: None,
        }
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// The value as the struct reads it.
///
/// # Errors
/// All that is wrong with it.
pub(super) fn check(field: &Field, node: &Node) -> Result<Json, Vec<Fault>> {
    match &field.kind {
        Kind::List => list(field, node),
        Kind::Texts => map(field, node, text),
        Kind::Numbers(range) => map(field, node, |node| number(*range, field, node)),
        _ => one(field, node).map_err(|fault| vec![fault]),
    }
}

fn one(field: &Field, node: &Node) -> Result<Json, Fault> {
    let optional = field.default.is_null();
    match (&field.kind, &node.value) {
        // Hugging Face's words for none and for all.
        (Kind::Whole { .. }, Value::Whole(-1)) if field.name == "max_steps" => Ok(Json::Null),
        (Kind::Whole { .. }, Value::Null) if field.name == "save_total_limit" => Ok(Json::from(0)),
        (_, Value::Null) if optional => Ok(Json::Null),
        (_, Value::Null) => Err(wrong(field, node).hint("leave it out for the default")),
        (Kind::Bool, Value::Bool(value)) => Ok(Json::Bool(*value)),
        (Kind::Whole { min, max }, Value::Whole(whole)) => {
            let whole = u64::try_from(*whole).ok();
            let within = |whole: &u64| whole >= min && max.is_none_or(|max| *whole <= max);
            let whole = whole.filter(within);
            whole.map(Json::from).ok_or_else(|| wrong(field, node))
        }
        (Kind::Number(range), _) => number(*range, field, node),
        (Kind::Choice(names), value) => choice(names, value).ok_or_else(|| {
            let fault = wrong(field, node);
            match value {
                Value::Text(text) => match nearest(text, names.iter().map(String::as_str)) {
                    Some(name) => fault.hint(format!("did you mean {name}?")),
                    None => fault,
                },
                _ => fault,
            }
        }),
        (Kind::Size, Value::Text(text)) => match text.parse::<MemorySize>() {
            Ok(size) => Ok(Json::String(size.to_string())),
            Err(problem) => Err(Fault {
                mark: node.mark,
                problem,
                hint: None,
            }),
        },
        (Kind::Device, Value::Text(text)) => match device_choice(text) {
            Ok(choice) => Ok(Json::String(choice.to_string())),
            Err(hint) => Err(wrong(field, node).hint(hint)),
        },
        (Kind::Text, _) => text(node),
        _ => Err(wrong(field, node)),
    }
}

fn wrong(field: &Field, node: &Node) -> Fault {
    let fault = Fault::new(node, &field.kind.expected());
    match (&field.kind, &node.value) {
        (Kind::Bool | Kind::Whole { .. } | Kind::Number(_), Value::Text(text))
            if text.parse::<f64>().is_ok_and(f64::is_finite)
                || matches!(text.as_str(), "true" | "false") =>
        {
            fault.hint("write it without quotes")
        }
        (_, Value::Whole(-1)) if field.default.is_null() => fault.hint("leave it out for none"),
        _ => fault,
    }
}

/// A switch's true and false are `on` and `off`.
fn choice(names: &[String], value: &Value) -> Option<Json> {
    let name = match value {
        Value::Text(text) => text.as_str(),
        Value::Bool(true) => "on",
        Value::Bool(false) => "off",
        _ => return None,
    };
    let name = match name {
        "true" => "on",
        "false" => "off",
        name => name,
    };
    names
        .iter()
        .find(|known| *known == name)
        .map(|name| Json::String(name.clone()))
}

fn number(range: Range, field: &Field, node: &Node) -> Result<Json, Fault> {
    let number = match node.value {
        Value::Whole(whole) => Some(whole as f64),
        Value::Number(number) => Some(number),
        _ => None,
    };
    match number {
        Some(number) if range.contains(number) => Ok(Json::from(number)),
        Some(_) => Err(Fault::new(node, &Kind::Number(range).expected())),
        None => Err(wrong(field, node)),
    }
}

fn text(node: &Node) -> Result<Json, Fault> {
    match &node.value {
        Value::Text(text) => Ok(Json::String(text.clone())),
        Value::Bool(_) | Value::Whole(_) | Value::Number(_) => {
            Err(Fault::new(node, "a text").hint("write it in quotes"))
        }
        _ => Err(Fault::new(node, "a text")),
    }
}

fn list(field: &Field, node: &Node) -> Result<Json, Vec<Fault>> {
    let items = match &node.value {
        Value::List(items) => items.as_slice(),
        Value::Text(_) => std::slice::from_ref(node),
        // A key that is there, with nothing behind it.
        Value::Null => &[],
        _ => return Err(vec![wrong(field, node)]),
    };
    let mut texts = Vec::new();
    let mut faults = Vec::new();
    for item in items {
        match text(item) {
            // LLaMA-Factory's word.
            Ok(Json::String(text)) if field.name == "target_modules" && text == "all" => {
                texts.push(Json::from("all-linear"));
            }
            Ok(Json::String(text)) if text.trim().is_empty() => {
                faults.push(Fault::new(item, "a text that is not empty"));
            }
            Ok(text) => texts.push(text),
            Err(fault) => faults.push(fault),
        }
    }
    match faults[..] {
        [] => Ok(Json::Array(texts)),
        _ => Err(faults),
    }
}

fn map(
    field: &Field,
    node: &Node,
    read: impl Fn(&Node) -> Result<Json, Fault>,
) -> Result<Json, Vec<Fault>> {
    let entries: &[Entry] = match &node.value {
        Value::Map(entries) => entries,
        Value::Null => &[],
        _ => return Err(vec![wrong(field, node)]),
    };
    let mut seen = BTreeSet::new();
    let mut values = Map::new();
    let mut faults = Vec::new();
    for Entry { key, mark, node } in entries {
        if !seen.insert(key) {
            faults.push(Fault {
                mark: *mark,
                problem: format!("{key} is given twice"),
                hint: Some("keep one of them".to_owned()),
            });
            continue;
        }
        match read(node) {
            Ok(value) => drop(values.insert(key.clone(), value)),
            Err(mut fault) => {
                fault.problem = format!("{key}: {}", fault.problem);
                faults.push(fault);
            }
        }
    }
    match faults[..] {
        [] => Ok(Json::Object(values)),
        _ => Err(faults),
    }
}
