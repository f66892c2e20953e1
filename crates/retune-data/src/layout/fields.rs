//! The fields of a row, asked for by the layout's names.

use serde_json::Value as Json;

use super::Mapping;
use crate::error::{Result, RowError};
use crate::source::{Row, kind};

/// A row under a mapping.
pub(super) struct Fields<'a> {
    row: &'a Row,
    mapping: &'a Mapping,
}

impl<'a> Fields<'a> {
    pub(super) fn new(row: &'a Row, mapping: &'a Mapping) -> Self {
        Self { row, mapping }
    }

    /// The value of a column; null is none.
    pub(super) fn get(&self, name: &str) -> Option<&'a Json> {
        let value = self.row.fields.get(self.column(name))?;
        (!value.is_null()).then_some(value)
    }

    pub(super) fn fault(&self, field: &str, problem: impl Into<String>) -> RowError {
        RowError::new(self.row.place.clone(), problem).field(field)
    }

    /// Expected `what`, found something else.
    pub(super) fn unexpected(&self, field: &str, what: &str, found: &Json) -> RowError {
        self.fault(field, format!("expected {what}, found {}", kind(found)))
    }

    fn missing(&self, name: &str, what: &str) -> RowError {
        let column = self.column(name);
        let found = if self.row.fields.contains_key(column) {
            "null".to_owned()
        } else {
            let columns: Vec<&str> = self.row.fields.keys().map(String::as_str).collect();
            format!("no such field among {}", columns.join(", "))
        };
        self.fault(column, format!("expected {what}, found {found}"))
    }

    /// The column's text.
    pub(super) fn text(&self, name: &str) -> Result<&'a str> {
        match self.optional_text(name)? {
            Some(text) => Ok(text),
            None => Err(self.missing(name, "text").into()),
        }
    }

    pub(super) fn optional_text(&self, name: &str) -> Result<Option<&'a str>> {
        match self.get(name) {
            None => Ok(None),
            Some(Json::String(text)) => Ok(Some(text)),
            Some(other) => {
                let column = self.column(name);
                Err(self.unexpected(column, "text", other).into())
            }
        }
    }

    /// The column's list.
    pub(super) fn list(&self, name: &str) -> Result<&'a [Json]> {
        let column = self.column(name);
        match self.get(name) {
            None => Err(self.missing(name, "a list").into()),
            Some(Json::Array(items)) => Ok(items),
            Some(other) => Err(self.unexpected(column, "a list", other).into()),
        }
    }

    /// The file's name for a column.
    pub(super) fn column<'n>(&'n self, name: &'n str) -> &'n str {
        self.mapping.column_in(name, &self.row.fields)
    }
}
