//! Values from the command line: text, of which the field's kind decides what
//! it is. `--output_dir 2024` is a path, `--seed 2024` a number.

use super::field::{Field, Kind};
use super::source::{Entry, Node, Value, yaml};

const NOWHERE: (usize, usize) = (0, 0);

/// What the texts that were given for `field` mean. Several are a list.
///
/// # Errors
/// In words, if they cannot be read at all.
pub(super) fn parse(field: &Field, texts: &[String]) -> Result<Node, String> {
    let value = match (&field.kind, texts) {
        (Kind::List, texts) => list(field, texts)?,
        (Kind::Texts | Kind::Numbers(_), texts) => map(field, texts)?,
        (kind, [text]) => one(field, kind, text),
        (_, texts) => {
            let found = texts.join(", ");
            return Err(format!(
                "expected one value, found {}: {found}",
                texts.len()
            ));
        }
    };
    Ok(node(value))
}

/// The texts themselves, of which no field says what they mean.
pub(super) fn as_written(texts: &[String]) -> Node {
    let text = |text: &String| node(Value::Text(text.clone()));
    match texts {
        [one] => text(one),
        several => node(Value::List(several.iter().map(text).collect())),
    }
}

fn one(field: &Field, kind: &Kind, text: &str) -> Value {
    let optional = field.default.is_null();
    match kind {
        _ if optional && text == "null" => Value::Null,
        Kind::Bool => match text {
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            _ => Value::Text(text.to_owned()),
        },
        Kind::Whole { .. } | Kind::Number(_) | Kind::Numbers(_) => match yaml(text) {
            Ok(Node {
                value: number @ (Value::Whole(_) | Value::Number(_)),
                ..
            }) => number,
            _ => Value::Text(text.to_owned()),
        },
        _ => Value::Text(text.to_owned()),
    }
}

fn in_yaml(text: &str) -> Result<Value, String> {
    let node = yaml(text).map_err(|(problem, _)| problem)?;
    Ok(node.value)
}

fn node(value: Value) -> Node {
    Node {
        value,
        mark: NOWHERE,
    }
}

fn list(field: &Field, texts: &[String]) -> Result<Value, String> {
    let mut items = Vec::new();
    for text in texts {
        if text.starts_with('[') {
            match in_yaml(text)? {
                Value::List(inner) => items.extend(inner),
                other => items.push(node(other)),
            }
        } else if field.is_prose() {
            items.push(node(Value::Text(text.clone())));
        } else {
            let parts = text.split(',').map(str::trim);
            items.extend(parts.map(|part| node(Value::Text(part.to_owned()))));
        }
    }
    Ok(Value::List(items))
}

fn map(field: &Field, texts: &[String]) -> Result<Value, String> {
    let mut entries = Vec::new();
    for text in texts {
        if text.starts_with('{') {
            match in_yaml(text)? {
                Value::Map(inner) => entries.extend(inner),
                other => return Ok(other),
            }
            continue;
        }
        for part in text.split(',') {
            let Some((key, value)) = part.split_once('=') else {
                return Ok(Value::Text(text.clone()));
            };
            entries.push(Entry {
                key: key.trim().to_owned(),
                mark: NOWHERE,
                node: node(one(field, &field.kind, value.trim())),
            });
        }
    }
    Ok(Value::Map(entries))
}
