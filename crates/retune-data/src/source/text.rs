//! Plain text, for continued pre-training.

use serde_json::{Map, Value as Json};

use super::lines::{self, Text};
use super::{MAX_ROW_BYTES, Row};
use crate::error::Result;

/// What one sample is in a plain text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SampleBy {
    /// A line.
    #[default]
    Line,
    /// Lines up to an empty one.
    Paragraph,
    /// The whole file.
    Document,
}

impl SampleBy {
    /// All of them with the names that `--sample-by` takes.
    pub const NAMES: [(&'static str, SampleBy); 3] = [
        ("line", SampleBy::Line),
        ("paragraph", SampleBy::Paragraph),
        ("document", SampleBy::Document),
    ];
}

/// Rows of a plain text, each with one field `text`.
pub(super) struct TextRows {
    text: Text,
    sample_by: SampleBy,
    row: u64,
    done: bool,
}

impl TextRows {
    pub(super) fn new(text: Text, sample_by: SampleBy) -> Self {
        Self {
            text,
            sample_by,
            row: 0,
            done: false,
        }
    }

    /// The next sample's first line and bytes, and whether it is too long.
    fn sample(&mut self) -> Result<Option<(u64, Vec<u8>, bool)>> {
        let mut sample: Option<(u64, Vec<u8>, bool)> = None;
        while let Some(line) = self.text.next_line()? {
            let is_empty = line.bytes.iter().all(u8::is_ascii_whitespace) && !line.too_long;
            match (&mut sample, self.sample_by) {
                (None, SampleBy::Line | SampleBy::Paragraph) if is_empty => {}
                (None, SampleBy::Line) => {
                    return Ok(Some((line.number, line.bytes, line.too_long)));
                }
                (None, _) => sample = Some((line.number, line.bytes, line.too_long)),
                (Some(_), SampleBy::Paragraph) if is_empty => break,
                (Some((_, bytes, too_long)), _) => {
                    *too_long |= line.too_long || bytes.len() + line.bytes.len() >= MAX_ROW_BYTES;
                    if !*too_long {
                        bytes.push(b'\n');
                        bytes.extend_from_slice(&line.bytes);
                    }
                }
            }
        }
        Ok(sample)
    }
}

impl Iterator for TextRows {
    type Item = Result<Row>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let (line, bytes, too_long) = match self.sample() {
            Ok(Some(sample)) => sample,
            Ok(None) => {
                self.done = true;
                return None;
            }
            Err(error) => {
                self.done = true;
                return Some(Err(error));
            }
        };
        self.row += 1;
        let place = self.text.place(self.row, line);
        if too_long {
            return Some(Err(lines::too_long(place)));
        }
        let text = match lines::valid_text(&bytes, &place) {
            Ok(text) => text.to_owned(),
            Err(error) => return Some(Err(error)),
        };
        let fields = Map::from_iter([("text".to_owned(), Json::String(text))]);
        Some(Ok(Row { place, fields }))
    }
}
