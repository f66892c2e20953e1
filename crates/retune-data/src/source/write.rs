//! Rows to files.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value as Json};
use tempfile::NamedTempFile;

use super::{Format, file_error, files};
use crate::error::Result;

/// Writes rows to a file, which is there whole once it is finished, or not at
/// all.
#[derive(Debug)]
pub struct RowWriter {
    path: PathBuf,
    overwrite: bool,
    rows: u64,
    sink: Sink,
}

#[derive(Debug)]
enum Sink {
    Json(BufWriter<NamedTempFile>),
    JsonLines(BufWriter<NamedTempFile>),
    Table {
        writer: Box<csv::Writer<NamedTempFile>>,
        columns: Vec<String>,
        /// Whether a cell may stand in quotes.
        quotes: bool,
    },
}

impl RowWriter {
    /// A writer of the file `path`, whose name tells the format: .json, .jsonl,
    /// .csv or .tsv.
    ///
    /// # Errors
    /// `File` if the file is there already and may not be overwritten, its
    /// folder cannot be written to, or the format is none of these.
    pub fn create(path: &Path, overwrite: bool) -> Result<Self> {
        if path.exists() && !overwrite {
            let problem =
                "is there already\nhint: choose another name, or allow it with --overwrite";
            return Err(file_error(path, problem));
        }
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let unwritable =
            |error: std::io::Error| file_error(path, format!("cannot be written: {error}"));
        std::fs::create_dir_all(folder).map_err(unwritable)?;
        let file = || {
            tempfile::Builder::new()
                .permissions(default_permissions())
                .tempfile_in(folder)
                .map_err(unwritable)
        };
        let table = |delimiter: u8, style: csv::QuoteStyle| -> Result<Sink> {
            let writer = csv::WriterBuilder::new()
                .delimiter(delimiter)
                .quote_style(style)
                .from_writer(file()?);
            Ok(Sink::Table {
                writer: Box::new(writer),
                columns: Vec::new(),
                quotes: !matches!(style, csv::QuoteStyle::Never),
            })
        };
        let compressed = path.extension().and_then(|name| name.to_str());
        if compressed.is_some_and(files::is_compression) {
            return Err(file_error(
                path,
                "cannot be written: compressed files are read only",
            ));
        }
        let sink = match files::by_name(path) {
            Some(Format::Json) => Sink::Json(BufWriter::new(file()?)),
            Some(Format::JsonLines) => Sink::JsonLines(BufWriter::new(file()?)),
            Some(Format::Csv) => table(b',', csv::QuoteStyle::Necessary)?,
            Some(Format::Tsv) => table(b'\t', csv::QuoteStyle::Never)?,
            _ => {
                let problem =
                    "cannot be written: its name does not end in .json, .jsonl, .csv or .tsv";
                return Err(file_error(path, problem));
            }
        };
        Ok(Self {
            path: path.to_path_buf(),
            overwrite,
            rows: 0,
            sink,
        })
    }

    /// How many rows were written.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Writes a row.
    ///
    /// # Errors
    /// `File` if that fails, or a table's row has other columns than the first.
    pub fn write(&mut self, row: &Map<String, Json>) -> Result<()> {
        let result = match &mut self.sink {
            Sink::Json(out) => {
                let before: &[u8] = if self.rows == 0 { b"[\n  " } else { b",\n  " };
                out.write_all(before).and_then(|()| write_json(out, row))
            }
            Sink::JsonLines(out) => write_json(out, row).and_then(|()| out.write_all(b"\n")),
            Sink::Table {
                writer,
                columns,
                quotes,
            } => write_cells(writer, columns, *quotes, row),
        };
        self.rows += 1;
        result.map_err(|error| self.unwritable(&error))
    }

    fn unwritable(&self, error: &std::io::Error) -> crate::Error {
        let problem = format!("cannot be written (row {}): {error}", self.rows);
        file_error(&self.path, problem)
    }

    /// Puts the file in its place.
    ///
    /// # Errors
    /// `File` if that fails; then nothing is left behind.
    pub fn finish(mut self) -> Result<()> {
        if let (Sink::Json(out), rows) = (&mut self.sink, self.rows) {
            let end: &[u8] = if rows == 0 { b"[]\n" } else { b"\n]\n" };
            if let Err(error) = out.write_all(end) {
                return Err(self.unwritable(&error));
            }
        }
        let (path, overwrite) = (self.path, self.overwrite);
        let unwritable =
            |error: std::io::Error| file_error(&path, format!("cannot be written: {error}"));
        let file = match self.sink {
            Sink::Json(out) | Sink::JsonLines(out) => out
                .into_inner()
                .map_err(|error| unwritable(error.into_error()))?,
            Sink::Table { writer, .. } => {
                let inner = writer.into_inner();
                inner.map_err(|error| unwritable(error.into_error()))?
            }
        };
        file.as_file().sync_all().map_err(unwritable)?;
        let placed = if overwrite {
            file.persist(&path)
        } else {
            file.persist_noclobber(&path)
        };
        placed.map(drop).map_err(|error| unwritable(error.error))
    }
}

/// Writes a file, which is there whole or not at all.
pub(crate) fn write_whole(path: &Path, text: &str) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let written = tempfile::Builder::new()
        .permissions(default_permissions())
        .tempfile_in(folder)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.as_file().sync_all()?;
            file.persist(path).map_err(|error| error.error)
        });
    written
        .map(drop)
        .map_err(|error| file_error(path, format!("cannot be written: {error}")))
}

/// Temporary files are for their owner alone; data files are not.
#[cfg(unix)]
fn default_permissions() -> std::fs::Permissions {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::Permissions::from_mode(0o666)
}

#[cfg(not(unix))]
fn default_permissions() -> std::fs::Permissions {
    // Only read-only or not can be said here, and it is not.
    std::env::temp_dir()
        .metadata()
        .map(|metadata| metadata.permissions())
        .expect("the folder for temporary files exists")
}

fn write_json(out: &mut impl Write, row: &Map<String, Json>) -> std::io::Result<()> {
    serde_json::to_writer(out, row).map_err(std::io::Error::from)
}

fn write_cells(
    writer: &mut csv::Writer<NamedTempFile>,
    columns: &mut Vec<String>,
    quotes: bool,
    row: &Map<String, Json>,
) -> std::io::Result<()> {
    let first = columns.is_empty();
    if first {
        *columns = row.keys().cloned().collect();
    }
    if columns.is_empty() {
        return Err(std::io::Error::other(
            "a row without columns is no row of a table",
        ));
    }
    if let Some(other) = row.keys().find(|key| !columns.contains(key)) {
        let problem =
            format!("column {other:?} is not in the first row; a .jsonl file can have it");
        return Err(std::io::Error::other(problem));
    }
    if let Some((column, _)) = row
        .iter()
        .find(|(_, value)| value.is_array() || value.is_object())
    {
        let problem = format!(
            "column {column:?} holds a list or an object, which a table has no place for; a .jsonl file has"
        );
        return Err(std::io::Error::other(problem));
    }
    let cells = columns.iter().map(|column| match row.get(column) {
        None | Some(Json::Null) => String::new(),
        Some(Json::String(text)) => text.clone(),
        Some(value) => value.to_string(),
    });
    let cells: Vec<String> = cells.collect();
    if !quotes {
        let names = columns.iter().filter(|_| first);
        let broken = |cell: &&String| cell.contains(['\t', '\n', '\r']);
        if let Some(cell) = names.chain(&cells).find(broken) {
            let start: String = cell.chars().take(40).collect();
            let problem = format!(
                "tab-separated values have no place for a tab or line break, such as in {start:?}; \
                 a .csv or .jsonl file has"
            );
            return Err(std::io::Error::other(problem));
        }
        if let [cell] = &cells[..]
            && cell.is_empty()
        {
            let problem = "an empty cell that is alone in its row would be an empty line, which \
                           is no row; a .csv or .jsonl file can have it";
            return Err(std::io::Error::other(problem));
        }
    }
    if first {
        writer.write_record(&*columns).map_err(io_error)?;
    }
    writer.write_record(&cells).map_err(io_error)
}

fn io_error(error: csv::Error) -> std::io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => std::io::Error::other(format!("{other:?}")),
    }
}
