//! Files to samples: reading and layouts together.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::layout::{Layout, Mapping, detect};
use crate::sample::Sample;
use crate::source::{ReadOptions, Row, Rows, SourceFile, find_files};

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
    /// Columns of its first row that the layout makes no use of.
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

    fn understand(&mut self, row: Row) -> Result<Sample> {
        if self.mapping.is_none() {
            let found = detect(&row.fields, self.options.layout, &self.options.columns);
            match found {
                Ok(mapping) => {
                    if let Some(file) = self.opened.last_mut() {
                        let unused = mapping.unused(&row.fields).into_iter();
                        file.unused = unused.map(str::to_owned).collect();
                        file.mapping = Some(mapping.clone());
                    }
                    self.mapping = Some(mapping);
                }
                Err(problem) => {
                    // Without a layout, every row would fail alike.
                    self.current = None;
                    return Err(Error::Layout {
                        path: row.place.file.to_path_buf(),
                        problem,
                    });
                }
            }
        }
        match &self.mapping {
            Some(mapping) => mapping.read(row),
            None => unreachable!("set above"),
        }
    }
}

impl Iterator for Samples {
    type Item = Result<Sample>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(rows) = &mut self.current {
                match rows.next() {
                    Some(Ok(row)) => return Some(self.understand(row)),
                    Some(Err(error)) => return Some(Err(error)),
                    None => self.current = None,
                }
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
