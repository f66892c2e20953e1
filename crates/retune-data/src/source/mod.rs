//! Data files to rows: which files, in what format, compression and encoding,
//! and where in them each row stands.
//!
//! Everything streams: one row is in memory at a time, whatever the size of
//! the file. A row that cannot be read is an error of that row, and the next
//! one follows, wherever the format allows it.

mod bytes;
mod charset;
mod csv;
mod files;
mod json;
mod lines;
mod parquet;
mod strict;
mod text;
mod write;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use serde_json::{Map, Value as Json};

use crate::error::{Error, Result};

pub(crate) use files::by_name as format_by_name;
pub(crate) use json::{kind, parse_text};

pub use charset::encoding_for_label;
pub use files::find_files;
pub use text::SampleBy;
pub use write::RowWriter;
pub(crate) use write::write_whole;

/// A row larger than this is an error: no text to learn from has that size, and
/// memory stays bounded whatever the file holds.
pub(crate) const MAX_ROW_BYTES: usize = 64 << 20;

/// How rows are laid out in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// One JSON array of objects, or objects one after the other.
    Json,
    /// One JSON object per line.
    JsonLines,
    /// Values separated by commas (or semicolons), quoted where needed.
    Csv,
    /// Values separated by tabs, never quoted.
    Tsv,
    /// Apache Parquet.
    Parquet,
    /// Plain text.
    Text,
}

impl Format {
    /// All formats with the names that `--format` takes.
    pub const NAMES: [(&'static str, Format); 6] = [
        ("json", Format::Json),
        ("jsonl", Format::JsonLines),
        ("csv", Format::Csv),
        ("tsv", Format::Tsv),
        ("parquet", Format::Parquet),
        ("text", Format::Text),
    ];

    /// The name, as `--format` takes it.
    pub fn name(self) -> &'static str {
        let named = Self::NAMES.iter().find(|(_, format)| *format == self);
        named.map_or("unknown", |(name, _)| name)
    }

    /// The format that the name of a file tells, which may be that of a compressed one.
    pub fn of_name(name: &Path) -> Option<Self> {
        files::by_name(name)
    }

    /// How names end that tell a format.
    pub fn extensions() -> impl Iterator<Item = &'static str> {
        files::EXTENSIONS.iter().map(|(extension, _)| *extension)
    }
}

/// What a user may say of files whose look does not tell.
#[derive(Debug, Clone, Default)]
pub struct ReadOptions {
    /// The format; by default the file's name tells.
    pub format: Option<Format>,
    /// The encoding; by default the bytes tell.
    pub encoding: Option<&'static encoding_rs::Encoding>,
    /// The columns' names of a CSV or TSV file without a header line.
    pub columns: Vec<String>,
    /// What one sample is in a plain text.
    pub sample_by: SampleBy,
    /// Once it is true, no more is read: the file ends in an error.
    pub stop: Option<Arc<AtomicBool>>,
}

/// Where a row stands.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Place {
    /// The file, as it was named.
    pub file: Arc<Path>,
    /// The row, from 1.
    pub row: u64,
    /// The line on which the row begins, from 1; Parquet has none.
    pub line: Option<u64>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, row {}", self.file.display(), self.row)?;
        match self.line {
            Some(line) => write!(f, " (line {line})"),
            None => Ok(()),
        }
    }
}

/// One row of a file, not interpreted yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Where it stands.
    pub place: Place,
    /// Its fields, in the file's order. The cells of CSV and TSV are strings.
    pub fields: Map<String, Json>,
}

/// What was found out about a file.
#[derive(Debug, Clone)]
pub struct SourceFile {
    /// The file, as it was named.
    pub path: Arc<Path>,
    /// Its format.
    pub format: Format,
    encoding: Arc<OnceLock<&'static str>>,
}

impl SourceFile {
    /// The name of the encoding, once text beyond ASCII was read.
    pub fn encoding(&self) -> Option<&'static str> {
        self.encoding.get().copied()
    }
}

/// The rows of one file, in order.
pub struct Rows {
    file: SourceFile,
    inner: Box<dyn Iterator<Item = Result<Row>> + Send>,
    /// Whether anything was found, be it an error.
    any: bool,
    stop: Option<Arc<AtomicBool>>,
}

impl Rows {
    /// Opens a file. Compression by gzip or Zstandard is recognised by content.
    ///
    /// # Errors
    /// `File` if it cannot be opened, is empty, or its format is unknown.
    pub fn open(path: &Path, options: &ReadOptions) -> Result<Self> {
        let format = match options.format {
            Some(format) => format,
            None => files::format_of(path)?,
        };
        let path: Arc<Path> = Arc::from(path);
        let file = SourceFile {
            path: Arc::clone(&path),
            format,
            encoding: Arc::default(),
        };
        let stop = options.stop.clone();
        let any = false;
        if format == Format::Parquet {
            let inner = Box::new(parquet::ParquetRows::open(path)?);
            return Ok(Self {
                file,
                inner,
                any,
                stop,
            });
        }
        let mut bytes = bytes::open(&path)?;
        if let Some(stop) = stop.clone() {
            bytes = Box::new(bytes::Stoppable { bytes, stop });
        }
        let decoded = charset::Decoded::new(bytes, options.encoding, Arc::clone(&file.encoding));
        let mut text = lines::Text::new(path, decoded)?;
        let inner: Box<dyn Iterator<Item = Result<Row>> + Send> = match format {
            Format::Json => Box::new(json::JsonRows::new(text)?),
            // Many a file with one array is named so.
            Format::JsonLines if text.begins_with(b'[')? => Box::new(json::JsonRows::new(text)?),
            Format::JsonLines => Box::new(json::LineRows::new(text)),
            Format::Csv | Format::Tsv => Box::new(csv::CsvRows::open(text, format, options)?),
            Format::Text => Box::new(text::TextRows::new(text, options.sample_by)),
            Format::Parquet => unreachable!("opened above"),
        };
        Ok(Self {
            file,
            inner,
            any,
            stop,
        })
    }

    /// What was found out about the file so far.
    pub fn file(&self) -> &SourceFile {
        &self.file
    }
}

impl Iterator for Rows {
    type Item = Result<Row>;

    fn next(&mut self) -> Option<Self::Item> {
        let stopped = self.stop.take_if(|stop| stop.load(Ordering::Relaxed));
        if stopped.is_some() {
            self.inner = Box::new(std::iter::empty());
            self.any = true;
            let problem = "was not read to its end: reading was stopped";
            return Some(Err(file_error(&self.file.path, problem)));
        }
        let item = self.inner.next();
        if item.is_some() || self.any {
            self.any = true;
            return item;
        }
        // White space alone, or the names of columns: a mistake that nobody
        // would see in a folder of many files.
        self.any = true;
        Some(Err(file_error(&self.file.path, "holds no rows")))
    }
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows")
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}

pub(crate) fn file_error(path: &Path, problem: impl Into<String>) -> Error {
    Error::File {
        path: PathBuf::from(path),
        problem: problem.into(),
    }
}
