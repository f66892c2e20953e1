//! Which layout a file has, by the columns of its first row.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};

use super::{Layout, Mapping};

/// A column of a layout, and other names under which it is found.
type Column = (&'static str, &'static [&'static str]);

/// The columns of each layout, those that it needs first.
const KNOWN: [(Layout, &[Column]); 7] = [
    (
        Layout::Preference,
        &[
            ("chosen", &["chosen_messages"]),
            ("rejected", &["rejected_messages"]),
            ("prompt", &["question", "instruction"]),
            ("conversations", &["messages"]),
            ("system", &[]),
            ("tools", &[]),
            ("input", &[]),
        ],
    ),
    (
        Layout::ShareGpt,
        &[
            ("conversations", &["conversation", "messages"]),
            ("system", &["system_prompt"]),
            ("tools", &[]),
        ],
    ),
    (
        Layout::Messages,
        &[
            ("messages", &["conversations", "conversation"]),
            ("system", &["system_prompt"]),
            ("tools", &["functions"]),
        ],
    ),
    (
        Layout::Alpaca,
        &[
            ("instruction", &[]),
            ("output", &["response"]),
            ("input", &["context"]),
            ("system", &["system_prompt"]),
            ("history", &[]),
        ],
    ),
    (
        Layout::PromptCompletion,
        &[
            ("prompt", &["question", "query"]),
            ("completion", &["response", "answer", "output"]),
            ("system", &["system_prompt"]),
        ],
    ),
    (
        Layout::Classification,
        &[
            ("text", &["sentence", "content", "review"]),
            ("label", &["category", "class"]),
        ],
    ),
    (Layout::Text, &[("text", &["content"])]),
];

/// How many of the columns above a row must have.
const NEEDED: usize = 2;

/// The names that `--column` may map to.
pub const COLUMNS: [&str; 14] = [
    "instruction",
    "input",
    "output",
    "system",
    "history",
    "conversations",
    "messages",
    "tools",
    "prompt",
    "completion",
    "chosen",
    "rejected",
    "text",
    "label",
];

pub(super) fn columns(layout: Layout) -> Vec<&'static str> {
    known(layout).iter().map(|(name, _)| *name).collect()
}

/// The names under which a layout's column may be found in a row, beside its own.
pub(super) fn other_names(
    layout: Layout,
    name: &str,
    row: &Map<String, Json>,
) -> &'static [&'static str] {
    // Beside a prompt, `messages` are the whole conversation with the better answer.
    if layout == Layout::Preference && name == "conversations" && row.contains_key("prompt") {
        return &[];
    }
    let entry = known(layout).iter().find(|(known, _)| *known == name);
    entry.map_or(&[], |(_, others)| others)
}

fn known(layout: Layout) -> &'static [Column] {
    let entry = KNOWN.iter().find(|(known, _)| *known == layout);
    entry.map_or(&[], |(_, columns)| columns)
}

/// The layout of a file whose first row is `row`. What the user says, a
/// `layout` or names of `columns` (layout's name to file's name), goes first.
///
/// # Errors
/// In words, with the columns that are there and the layouts that are known.
pub fn detect(
    row: &Map<String, Json>,
    layout: Option<Layout>,
    columns: &BTreeMap<String, String>,
) -> Result<Mapping, String> {
    if let Some((name, column)) = columns
        .iter()
        .find(|(_, column)| !row.contains_key(*column))
    {
        return Err(format!(
            "there is no column `{column}` to be the {name}; found {}",
            names(row)
        ));
    }
    let candidates = KNOWN.iter().map(|(known, _)| *known);
    let mut found = candidates
        .filter(|known| layout.is_none_or(|wanted| wanted == *known))
        .filter_map(|known| fit(row, known, columns));
    if let Some(mapping) = found.next() {
        return match unsupported(row, mapping.layout) {
            Some((problem, hint)) => Err(format!("{problem}\nhint: {hint}")),
            None => Ok(mapping),
        };
    }
    if has_media(row) {
        return Err(MEDIA.to_owned());
    }
    Err(unknown(row, layout))
}

/// The mapping by which the row has the columns that the layout needs.
fn fit(
    row: &Map<String, Json>,
    layout: Layout,
    columns: &BTreeMap<String, String>,
) -> Option<Mapping> {
    let mut mapping = Mapping {
        layout,
        columns: columns.clone(),
    };
    for (name, _) in known(layout) {
        let others = other_names(layout, name, row);
        if mapping.columns.contains_key(*name) || row.contains_key(*name) {
            continue;
        }
        let taken = |other: &str| mapping.columns.values().any(|column| column == other);
        let other = others
            .iter()
            .find(|other| row.contains_key(**other) && !taken(other));
        if let Some(other) = other {
            mapping
                .columns
                .insert((*name).to_owned(), (*other).to_owned());
        }
    }
    let has = |name: &str| row.contains_key(mapping.column(name));
    let list = |name: &str| row.get(mapping.column(name)).and_then(Json::as_array);
    let speaks = |name: &str, key: &str| {
        match list(name).and_then(|items| items.first()) {
            Some(item) => item.get(key).is_some(),
            // Nothing but the column's name can tell.
            None => mapping.column(name) == name,
        }
    };
    let fits = match layout {
        Layout::ShareGpt => list("conversations").is_some() && speaks("conversations", "from"),
        Layout::Messages => list("messages").is_some() && speaks("messages", "role"),
        Layout::Text => has("text"),
        other => known(other).iter().take(NEEDED).all(|(name, _)| has(name)),
    };
    fits.then_some(mapping)
}

const MEDIA: &str = "rows with images, videos or audio are not supported yet";

/// Whether a row has something in a column of images, sounds or films.
fn has_media(row: &Map<String, Json>) -> bool {
    let media = ["images", "videos", "audios"].into_iter();
    media
        .filter_map(|name| row.get(name))
        .any(|value| match value {
            Json::Null => false,
            Json::Array(items) => !items.is_empty(),
            Json::String(text) => !text.is_empty(),
            _ => true,
        })
}

/// What of a row cannot be learned from, and what to do about it.
pub(super) fn unsupported(
    row: &Map<String, Json>,
    layout: Layout,
) -> Option<(String, &'static str)> {
    if has_media(row) {
        return Some((MEDIA.to_owned(), "leave these rows out"));
    }
    // An answer with a label of good or bad is no answer to imitate.
    let answers = matches!(
        layout,
        Layout::Messages | Layout::ShareGpt | Layout::PromptCompletion | Layout::Alpaca
    );
    let says_which = |value: &Json| match value {
        Json::Bool(_) => true,
        Json::String(text) => ["true", "false"].contains(&text.to_ascii_lowercase().as_str()),
        _ => false,
    };
    let mut tags = ["label", "kto_tag"].into_iter();
    let tag = tags.find(|tag| answers && row.get(*tag).is_some_and(says_which))?;
    Some((
        format!(
            "rows say whether an answer is good (`{tag}`: true or false), as for KTO, \
             which is not supported yet"
        ),
        "keep the good rows only, without that column",
    ))
}

fn unknown(row: &Map<String, Json>, layout: Option<Layout>) -> String {
    let wanted = match layout {
        Some(layout) => format!("the layout {} needs {}", layout.name(), shape(layout)),
        None => {
            let known: Vec<String> = Layout::NAMES
                .iter()
                .map(|(name, layout)| format!("  {name:<18} {}", shape(*layout)))
                .collect();
            format!("the columns fit no known layout:\n{}", known.join("\n"))
        }
    };
    format!(
        "{wanted}\nfound {}\nhint: say which column is what, such as --column instruction=COLUMN",
        names(row)
    )
}

fn shape(layout: Layout) -> &'static str {
    match layout {
        Layout::Alpaca => "instruction, output (and input, system, history)",
        Layout::ShareGpt => "conversations of from and value (and system, tools)",
        Layout::Messages => "messages of role and content (and tools)",
        Layout::PromptCompletion => "prompt, completion",
        Layout::Text => "text",
        Layout::Classification => "text, label",
        Layout::Preference => "chosen, rejected (and prompt or conversations)",
    }
}

fn names(row: &Map<String, Json>) -> String {
    if row.is_empty() {
        return "no columns".to_owned();
    }
    let names: Vec<&str> = row.keys().map(String::as_str).take(20).collect();
    let more = row.len().saturating_sub(names.len());
    match more {
        0 => names.join(", "),
        more => format!("{} and {more} more", names.join(", ")),
    }
}
