//! CSV and TSV.

use std::collections::{HashSet, VecDeque};
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use csv::ByteRecord;
use serde_json::{Map, Value as Json};

use super::lines::{self, Text};
use super::{Format, MAX_ROW_BYTES, Place, ReadOptions, Row, file_error};
use crate::error::{Result, RowError, counted};

/// More columns are no table of texts, but a file of another kind.
const MAX_COLUMNS: usize = 10_000;

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
            _ => delimiter(text.chunk()?, options.columns.len()),
        };
        let reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .delimiter(delimiter)
            // Tab-separated values have no quotes by their registered type, and
            // real files hold lone ones.
            .quoting(format != Format::Tsv)
            .buffer_capacity(64 << 10)
            .from_reader(Guarded {
                track: Track {
                    delimiter,
                    quoting: format != Format::Tsv,
                    state: State::RecordStart,
                    offset: 0,
                    line: text.line(),
                    opened: 0,
                    starts: VecDeque::new(),
                },
                text,
                left: 0,
            });
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
        let Some((place, record)) = self.record()? else {
            return Err(file_error(&self.path, "is empty"));
        };
        if record.len() > MAX_COLUMNS {
            let problem = format!(
                "has {} columns in its first line, more than {MAX_COLUMNS}",
                record.len()
            );
            return Err(file_error(&self.path, problem));
        }
        let mut columns: Vec<String> = Vec::new();
        let mut seen = HashSet::new();
        for cell in &record {
            let name = lines::valid_text(cell, &place)?.trim().to_owned();
            // Spreadsheets leave columns without a name behind.
            if !name.is_empty() && !seen.insert(name.clone()) {
                let problem = format!("names the column {name:?} twice in its first line");
                return Err(file_error(&self.path, problem));
            }
            columns.push(name);
        }
        Ok(columns)
    }

    fn record(&mut self) -> Result<Option<(Place, ByteRecord)>> {
        self.reader.get_mut().left = MAX_ROW_BYTES;
        let mut record = ByteRecord::new();
        match self.reader.read_byte_record(&mut record) {
            Ok(true) => {
                let end = self.reader.position().byte();
                let place = Place {
                    file: Arc::clone(&self.path),
                    row: self.row,
                    line: Some(self.reader.get_mut().track.line_of_record(end)),
                };
                Ok(Some((place, record)))
            }
            Ok(false) => Ok(None),
            Err(error) => Err(file_error(
                &self.path,
                format!("cannot be read beyond row {}: {error}", self.row),
            )),
        }
    }

    fn fields(&self, place: Place, record: &ByteRecord) -> Result<Row> {
        if record.len() != self.columns.len() {
            let problem = format!(
                "has {}, but there are {} ({})",
                counted(record.len(), "cell", "cells"),
                counted(self.columns.len(), "column", "columns"),
                self.columns.join(", ")
            );
            let hint = match self.reader.get_ref().track.quoting {
                true => "a cell with a separator or line break in it has to stand in quotes",
                false => {
                    "quotes mean nothing in tab-separated values; where cells stand in them, read \
                     the file with --format csv"
                }
            };
            return Err(RowError::new(place, problem).hint(hint).into());
        }
        let mut fields = Map::new();
        for (name, cell) in self.columns.iter().zip(record) {
            let cell = lines::valid_text(cell, &place)?;
            if name.is_empty() {
                if cell.trim().is_empty() {
                    continue;
                }
                let problem = format!("has {cell:?} in a column that has no name");
                return Err(RowError::new(place, problem)
                    .hint("give the column a name in the first line, or empty it")
                    .into());
            }
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
            Ok(Some((mut place, record))) => {
                self.row += 1;
                place.row = self.row;
                // Where spreadsheets leave columns behind, they leave rows, too.
                let leaves = self.columns.iter().any(String::is_empty);
                if leaves && record.iter().all(<[u8]>::is_empty) {
                    return self.next();
                }
                Some(self.fields(place, &record))
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

/// The separator of which the first line, quotes apart, has one less than there
/// are columns; where their number is not known, the one that stands there most
/// often.
fn delimiter(start: &[u8], columns: usize) -> u8 {
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
    let fitting = counts.iter().find(|(_, count)| *count + 1 == columns);
    let found = fitting.or_else(|| counts.iter().find(|(_, count)| *count == most));
    found.map_or(b',', |(separator, _)| *separator)
}

/// Bounds what one record may read: a quote that is never closed would take the
/// rest of the file into memory.
struct Guarded {
    text: Text,
    track: Track,
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
        if count == 0 && self.track.state == State::Quoted {
            let opened = self.track.opened;
            let problem = format!("the quote that is opened on line {opened} is never closed");
            return Err(io::Error::other(problem));
        }
        let cells = self.track.advance(&out[..count]);
        // Each cell takes a number beside its bytes.
        let taken = count + cells * size_of::<usize>();
        self.left = self.left.saturating_sub(taken);
        Ok(count)
    }
}

/// Follows records and quotes, of which the `csv` crate keeps two things to
/// itself. It counts the empty lines before a record as part of it, and at the
/// end of a file it takes an open quote for closed, and the rows behind it for a
/// cell.
struct Track {
    delimiter: u8,
    quoting: bool,
    state: State,
    offset: u64,
    line: u64,
    /// The line of the last opening quote.
    opened: u64,
    /// Offset and line of records that were not asked for yet.
    starts: VecDeque<(u64, u64)>,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    RecordStart,
    CellStart,
    Unquoted,
    Quoted,
    /// Behind a quote in a quoted cell: its end, or the first half of a quote
    /// that is part of the text.
    Closing,
}

impl Track {
    /// How many cells end in `bytes`, the last ones of their records apart.
    fn advance(&mut self, bytes: &[u8]) -> usize {
        let mut cells = 0;
        for byte in bytes {
            let ends_line = matches!(byte, b'\r' | b'\n');
            if self.state == State::RecordStart && !ends_line {
                self.starts.push_back((self.offset, self.line));
            }
            self.state = match (self.state, byte) {
                (State::RecordStart | State::CellStart, b'"') if self.quoting => {
                    self.opened = self.line;
                    State::Quoted
                }
                (State::Quoted, b'"') => State::Closing,
                (State::Closing, b'"') | (State::Quoted, _) => State::Quoted,
                _ if ends_line => State::RecordStart,
                (_, byte) if *byte == self.delimiter => {
                    cells += 1;
                    State::CellStart
                }
                _ => State::Unquoted,
            };
            self.offset += 1;
            self.line += u64::from(*byte == b'\n');
        }
        cells
    }

    /// The line of the record that ends before `offset`.
    fn line_of_record(&mut self, offset: u64) -> u64 {
        let mut line = self.line;
        while let Some((start, at)) = self.starts.front().copied()
            && start < offset
        {
            line = at;
            self.starts.pop_front();
        }
        line
    }
}
