//! CSV and TSV.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use csv::ByteRecord;
use serde_json::{Map, Value as Json};

use super::lines::{self, Text};
use super::{Format, MAX_ROW_BYTES, Place, ReadOptions, Row, file_error};
use crate::error::{Result, RowError};

/// Rows of a CSV or TSV file. The first line names the columns, unless the
/// caller does.
pub(super) struct CsvRows {
    path: Arc<Path>,
    reader: csv::Reader<Guarded>,
    columns: Vec<String>,
    row: u64,
    done: bool,
}

impl CsvRows {
    pub(super) fn open(mut text: Text, format: Format, options: &ReadOptions) -> Result<Self> {
        let path = Arc::clone(text.path());
        let delimiter = match format {
            Format::Tsv => b'\t',
            _ => delimiter(text.chunk()?),
        };
        let reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .delimiter(delimiter)
            // Tab-separated values have no quotes by their registered type, and
            // real files hold lone ones.
            .quoting(format != Format::Tsv)
            .buffer_capacity(64 << 10)
            .from_reader(Guarded { text, left: 0 });
        let mut rows = Self {
            path,
            reader,
            columns: options.columns.clone(),
            row: 0,
            done: false,
        };
        if rows.columns.is_empty() {
            rows.columns = rows.header()?;
        }
        Ok(rows)
    }

    fn header(&mut self) -> Result<Vec<String>> {
        let Some(record) = self.record()? else {
            return Err(file_error(&self.path, "is empty"));
        };
        let place = self.place(&record);
        let mut columns: Vec<String> = Vec::new();
        for cell in &record {
            let name = lines::valid_text(cell, &place)?.trim().to_owned();
            if columns.contains(&name) {
                let problem = format!("names the column {name:?} twice in its first line");
                return Err(file_error(&self.path, problem));
            }
            columns.push(name);
        }
        Ok(columns)
    }

    fn record(&mut self) -> Result<Option<ByteRecord>> {
        self.reader.get_mut().left = MAX_ROW_BYTES;
        let mut record = ByteRecord::new();
        match self.reader.read_byte_record(&mut record) {
            Ok(true) => Ok(Some(record)),
            Ok(false) => Ok(None),
            Err(error) => Err(file_error(
                &self.path,
                format!("cannot be read beyond row {}: {error}", self.row),
            )),
        }
    }

    fn place(&self, record: &ByteRecord) -> Place {
        Place {
            file: Arc::clone(&self.path),
            row: self.row,
            line: record.position().map(csv::Position::line),
        }
    }

    fn fields(&self, record: &ByteRecord) -> Result<Row> {
        let place = self.place(record);
        if record.len() != self.columns.len() {
            let problem = format!(
                "has {} cells, but there are {} columns ({})",
                record.len(),
                self.columns.len(),
                self.columns.join(", ")
            );
            return Err(RowError::new(place, problem)
                .hint("a cell with a separator or line break in it has to stand in quotes")
                .into());
        }
        let mut fields = Map::new();
        for (name, cell) in self.columns.iter().zip(record) {
            let cell = lines::valid_text(cell, &place)?;
            fields.insert(name.clone(), Json::String(cell.to_owned()));
        }
        Ok(Row { place, fields })
    }
}

impl Iterator for CsvRows {
    type Item = Result<Row>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        match self.record() {
            Ok(Some(record)) => {
                self.row += 1;
                Some(self.fields(&record))
            }
            Ok(None) => {
                self.done = true;
                None
            }
            Err(error) => {
                self.done = true;
                Some(Err(error))
            }
        }
    }
}

/// The separator that stands most often in the first line, quotes apart.
fn delimiter(start: &[u8]) -> u8 {
    let mut counts = [(b',', 0), (b';', 0), (b'\t', 0)];
    let mut quoted = false;
    for byte in start {
        match byte {
            b'"' => quoted = !quoted,
            b'\n' if !quoted => break,
            _ if quoted => {}
            _ => {
                for (separator, count) in &mut counts {
                    *count += usize::from(byte == separator);
                }
            }
        }
    }
    let most = counts.iter().map(|(_, count)| *count).max().unwrap_or(0);
    let found = counts.iter().find(|(_, count)| *count == most);
    found.map_or(b',', |(separator, _)| *separator)
}

/// Bounds what one record may read: a quote that is never closed would take the
/// rest of the file into memory.
struct Guarded {
    text: Text,
    left: usize,
}

impl Read for Guarded {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            let problem = format!(
                "a row is longer than {} MiB; is a quote not closed?",
                MAX_ROW_BYTES >> 20
            );
            return Err(io::Error::other(problem));
        }
        let count = self.text.read(out)?;
        self.left = self.left.saturating_sub(count);
        Ok(count)
    }
}
