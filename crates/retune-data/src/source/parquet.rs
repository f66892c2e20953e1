//! Apache Parquet, row by row.

use std::fmt::Display;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::record::Field;
use parquet::record::reader::RowIter;
use serde_json::Value as Json;

use super::{Place, Row, file_error};
use crate::contained::contained;
use crate::error::Result;

/// Rows of a Parquet file; a row group's pages are in memory at a time.
pub(super) struct ParquetRows {
    path: Arc<Path>,
    rows: RowIter<'static>,
    row: u64,
    done: bool,
}

impl ParquetRows {
    pub(super) fn open(path: Arc<Path>) -> Result<Self> {
        let file = File::open(&path)
            .map_err(|error| file_error(&path, format!("cannot be opened: {error}")))?;
        let no_parquet =
            |error: &dyn Display| file_error(&path, format!("is no Parquet file: {error}"));
        let reader = contained(|| SerializedFileReader::new(file))
            .map_err(|panic| no_parquet(&panic))?
            .map_err(|error| no_parquet(&error))?;
        // The count of rows without columns is a number that nothing bounds.
        if reader
            .metadata()
            .file_metadata()
            .schema_descr()
            .num_columns()
            == 0
        {
            return Err(file_error(&path, "holds rows without columns"));
        }
        let rows = RowIter::from_file_into(Box::new(reader));
        Ok(Self {
            path,
            rows,
            row: 0,
            done: false,
        })
    }
}

fn json_of_row(row: &parquet::record::Row) -> Json {
    let fields = row.get_column_iter();
    Json::Object(
        fields
            .map(|(name, field)| (name.clone(), json_of(field)))
            .collect(),
    )
}

/// The crate's own form of a field, but for texts that the file does not mark as such: those
/// it would give in base64.
fn json_of(field: &Field) -> Json {
    match field {
        Field::Bytes(bytes) => match bytes.as_utf8() {
            Ok(text) => Json::String(text.to_owned()),
            Err(_) => field.to_json_value(),
        },
        Field::Group(row) => json_of_row(row),
        Field::ListInternal(list) => list.elements().iter().map(json_of).collect(),
        other => other.to_json_value(),
    }
}

impl Iterator for ParquetRows {
    type Item = Result<Row>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let next = contained(|| {
            let record = self.rows.next()?;
            Some(record.map(|record| json_of_row(&record)))
        });
        let problem = match next.transpose()? {
            Ok(Ok(record)) => {
                self.row += 1;
                let place = Place {
                    file: Arc::clone(&self.path),
                    row: self.row,
                    line: None,
                };
                match record {
                    Json::Object(fields) => return Some(Ok(Row { place, fields })),
                    _ => "holds rows without columns".to_owned(),
                }
            }
            Ok(Err(error)) => format!("cannot be read beyond row {}: {error}", self.row),
            Err(panic) => format!("is damaged beyond row {}: {panic}", self.row),
        };
        self.done = true;
        Some(Err(file_error(&self.path, problem)))
    }
}
