//! Layouts: which columns a row has, and what they mean.

mod alpaca;
mod detect;
mod fields;
mod messages;
mod plain;
mod preference;
mod sharegpt;
mod write;

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};

use crate::error::{Result, RowError};
use crate::sample::{Content, Sample};
use crate::source::Row;

use fields::Fields;

pub use detect::{COLUMNS, detect};

/// A way to write samples in rows, under the name by which it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Layout {
    /// `instruction`, `input`, `output`, `system`, `history`.
    Alpaca,
    /// `conversations` of `from` and `value`, `system`, `tools`.
    ShareGpt,
    /// `messages` of `role` and `content`, `tools`.
    Messages,
    /// `prompt` and `completion`.
    PromptCompletion,
    /// `text`.
    Text,
    /// `text` and `label`.
    Classification,
    /// `prompt`, `chosen` and `rejected`.
    Preference,
}

impl Layout {
    /// All layouts with the names that `--layout` takes.
    pub const NAMES: [(&'static str, Layout); 7] = [
        ("alpaca", Layout::Alpaca),
        ("sharegpt", Layout::ShareGpt),
        ("messages", Layout::Messages),
        ("prompt-completion", Layout::PromptCompletion),
        ("text", Layout::Text),
        ("classification", Layout::Classification),
        ("preference", Layout::Preference),
    ];

    /// The name, as `--layout` takes it.
    pub fn name(self) -> &'static str {
        let named = Self::NAMES.iter().find(|(_, layout)| *layout == self);
        named.map_or("unknown", |(name, _)| name)
    }

    /// The sample `content` as a row of this layout.
    ///
    /// # Errors
    /// In words, what the layout has no place for: tools in alpaca, several
    /// turns in prompt-completion.
    pub fn write(self, content: &Content) -> std::result::Result<Map<String, Json>, String> {
        write::write(self, content)
    }
}

/// A layout and the columns in which a file has its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// The layout.
    pub layout: Layout,
    /// The file's column for each of the layout's that has another name there.
    pub columns: BTreeMap<String, String>,
}

impl Mapping {
    /// The file's name for the layout's column `name`.
    fn column<'a>(&'a self, name: &'a str) -> &'a str {
        self.columns.get(name).map_or(name, String::as_str)
    }

    /// The name that the layout's column `name` has in `row`, which may be another one than
    /// in the row that told the layout.
    fn column_in<'a>(&'a self, name: &'a str, row: &Map<String, Json>) -> &'a str {
        let column = self.column(name);
        if row.contains_key(column) {
            return column;
        }
        let taken = |other: &str| {
            let mut names = detect::columns(self.layout).into_iter();
            names.any(|known| known != name && self.column(known) == other)
        };
        let others = detect::other_names(self.layout, name, row).iter().copied();
        let mut others = std::iter::once(name).chain(others);
        let found = others.find(|other| row.contains_key(*other) && !taken(other));
        found.unwrap_or(column)
    }

    /// The columns of a row that the layout makes no use of.
    pub fn unused<'a>(&self, row: &'a Map<String, Json>) -> Vec<&'a str> {
        let used: Vec<&str> = detect::columns(self.layout)
            .iter()
            .map(|name| self.column_in(name, row))
            .collect();
        let names = row.keys().map(String::as_str);
        names.filter(|name| !used.contains(name)).collect()
    }

    /// What the row means.
    ///
    /// # Errors
    /// `Row` with the field, what was expected and what was found.
    pub fn read(&self, row: Row) -> Result<Sample> {
        let fields = Fields::new(&row, self);
        if let Some((problem, hint)) = detect::unsupported(&row.fields, self.layout) {
            return Err(RowError::new(row.place, problem).hint(hint).into());
        }
        let content = match self.layout {
            Layout::Alpaca => alpaca::read(&fields),
            Layout::ShareGpt => sharegpt::read(&fields),
            Layout::Messages => messages::read(&fields),
            Layout::PromptCompletion => alpaca::read_prompt_completion(&fields),
            Layout::Text => plain::read_text(&fields),
            Layout::Classification => plain::read_classification(&fields),
            Layout::Preference => preference::read(&fields),
        }?;
        Ok(Sample {
            place: row.place,
            fields: row.fields,
            content,
        })
    }
}
