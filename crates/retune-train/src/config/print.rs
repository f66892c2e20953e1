//! Settings as a file: every field with what it is, in the struct's order.
//!
//! What holds no value, or has no effect, is commented out, so that the file
//! loads back to the same settings and shows what else there is.

use std::fmt::Write as _;

use serde_json::Value as Json;

use super::TrainConfig;
use super::field::{Field, fields};
use super::overruled::overruled;

impl TrainConfig {
    /// The settings in YAML, with a comment above each.
    pub fn to_yaml(&self) -> String {
        self.to_file(": ", yaml)
    }

    /// The settings in TOML, with a comment above each.
    pub fn to_toml(&self) -> String {
        self.to_file(" = ", toml)
    }

    fn to_file(&self, between: &str, value_text: fn(&Json) -> String) -> String {
        // Every type of the struct has a value in JSON.
        let values = serde_json::to_value(self).unwrap_or_default();
        let overruled = overruled(self);
        let mut text = "# Settings of retune train\n".to_owned();
        let mut group = "";
        for field in fields() {
            if field.group != group {
                group = field.group;
                let _ = write!(text, "\n# {group}\n\n");
            }
            let value = &values[&field.name];
            let without_effect = overruled.iter().any(|found| found.name == field.name);
            let _ = writeln!(text, "# {}", field.description);
            let is_default = *value == field.default;
            let line = if is_default && is_nothing(value) {
                format!("# {}{}", field.name, between.trim_end())
            } else if without_effect {
                format!("# {}{between}{}", field.name, value_text(value))
            } else {
                format!("{}{between}{}", field.name, value_text(value))
            };
            let _ = writeln!(text, "{line}");
        }
        text
    }
}

fn is_nothing(value: &Json) -> bool {
    value.is_null() || value == ""
}

impl Field {
    /// The default as help shows it; none where there is nothing to show.
    pub fn default_text(&self) -> Option<String> {
        let empty = match &self.default {
            Json::Array(items) => items.is_empty(),
            Json::Object(entries) => entries.is_empty(),
            value => is_nothing(value),
        };
        match &self.default {
            _ if empty => None,
            Json::Array(items) => Some(items.iter().map(yaml).collect::<Vec<_>>().join(",")),
            value => Some(yaml(value)),
        }
    }
}

/// A value in YAML, in one line.
fn yaml(value: &Json) -> String {
    match value {
        Json::String(text) if is_plain(text) => text.clone(),
        Json::String(text) => quoted(text),
        Json::Array(items) => {
            let items: Vec<String> = items.iter().map(yaml).collect();
            format!("[{}]", items.join(", "))
        }
        Json::Object(entries) => {
            let key = |key: &str| yaml(&Json::String(key.to_owned()));
            let entries = entries.iter();
            let entries = entries.map(|(name, value)| format!("{}: {}", key(name), yaml(value)));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
        }
        scalar => scalar.to_string(),
    }
}

/// Whether a text stands for itself in YAML, in every version and anywhere.
fn is_plain(text: &str) -> bool {
    const WORDS: [&str; 9] = ["true", "false", "yes", "no", "on", "off", "null", "y", "n"];
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
    let harmless = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
    begins && text.chars().all(harmless) && !WORDS.contains(&text.to_ascii_lowercase().as_str())
}

/// A text between double quotes, where YAML knows JSON's escapes and more.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        let _ = match c {
            '"' | '\\' => write!(quoted, "\\{c}"),
            '\n' => write!(quoted, "\\n"),
            '\t' => write!(quoted, "\\t"),
            // What YAML does not take as it is, or takes for a line's end.
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}') => {
                write!(quoted, "\\u{:04x}", c as u32)
            }
            '\u{fffe}' | '\u{ffff}' => write!(quoted, "\\u{:04x}", c as u32),
            c => write!(quoted, "{c}"),
        };
    }
    quoted.push('"');
    quoted
}

/// A value in TOML, in one line.
fn toml(value: &Json) -> String {
    match value {
        Json::Array(items) => {
            let items: Vec<String> = items.iter().map(toml).collect();
            format!("[{}]", items.join(", "))
        }
        Json::Object(entries) => {
            let key = |key: &str| toml(&Json::String(key.to_owned()));
            let entries = entries.iter();
            let entries = entries.map(|(name, value)| format!("{} = {}", key(name), toml(value)));
            match entries.collect::<Vec<_>>().join(", ") {
                none if none.is_empty() => "{}".to_owned(),
                some => format!("{{ {some} }}"),
            }
        }
        // A TOML string between double quotes is one of YAML's, without a line's end.
        Json::String(text) => quoted(text),
        scalar => scalar.to_string(),
    }
}
