//! YAML and TOML to one tree of values that knows where each stands.

mod toml;
mod yaml;

use std::path::Path;

use crate::error::{Mistake, Place};

pub(super) use yaml::yaml;

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
        Some("toml") => return toml::entries(path, text),
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
