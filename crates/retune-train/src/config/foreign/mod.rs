//! Settings of Hugging Face, TRL, LLaMA-Factory and Axolotl that retune does not have: what asks
//! for nothing else than what happens here anyhow is passed over, what can be said with
//! retune's own settings is taken as those, and the rest is refused with what to write instead.

mod table;

use std::path::Path;

use self::table::{ABSENT, ALWAYS_ON, IDLE, LAYOUTS, LISTS, SAME};
use super::field::{Field, field};
use super::names;
use super::source::{Node, Value};

/// A setting that was read and has no effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassedOver {
    /// Its name, as it was written.
    pub key: String,
    /// Why nothing is missing without it.
    pub reason: &'static str,
}

/// What a key of another program's comes to.
pub(super) enum Meaning {
    /// It is none that is known.
    Unknown,
    /// Nothing, and why.
    Nothing(&'static str),
    /// These settings.
    Settings(Vec<(&'static Field, Node)>),
    /// What retune does not do, and what to write instead.
    Refused {
        /// Whether another value would do.
        value: bool,
        hint: String,
    },
}

/// All names of other programs' settings that are known, and mean no setting of ours in every
/// case.
pub fn foreign_names() -> impl Iterator<Item = &'static str> {
    let idle = IDLE.iter().flat_map(|idle| idle.names.iter().copied());
    let absent = ABSENT.iter().map(|(name, _)| *name);
    let mut names: Vec<&str> = idle.chain(absent).collect();
    names.sort_unstable();
    names.dedup();
    names.into_iter()
}

/// What is to be known of the setting `name`, in a sentence.
pub(super) fn hint(name: &str) -> Option<String> {
    if let Some((_, hint)) = ABSENT.iter().find(|(known, _)| *known == name) {
        return Some((*hint).to_owned());
    }
    let idle = IDLE.iter().find(|idle| idle.names.contains(&name))?;
    Some(format!("leave it out; {}", idle.reason))
}

/// What the setting `name`, written with underscores, means with that value.
pub(super) fn meaning(name: &str, node: &Node) -> Meaning {
    let word = word(&node.value);
    let word = word.as_deref();
    let here = |value| Node {
        value,
        mark: node.mark,
    };
    let same = SAME
        .iter()
        .find(|(key, value, _, _)| *key == name && Some(*value) == word);
    if let Some((_, _, setting, value)) = same
        && let Some(field) = field(setting)
        // Elsewhere, `adapter` is the folder of one.
        && !(name == "adapter" && Path::new(value).exists())
    {
        return Meaning::Settings(vec![(field, here(Value::Text((*value).to_owned())))]);
    }
    if LISTS.contains(&name)
        && let Value::Text(text) = &node.value
        && text.contains(',')
        && !text.starts_with('[')
        && let Some(field) = names::meaning(name)
    {
        let part = |text: &str| here(Value::Text(text.trim().to_owned()));
        let list = Value::List(text.split(',').map(part).collect());
        return Meaning::Settings(vec![(field, here(list))]);
    }
    if name == "adapter" && word == Some("qlora") && !Path::new("qlora").exists() {
        let hint = "write adapter: lora; weights are not quantised".to_owned();
        return Meaning::Refused { value: true, hint };
    }
    let Some(hint) = hint(name) else {
        return Meaning::Unknown;
    };
    let idle = IDLE.iter().find(|idle| {
        let taken = idle.words.is_empty() || word.is_some_and(|word| idle.words.contains(&word));
        idle.names.contains(&name) && taken
    });
    match idle {
        Some(idle) => Meaning::Nothing(idle.reason),
        None if is_off(&node.value) && !ALWAYS_ON.contains(&name) => {
            Meaning::Nothing("it is off without it")
        }
        None => {
            let passes = IDLE.iter().any(|idle| idle.names.contains(&name));
            let value = passes || name == "datasets" || SAME.iter().any(|(key, ..)| *key == name);
            let settings = datasets(node).filter(|_| name == "datasets");
            settings.map_or(Meaning::Refused { value, hint }, Meaning::Settings)
        }
    }
}

/// Whether a value switches off what it is of, as the YAML of other programs has it.
fn is_off(value: &Value) -> bool {
    match value {
        Value::List(items) => items.is_empty(),
        Value::Map(entries) => entries.is_empty(),
        Value::Whole(0) => true,
        _ => matches!(word(value).as_deref(), Some("" | "false" | "no" | "off")),
    }
}

/// A value of one word, in lower case; an empty one for nothing.
fn word(value: &Value) -> Option<String> {
    match value {
        Value::Null => Some(String::new()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Text(text) => Some(text.trim().to_ascii_lowercase()),
        _ => None,
    }
}

/// Axolotl's list of data: files, each with a `type`. None if it says more than files and one
/// layout.
fn datasets(node: &Node) -> Option<Vec<(&'static Field, Node)>> {
    let Value::List(items) = &node.value else {
        return None;
    };
    let mut files = Vec::new();
    let mut layouts = Vec::new();
    for item in items {
        let Value::Map(entries) = &item.value else {
            return None;
        };
        let mut layout = None;
        for entry in entries {
            match (entry.key.as_str(), word(&entry.node.value)?.as_str()) {
                ("path", _) => files.push(entry.node.clone()),
                // The file itself says what it is.
                ("ds_type", _) | ("split", "train") => {}
                ("type", kind) => {
                    let (_, name) = LAYOUTS.iter().find(|(theirs, _)| *theirs == kind)?;
                    layout = Some(*name);
                }
                _ => return None,
            }
        }
        layouts.push(layout);
    }
    let first = *layouts.first()?;
    if files.len() != items.len() || layouts.iter().any(|layout| *layout != first) {
        return None;
    }
    let here = |value| Node {
        value,
        mark: node.mark,
    };
    let mut settings = vec![(field("data")?, here(Value::List(files)))];
    if let Some(name) = first {
        settings.push((field("layout")?, here(Value::Text(name.to_owned()))));
    }
    Some(settings)
}
