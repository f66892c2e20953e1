//! Files to samples: reading and layouts together.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::layout::{Layout, Mapping, detect};
use crate::sample::Sample;
use crate::source::{ReadOptions, Row, Rows, SourceFile, find_files};

/// Rows that are looked at where the first one does not tell the layout.
const LOOKED_AT: usize = 20;
/// Columns without use that are told.
const MOST_UNUSED: usize = 100;
/// What is worked on at a time.
const BATCH_ROWS: usize = 1024;
const BATCH_BYTES: usize = 8 << 20;

/// What a user may say of data files.
#[derive(Debug, Clone, Default)]
pub struct DataOptions {
    /// How to read them.
    pub read: ReadOptions,
    /// Their layout; by default the columns of the first row tell.
    pub layout: Option<Layout>,
    /// The file's column for each of the layout's columns that has another
    /// name there.
    pub columns: BTreeMap<String, String>,
}

/// A file that was opened.
#[derive(Debug, Clone)]
pub struct OpenedFile {
    /// The file.
    pub source: SourceFile,
    /// Its layout, once a row was read.
    pub mapping: Option<Mapping>,
    /// Columns of the rows that were read of which the layout makes no use.
    pub unused: Vec<String>,
}

/// The samples of data files, in order, one in memory at a time.
///
/// A row that cannot be used is an error `Row`, and the next row follows. Any
/// other error ends its file; the next file follows.
#[derive(Debug)]
pub struct Samples {
    files: std::vec::IntoIter<PathBuf>,
    options: DataOptions,
    current: Option<Rows>,
    mapping: Option<Mapping>,
    /// Rows that were looked at for their layout.
    ahead: VecDeque<Result<Row>>,
    opened: Vec<OpenedFile>,
}

impl Samples {
    /// The samples of `paths`: files, or folders of files.
    ///
    /// # Errors
    /// `File` if a path does not exist or a folder has no data files.
    pub fn open(paths: &[PathBuf], options: DataOptions) -> Result<Self> {
        Ok(Self {
            files: find_files(paths)?.into_iter(),
            options,
            current: None,
            mapping: None,
            ahead: VecDeque::new(),
            opened: Vec::new(),
        })
    }

    /// The files that were opened so far, with the layout of each.
    pub fn files(&self) -> &[OpenedFile] {
        &self.opened
    }

    /// The number of the file that the last sample or error came from, among
    /// those that could be opened.
    pub fn file_number(&self) -> u32 {
        self.opened.len().saturating_sub(1) as u32
    }

    /// The next samples with the numbers of their files: at most `BATCH_ROWS`,
    /// and not many more bytes than `BATCH_BYTES`; none at the end.
    pub(crate) fn batch(&mut self) -> Vec<(u32, Result<Sample>)> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while batch.len() < BATCH_ROWS && bytes < BATCH_BYTES {
            let Some(sample) = self.next() else { break };
            if let Ok(sample) = &sample {
                let texts = sample.content.texts().into_iter();
                bytes += texts.map(|(_, text)| text.len()).sum::<usize>();
            }
            batch.push((self.file_number(), sample));
        }
        batch
    }

    /// The next row of the current file: one that was looked at before, or a new one.
    fn next_row(&mut self) -> Option<Result<Row>> {
        let ahead = self.ahead.pop_front();
        ahead.or_else(|| self.current.as_mut()?.next())
    }

    fn understand(&mut self, row: Row) -> Result<Sample> {
        if self.mapping.is_none() {
            self.mapping = Some(self.find_mapping(&row)?);
        }
        let Some(mapping) = &self.mapping else {
            unreachable!("set above");
        };
        if let Some(file) = self.opened.last_mut() {
            for name in mapping.unused(&row.fields) {
                if file.unused.len() < MOST_UNUSED && !file.unused.iter().any(|known| known == name)
                {
                    file.unused.push(name.to_owned());
                }
            }
        }
        mapping.read(row)
    }

    /// The mapping by a file's first row. If that one is broken, one of the next
    /// rows tells, and the broken one is an error of its own.
    fn find_mapping(&mut self, first: &Row) -> Result<Mapping> {
        let known = |row: &Row, options: &DataOptions| {
            detect(&row.fields, options.layout, &options.columns)
        };
        let mut found = known(first, &self.options);
        while found.is_err() && self.ahead.len() < LOOKED_AT {
            let Some(row) = self.current.as_mut().and_then(Iterator::next) else {
                break;
            };
            if let Ok(row) = &row
                && let Ok(mapping) = known(row, &self.options)
            {
                found = Ok(mapping);
            }
            self.ahead.push_back(row);
        }
        match found {
            Ok(mapping) => {
                if let Some(file) = self.opened.last_mut() {
                    file.mapping = Some(mapping.clone());
                }
                Ok(mapping)
            }
            Err(problem) => {
                // Without a layout, every row would fail alike.
                self.current = None;
                self.ahead.clear();
                Err(Error::Layout {
                    path: first.place.file.to_path_buf(),
                    problem,
                })
            }
        }
    }
}

impl Iterator for Samples {
    type Item = Result<Sample>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.next_row() {
                Some(Ok(row)) => return Some(self.understand(row)),
                Some(Err(error)) => return Some(Err(error)),
                None => self.current = None,
            }
            let path = self.files.next()?;
            self.mapping = None;
            match Rows::open(&path, &self.options.read) {
                Ok(rows) => {
                    self.opened.push(OpenedFile {
                        source: rows.file().clone(),
                        mapping: None,
                        unused: Vec::new(),
                    });
                    self.current = Some(rows);
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }
}
