//! A folder of files that a test writes and reads.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use retune_data::Result;
use retune_data::source::{ReadOptions, Row, Rows};
use serde_json::{Map, Value as Json};
use tempfile::TempDir;

pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

/// All that comes out of a file; one that cannot be opened is its only item.
pub(crate) fn read(path: &Path, options: &ReadOptions) -> Vec<Result<Row>> {
    match Rows::open(path, options) {
        Ok(rows) => rows.collect(),
        Err(error) => vec![Err(error)],
    }
}

/// The fields of the rows of `bytes` in a file called `name`, none of which may
/// be broken.
pub(crate) fn fields(name: &str, bytes: impl AsRef<[u8]>) -> Vec<Json> {
    fields_with(name, bytes, &ReadOptions::default())
}

pub(crate) fn fields_with(name: &str, bytes: impl AsRef<[u8]>, options: &ReadOptions) -> Vec<Json> {
    let folder = Folder::new();
    let rows = read(&folder.write(name, bytes), options).into_iter();
    rows.map(|row| Json::Object(row.unwrap().fields)).collect()
}

/// The rows that can be read, and the messages of those that cannot, without the
/// folder's name.
pub(crate) fn outcome(
    name: &str,
    bytes: impl AsRef<[u8]>,
) -> (Vec<Map<String, Json>>, Vec<String>) {
    outcome_with(name, bytes, &ReadOptions::default())
}

pub(crate) fn outcome_with(
    name: &str,
    bytes: impl AsRef<[u8]>,
    options: &ReadOptions,
) -> (Vec<Map<String, Json>>, Vec<String>) {
    let folder = Folder::new();
    let path = folder.write(name, bytes);
    let (mut rows, mut errors) = (Vec::new(), Vec::new());
    for row in read(&path, options) {
        match row {
            Ok(row) => rows.push(row.fields),
            Err(error) => errors.push(
                error
                    .to_string()
                    .replace(&format!("{}/", folder.path().display()), ""),
            ),
        }
    }
    (rows, errors)
}

/// The one message of a file without a row that can be read.
pub(crate) fn refusal(name: &str, bytes: impl AsRef<[u8]>) -> String {
    let (rows, errors) = outcome(name, bytes);
    assert_eq!((rows.len(), errors.len()), (0, 1), "{rows:?} {errors:?}");
    errors.into_iter().next().unwrap()
}

/// A Parquet file with a text in each row, and a list of turns as lists of
/// structures, in row groups of one row.
pub(crate) fn parquet_file(rows: &[(&str, &[(&str, &str)])]) -> Vec<u8> {
    let schema = "message rows {
        optional binary text (UTF8);
        optional group conversations (LIST) { repeated group list { optional group element {
            optional binary from (UTF8);
            optional binary value (UTF8);
        } } }
    }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let properties = WriterProperties::builder()
        .set_compression(parquet::basic::Compression::SNAPPY)
        .build();
    let mut bytes = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut bytes, schema, Arc::new(properties)).unwrap();
    for (text, turns) in rows {
        let mut group = writer.next_row_group().unwrap();
        let mut add = |values: Vec<&str>, defined: i16| {
            let mut column = group.next_column().unwrap().unwrap();
            let count = values.len().max(1);
            // An empty list is defined up to the list, and has no values.
            let levels = if values.is_empty() {
                vec![1]
            } else {
                vec![defined; count]
            };
            let repeated: Vec<i16> = (0..count).map(|index| i16::from(index > 0)).collect();
            let values: Vec<ByteArray> = values.into_iter().map(ByteArray::from).collect();
            let repeated = (defined > 1).then_some(&repeated[..]);
            let typed = column.typed::<ByteArrayType>();
            typed.write_batch(&values, Some(&levels), repeated).unwrap();
            column.close().unwrap();
        };
        add(vec![text], 1);
        add(turns.iter().map(|(from, _)| *from).collect(), 4);
        add(turns.iter().map(|(_, value)| *value).collect(), 4);
        group.close().unwrap();
    }
    writer.close().unwrap();
    bytes
}
