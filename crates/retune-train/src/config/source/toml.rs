//! TOML, with its places and all faults of its syntax.

use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::{Entry, Mark, Node, Value, lines_before, place};
use crate::error::Mistake;

/// The entries of a table, and what is wrong with the syntax.
pub(super) fn entries(path: &Path, text: &str) -> (Vec<Entry>, Vec<Mistake>) {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mistake = |error: &toml::de::Error| {
        let at = error.span().map(|span| mark_at(text, span.start));
        let first = error.message().lines().next().unwrap_or_default();
        Mistake {
            place: place(path, at),
            key: None,
            problem: first.to_owned(),
            hint: None,
        }
    };
    let mistakes: Vec<Mistake> = errors.iter().map(mistake).collect();
    // What stands beside broken syntax may be misread, but not what stands
    // beside a key that comes twice.
    let twice = |error: &toml::de::Error| error.message().starts_with("duplicate key");
    if !errors.iter().all(twice) {
        return (Vec::new(), mistakes);
    }
    (toml_entries(table.get_ref(), text), mistakes)
}

fn toml_entries(table: &DeTable<'_>, text: &str) -> Vec<Entry> {
    let mut entries: Vec<Entry> = table
        .iter()
        .map(|(key, value)| Entry {
            key: key.get_ref().clone().into_owned(),
            mark: mark_at(text, key.span().start),
            node: toml_node(value, text),
        })
        .collect();
    entries.sort_by_key(|entry| entry.mark);
    entries
}

fn toml_node(value: &toml::Spanned<DeValue<'_>>, text: &str) -> Node {
    let inner = match value.get_ref() {
        DeValue::String(text) => Value::Text(text.clone().into_owned()),
        DeValue::Integer(whole) => {
            let parsed = i128::from_str_radix(whole.as_str(), whole.radix());
            parsed.map_or_else(|_| Value::Text(whole.to_string()), Value::Whole)
        }
        DeValue::Float(number) => {
            let parsed = number.as_str().parse();
            parsed.map_or_else(|_| Value::Text(number.to_string()), Value::Number)
        }
        DeValue::Boolean(value) => Value::Bool(*value),
        DeValue::Datetime(date) => Value::Text(date.to_string()),
        DeValue::Array(items) => {
            Value::List(items.iter().map(|item| toml_node(item, text)).collect())
        }
        DeValue::Table(table) => Value::Map(toml_entries(table, text)),
    };
    Node {
        value: inner,
        mark: mark_at(text, value.span().start),
    }
}

/// The line and column of a byte.
fn mark_at(text: &str, offset: usize) -> Mark {
    let before = &text[..text.floor_char_boundary(offset)];
    let line_start = before.rfind('\n').map_or(0, |end| end + 1);
    let line = lines_before(before.as_bytes(), before.len());
    (line, before[line_start..].chars().count() + 1)
}
