//! Exports of annotation tools to ratings.
//!
//! Every format is brought to the same records first: an annotator's answers
//! to the questions that were asked of an item. Agreement is about one question.

mod columns;
mod label_studio;
mod mturk;
mod prodigy;
mod value;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Display;

use serde_json::{Map, Value as Json};

use crate::agreement::{Ratings, SpanRatings};
use crate::error::{Error, Result, RowError};
use crate::source::Row;
use value::Answer;

/// Where annotations come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// Label Studio's export as JSON or JSON-MIN.
    LabelStudio,
    /// What Prodigy's `db-out` writes.
    Prodigy,
    /// The results of a batch of Amazon Mechanical Turk.
    Mturk,
    /// A row for each rating, or a column for each annotator.
    Columns,
}

impl Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::LabelStudio => "Label Studio",
            Self::Prodigy => "Prodigy",
            Self::Mturk => "MTurk",
            Self::Columns => "plain columns",
        })
    }
}

/// What is known of an export. What is not given is found out from its first row.
#[derive(Debug, Clone, Default)]
pub struct ExportOptions {
    /// The format.
    pub format: Option<Format>,
    /// The field that names the item.
    pub item: Option<String>,
    /// The field that names the annotator.
    pub annotator: Option<String>,
    /// The question: a column, a control of Label Studio, a field.
    pub label: Option<String>,
    /// The columns of annotators, if each has one.
    pub annotators: Vec<String>,
    /// The labels from low to high.
    pub order: Vec<String>,
}

/// The answers to one question.
#[derive(Debug, Clone)]
pub enum Annotations {
    /// A label for an item.
    Labels(Ratings),
    /// Labels for spans of its text.
    Spans(SpanRatings),
}

/// What was read.
#[derive(Debug, Clone)]
pub struct Export {
    /// The format.
    pub format: Format,
    /// What the question is called, if it has a name.
    pub question: Option<String>,
    /// The answers.
    pub annotations: Annotations,
    /// What was not used, and how often.
    pub left_out: BTreeMap<&'static str, u64>,
}

/// Reads an export. The cells of a table are strings.
///
/// # Errors
/// Those of the rows; `Row` if a row is not what its format wants;
/// `Annotations` if it is not clear where items, annotators or labels are, or
/// which of several questions is meant; `LabelScale` if the order of labels
/// lacks one; `NothingToCompare` if there is no row.
pub fn read(
    rows: impl IntoIterator<Item = Result<Row>>,
    options: &ExportOptions,
) -> Result<Export> {
    let mut collected = Collected::default();
    let mut reader = None;
    for row in rows {
        let Row { place, fields } = row?;
        let reader = match &mut reader {
            Some(reader) => reader,
            none => none.insert(Reader::choose(&fields, options)?),
        };
        reader
            .add(&fields, options, &mut collected)
            .map_err(|problem| RowError::new(place, problem))?;
    }
    let Some(reader) = reader else {
        return Err(Error::NothingToCompare {
            problem: "there is no row".into(),
        });
    };
    if let Reader::Columns(columns) = &reader {
        columns.check_seen()?;
    }
    collected.assemble(reader.format(), options)
}

/// How to take the rows.
enum Reader {
    LabelStudio,
    Prodigy,
    Mturk,
    Columns(columns::Columns),
}

impl Reader {
    fn choose(first: &Map<String, Json>, options: &ExportOptions) -> Result<Self> {
        let detected = || {
            if !options.annotators.is_empty() {
                Format::Columns
            } else if label_studio::is(first) {
                Format::LabelStudio
            } else if mturk::is(first) {
                Format::Mturk
            } else if prodigy::is(first) {
                Format::Prodigy
            } else {
                Format::Columns
            }
        };
        Ok(match options.format.unwrap_or_else(detected) {
            Format::LabelStudio => Self::LabelStudio,
            Format::Prodigy => Self::Prodigy,
            Format::Mturk => Self::Mturk,
            Format::Columns => Self::Columns(columns::Columns::choose(first, options)?),
        })
    }

    fn format(&self) -> Format {
        match self {
            Self::LabelStudio => Format::LabelStudio,
            Self::Prodigy => Format::Prodigy,
            Self::Mturk => Format::Mturk,
            Self::Columns(_) => Format::Columns,
        }
    }

    fn add(
        &mut self,
        fields: &Map<String, Json>,
        options: &ExportOptions,
        collected: &mut Collected,
    ) -> std::result::Result<(), String> {
        match self {
            Self::LabelStudio => label_studio::add(fields, options, collected),
            Self::Prodigy => prodigy::add(fields, options, collected),
            Self::Mturk => mturk::add(fields, options, collected),
            Self::Columns(columns) => columns.add(fields, collected),
        }
    }
}

/// What one annotator answered about one item.
struct Record {
    item: String,
    annotator: String,
    /// Questions with their answers. Where spans are asked for, no answer means
    /// that there are none.
    answers: Vec<(String, Answer)>,
}

/// All records.
#[derive(Default)]
struct Collected {
    records: Vec<Record>,
    /// Of each item that has one.
    texts: HashMap<String, String>,
    left_out: BTreeMap<&'static str, u64>,
}

impl Collected {
    fn add(&mut self, item: String, annotator: String, answers: Vec<(String, Answer)>) {
        self.records.push(Record {
            item,
            annotator,
            answers,
        });
    }

    fn describe(&mut self, item: &str, text: Option<&str>) {
        if let Some(text) = text
            && !self.texts.contains_key(item)
        {
            self.texts.insert(item.to_owned(), text.to_owned());
        }
    }

    fn leave_out(&mut self, why: &'static str) {
        *self.left_out.entry(why).or_default() += 1;
    }

    fn assemble(mut self, format: Format, options: &ExportOptions) -> Result<Export> {
        let question = self.question(options.label.as_deref())?;
        let mut found = Vec::new();
        for record in std::mem::take(&mut self.records) {
            let mut answers = record.answers.into_iter();
            let answer = answers.find(|(name, _)| Some(name) == question.as_ref());
            found.push((
                record.item,
                record.annotator,
                answer.map(|(_, answer)| answer),
            ));
        }
        let spans = found
            .iter()
            .any(|(_, _, answer)| matches!(answer, Some(Answer::Spans(_))));
        let labels = found
            .iter()
            .any(|(_, _, answer)| matches!(answer, Some(Answer::Label(_))));
        if spans && labels {
            return Err(Error::Annotations {
                problem: "some answers are labels, others are spans".into(),
                hint: "name the question with --label".into(),
            });
        }
        let annotations = if spans {
            Annotations::Spans(self.spans(found))
        } else {
            Annotations::Labels(self.labels(found, &options.order)?)
        };
        Ok(Export {
            format,
            question: question.filter(|name| !name.is_empty()),
            annotations,
            left_out: self.left_out,
        })
    }

    /// The question that is meant; none if no question has been answered.
    fn question(&self, wanted: Option<&str>) -> Result<Option<String>> {
        let answers = self.records.iter().flat_map(|record| &record.answers);
        let names: BTreeSet<&str> = answers.map(|(name, _)| name.as_str()).collect();
        let unclear = |problem: String| {
            let names: Vec<&str> = names.iter().take(20).copied().collect();
            let hint = format!("name one with --label: {}", names.join(", "));
            Err(Error::Annotations { problem, hint })
        };
        // Without names there is only one.
        let nameless = names.contains("");
        match (wanted, names.len()) {
            (_, 0) => Ok(None),
            (Some(wanted), _) if !nameless => match names.get(wanted) {
                Some(name) => Ok(Some((*name).to_owned())),
                None => unclear(format!("nothing was answered to {wanted:?}")),
            },
            (_, 1) => Ok(names.first().map(|name| (*name).to_owned())),
            (_, several) => unclear(format!("{several} questions were answered")),
        }
    }

    fn labels(
        &mut self,
        found: Vec<(String, String, Option<Answer>)>,
        order: &[String],
    ) -> Result<Ratings> {
        let mut ratings = Ratings::builder();
        for (item, annotator, answer) in found {
            let label = match answer {
                Some(Answer::Label(label)) => label,
                Some(Answer::Empty) => "(none)".to_owned(),
                Some(Answer::Spans(_)) | None => {
                    self.leave_out("annotations without an answer");
                    continue;
                }
            };
            if ratings.rate(&item, &annotator, &label) {
                self.leave_out(RATED_AGAIN);
            }
            if let Some(text) = self.texts.remove(&item) {
                ratings.describe(&item, &text);
            }
        }
        ratings.build(order)
    }

    fn spans(&mut self, found: Vec<(String, String, Option<Answer>)>) -> SpanRatings {
        let mut ratings = SpanRatings::builder();
        for (item, annotator, answer) in found {
            let spans = match answer {
                Some(Answer::Spans(spans)) => spans,
                _ => Vec::new(),
            };
            if ratings.mark(&item, &annotator, spans) {
                self.leave_out(RATED_AGAIN);
            }
            if let Some(text) = self.texts.remove(&item) {
                ratings.describe(&item, &text);
            }
        }
        ratings.build()
    }
}

const RATED_AGAIN: &str = "earlier answers of an annotator who answered again";
