//! Plain tables: a row for each rating, or a column for each annotator.

use serde_json::{Map, Value as Json};

use super::value;
use super::{Collected, ExportOptions};
use crate::error::{Error, Result};

/// Names that columns usually have, the surest first.
const ITEM: [&str; 12] = [
    "item",
    "item_id",
    "unit",
    "unit_id",
    "task",
    "task_id",
    "example",
    "example_id",
    "doc_id",
    "document",
    "id",
    "text",
];
const ANNOTATOR: [&str; 10] = [
    "annotator",
    "annotator_id",
    "rater",
    "rater_id",
    "coder",
    "coder_id",
    "worker",
    "worker_id",
    "labeler",
    "user",
];
const LABEL: [&str; 9] = [
    "label",
    "labels",
    "rating",
    "category",
    "class",
    "annotation",
    "spans",
    "score",
    "value",
];
/// How the columns of annotators usually begin, before a number or a name.
const WIDE: [&str; 6] = ["annotator", "rater", "coder", "labeler", "worker", "expert"];
/// Columns that a message lists.
const LISTED: usize = 20;

/// Where things are.
pub(super) struct Columns {
    item: Option<String>,
    text: Option<String>,
    ratings: Ratings,
    /// Rows so far: the name of an item, if no column has one.
    rows: u64,
}

enum Ratings {
    /// A row for each: the columns of annotator and label.
    Long { annotator: String, label: String },
    /// A column for each annotator, and whether it was seen in any row.
    Wide(Vec<(String, bool)>),
}

impl Columns {
    /// Finds the columns by the names of the first row, where they are not
    /// given.
    pub(super) fn choose(first: &Map<String, Json>, options: &ExportOptions) -> Result<Self> {
        let usual = |names: &[&str]| {
            let column = |name: &&str| first.keys().find(|key| key.eq_ignore_ascii_case(name));
            names.iter().find_map(column).cloned()
        };
        let item = options.item.clone().or_else(|| usual(&ITEM));
        let wide = || -> Vec<String> {
            let starts = |key: &&String| {
                let key = key.to_lowercase();
                let has_more = |start: &str| key.starts_with(start) && key.len() > start.len();
                WIDE.iter().any(|start| has_more(start)) && !key.ends_with("_id")
            };
            first.keys().filter(starts).cloned().collect()
        };
        let annotator = options.annotator.clone().or_else(|| usual(&ANNOTATOR));
        let label = options.label.clone().or_else(|| usual(&LABEL));
        let ratings = if !options.annotators.is_empty() {
            options.annotators.clone()
        } else {
            wide()
        };
        let ratings = match (annotator, label) {
            (Some(annotator), Some(label)) if options.annotators.is_empty() => {
                if item.is_none() {
                    return Err(unclear(
                        first,
                        "there is no column of items",
                        "--item COLUMN",
                    ));
                }
                Ratings::Long { annotator, label }
            }
            _ if ratings.len() > 1 => {
                Ratings::Wide(ratings.into_iter().map(|column| (column, false)).collect())
            }
            (Some(_), None) => {
                return Err(unclear(
                    first,
                    "there is no column of labels",
                    "--label COLUMN",
                ));
            }
            _ => {
                let problem = "it is not clear who gave which label";
                let say = "--annotators A,B,… for a column each, or --annotator and --label for a row each";
                return Err(unclear(first, problem, say));
            }
        };
        Ok(Self {
            text: usual(&["text"]).filter(|text| item.as_ref() != Some(text)),
            item,
            ratings,
            rows: 0,
        })
    }

    pub(super) fn add(
        &mut self,
        fields: &Map<String, Json>,
        collected: &mut Collected,
    ) -> std::result::Result<(), String> {
        self.rows += 1;
        let item = match &self.item {
            Some(column) => value::required(fields, column)?,
            None => format!("row {}", self.rows),
        };
        let text = self
            .text
            .as_ref()
            .and_then(|column| fields.get(column)?.as_str());
        collected.describe(&item, text);
        let mut add = |annotator: String, content: Option<&Json>| {
            let answer = match content {
                Some(content) => value::answer(content)?,
                None => None,
            };
            if let Some(answer) = answer {
                collected.add(item.clone(), annotator, vec![(String::new(), answer)]);
            }
            Ok(())
        };
        match &mut self.ratings {
            Ratings::Long { annotator, label } => {
                let content = fields.get(label.as_str());
                let content = content.ok_or_else(|| format!("has no `{label}`"))?;
                add(value::required(fields, annotator)?, Some(content))
            }
            Ratings::Wide(columns) => {
                for (column, seen) in columns {
                    let content = fields.get(column.as_str());
                    *seen |= content.is_some();
                    add(column.clone(), content)?;
                }
                Ok(())
            }
        }
    }

    /// Whether the annotators' columns exist. In JSON a row may lack some.
    pub(super) fn check_seen(&self) -> Result<()> {
        let Ratings::Wide(columns) = &self.ratings else {
            return Ok(());
        };
        match columns.iter().find(|(_, seen)| !seen) {
            None => Ok(()),
            Some((missing, _)) => Err(Error::Annotations {
                problem: format!("no row has the column {missing:?}"),
                hint: "the columns of --annotators are written as in the file".into(),
            }),
        }
    }
}

fn unclear(first: &Map<String, Json>, problem: &str, say: &str) -> Error {
    let names: Vec<&str> = first.keys().take(LISTED).map(String::as_str).collect();
    Error::Annotations {
        problem: format!("{problem}; the first row has: {}", names.join(", ")),
        hint: format!("say {say}"),
    }
}
