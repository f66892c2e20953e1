//! YAML and TOML to one tree of values that knows where each stands.

use std::fmt;
use std::path::Path;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::options::{DuplicateKeyPolicy, MergeKeyPolicy, NonFiniteFloatPolicy};
use toml::de::{DeTable, DeValue};

use crate::error::{Mistake, Place};

/// More is no file of settings.
const MAX_BYTES: u64 = 1 << 20;

/// A line and a column, both from 1.
pub(super) type Mark = (usize, usize);

/// A value and where it begins.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub value: Value,
    pub mark: Mark,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Whole(i128),
    Number(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key with its value. A key may come twice.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub key: String,
    pub mark: Mark,
    pub node: Node,
}

/// The entries of a file of settings, and what is wrong with its syntax. The
/// file's extension tells its language.
pub(super) fn read(path: &Path) -> (Vec<Entry>, Vec<Mistake>) {
    let whole = |problem: String| Mistake {
        place: place(path, None),
        key: None,
        problem,
        hint: None,
    };
    let extension = path.extension().and_then(|extension| extension.to_str());
    let text = match text_of(path) {
        Ok(text) => text,
        Err(problem) => return (Vec::new(), vec![whole(problem)]),
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let read = match extension.map(str::to_ascii_lowercase).as_deref() {
        Some("toml") => return toml(path, text),
        // JSON is YAML.
        Some("yaml" | "yml" | "json") => yaml(text),
        _ => {
            let mistake = whole("expected a name that ends in .yaml, .yml, .json or .toml".into());
            return (Vec::new(), vec![mistake]);
        }
    };
    match read.map(|node| node.value) {
        Ok(Value::Map(entries)) => (entries, Vec::new()),
        Ok(Value::Null) => (Vec::new(), Vec::new()),
        Ok(other) => {
            let found = other.in_words();
            let problem = format!("expected settings, one `name: value` a line, found {found}");
            (Vec::new(), vec![whole(problem)])
        }
        Err((problem, mark)) => {
            let mut mistake = whole(problem);
            mistake.place = place(path, mark);
            (Vec::new(), vec![mistake])
        }
    }
}

/// A place in a file.
pub(super) fn place(path: &Path, mark: Option<Mark>) -> Place {
    Place::File {
        path: path.to_owned(),
        line: mark.map(|(line, _)| line),
        column: mark.map(|(_, column)| column),
    }
}

fn text_of(path: &Path) -> Result<String, String> {
    let unreadable = |error: std::io::Error| format!("cannot be read: {error}");
    let metadata = std::fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() {
        return Err("expected a file of settings, found a folder or a device".to_owned());
    }
    if metadata.len() > MAX_BYTES {
        return Err(format!(
            "expected settings, found a file of {} bytes",
            metadata.len()
        ));
    }
    let bytes = std::fs::read(path).map_err(unreadable)?;
    String::from_utf8(bytes).map_err(|error| {
        let line = lines_before(error.as_bytes(), error.utf8_error().valid_up_to());
        format!("expected text in UTF-8, found something else in line {line}")
    })
}

fn lines_before(bytes: &[u8], end: usize) -> usize {
    1 + bytes[..end].iter().filter(|byte| **byte == b'\n').count()
}

/// One value in YAML; what is wrong with it, and where.
pub(super) fn yaml(text: &str) -> Result<Node, (String, Option<Mark>)> {
    // `yes` and `off` are texts, duplicate keys are for us to report, and
    // `.inf` shall be refused by the setting that it is given to.
    let options = serde_saphyr::options! {
        strict_booleans: true,
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        merge_keys: MergeKeyPolicy::AsOrdinary,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        with_snippet: false,
    };
    let tree: Result<serde_saphyr::Spanned<Value>, _> =
        serde_saphyr::from_str_with_options(text, options);
    match tree {
        Ok(tree) => Ok(tree.into()),
        // A file of comments alone.
        Err(serde_saphyr::Error::Eof { .. }) => Ok(Node {
            value: Value::Null,
            mark: (1, 1),
        }),
        Err(error) => {
            let mark = error.location().map(mark);
            let options = serde_saphyr::RenderOptions::new(&serde_saphyr::UserMessageFormatter);
            let problem = error.without_snippet().render_with_options(options);
            // The place is told apart.
            let place = mark.map(|(line, column)| format!(" at line {line}, column {column}"));
            let place = place.unwrap_or_default();
            let problem = problem.strip_suffix(&place).unwrap_or(&problem).to_owned();
            Err((problem, mark))
        }
    }
}

fn mark(location: serde_saphyr::Location) -> Mark {
    (location.line() as usize, location.column() as usize)
}

impl From<serde_saphyr::Spanned<Value>> for Node {
    fn from(tree: serde_saphyr::Spanned<Value>) -> Self {
        Self {
            mark: mark(tree.referenced),
            value: tree.value,
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Whole(value.into()))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Whole(value.into()))
    }

    fn visit_i128<E: de::Error>(self, value: i128) -> Result<Value, E> {
        Ok(Value::Whole(value))
    }

    fn visit_u128<E: de::Error>(self, value: u128) -> Result<Value, E> {
        Ok(Value::Number(value as f64))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Number(value))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element::<serde_saphyr::Spanned<Value>>()? {
            items.push(item.into());
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<serde_saphyr::Spanned<String>>()? {
            let node = map.next_value::<serde_saphyr::Spanned<Value>>()?;
            entries.push(Entry {
                key: key.value,
                mark: mark(key.referenced),
                node: node.into(),
            });
        }
        Ok(Value::Map(entries))
    }
}

fn toml(path: &Path, text: &str) -> (Vec<Entry>, Vec<Mistake>) {
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

fn mark_at(text: &str, offset: usize) -> Mark {
    let before = &text[..text.floor_char_boundary(offset)];
    let line_start = before.rfind('\n').map_or(0, |end| end + 1);
    let line = lines_before(before.as_bytes(), before.len());
    (line, before[line_start..].chars().count() + 1)
}

impl Value {
    /// What was found, for a message.
    pub(super) fn in_words(&self) -> String {
        match self {
            Self::Null => "nothing".to_owned(),
            Self::Bool(value) => value.to_string(),
            Self::Whole(value) => value.to_string(),
            Self::Number(value) => value.to_string(),
            Self::Text(text) if text.chars().count() > 60 => {
                let start: String = text.chars().take(60).collect();
                format!("{start:?}…")
            }
            Self::Text(text) => format!("{text:?}"),
            Self::List(_) => "a list".to_owned(),
            Self::Map(_) => "a table".to_owned(),
        }
    }
}
