//! A file of tokens and labels, read sample by sample wherever it is asked.
//!
//! ```text
//! magic · samples: tokens u32 × T, then runs of scored tokens (start, length) u32 × 2
//!       · index: offset u64, tokens u32, runs u32, checksum u64 each
//!       · report as JSON · footer: index's offset, samples, report's length, checksum (u64 each)
//! ```
//!
//! All numbers are little-endian. Samples are read by position and not mapped,
//! so a file that shrinks under a run is an error and not a fault of the
//! process; the system keeps what is read often.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;
use xxhash_rust::xxh3::xxh3_64;

use crate::error::{Error, Result};
use crate::label::Labelled;
use crate::prepare::Preparation;

const MAGIC: &[u8; 8] = b"retune01";
const ENTRY_BYTES: usize = 24;
const FOOTER_BYTES: usize = 32;

/// Where a sample lies.
#[derive(Debug, Clone, Copy)]
struct Entry {
    offset: u64,
    tokens: u32,
    runs: u32,
    checksum: u64,
}

/// Samples in a file.
#[derive(Debug)]
pub struct TokenFile {
    path: PathBuf,
    file: File,
    index: Vec<Entry>,
}

impl TokenFile {
    /// Opens a file that [`TokenWriter`] wrote.
    pub(crate) fn open(path: &Path) -> Result<(Self, Preparation)> {
        let file = File::open(path).map_err(|error| unreadable(path, &error))?;
        let length = file
            .metadata()
            .map_err(|error| unreadable(path, &error))?
            .len();
        let mut found = Self {
            path: path.to_path_buf(),
            file,
            index: Vec::new(),
        };
        let body = length.checked_sub(FOOTER_BYTES as u64);
        let body = body.ok_or_else(|| found.damaged())?;
        let footer = found.bytes(body, FOOTER_BYTES)?;
        let word = |index: usize| u64_at(&footer, 8 * index);
        let (index_at, samples, report_len) = (word(0), word(1), word(2));
        let tail = body.checked_sub(index_at).ok_or_else(|| found.damaged())?;
        let index_len = samples
            .checked_mul(ENTRY_BYTES as u64)
            .filter(|len| len.checked_add(report_len) == Some(tail))
            .ok_or_else(|| found.damaged())?;
        let tail = found.bytes(index_at, tail as usize)?;
        if found.bytes(0, MAGIC.len())? != MAGIC || xxh3_64(&tail) != word(3) {
            return Err(found.damaged());
        }
        let (index, report) = tail.split_at(index_len as usize);
        found.index = index.chunks_exact(ENTRY_BYTES).map(Entry::read).collect();
        let preparation = serde_json::from_slice(report).map_err(|_| found.damaged())?;
        // A run of hours should not stop at a sample that can be told now.
        for sample in 0..found.len() {
            found.sample(sample)?;
        }
        Ok((found, preparation))
    }

    /// The number of samples.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// How many tokens sample `index` has, without reading it.
    ///
    /// # Panics
    /// If `index` is not below `len`.
    pub fn tokens(&self, index: usize) -> usize {
        self.index[index].tokens as usize
    }

    /// Sample `index`.
    ///
    /// # Errors
    /// `File` if it cannot be read or is damaged.
    ///
    /// # Panics
    /// If `index` is not below `len`.
    pub fn sample(&self, index: usize) -> Result<Labelled> {
        let entry = self.index[index];
        let bytes = self.bytes(entry.offset, entry.bytes())?;
        if xxh3_64(&bytes) != entry.checksum {
            return Err(self.damaged());
        }
        let tokens = entry.tokens as usize;
        let (ids, runs) = bytes.split_at(4 * tokens);
        let mut sample = Labelled {
            input_ids: ids.chunks_exact(4).map(u32_of).collect(),
            scored: vec![false; tokens],
        };
        for run in runs.chunks_exact(8) {
            let start = u32_of(&run[..4]) as usize;
            let end = start.saturating_add(u32_of(&run[4..]) as usize);
            match sample.scored.get_mut(start..end) {
                Some(run) => run.fill(true),
                None => return Err(self.damaged()),
            }
        }
        Ok(sample)
    }

    fn bytes(&self, offset: u64, count: usize) -> Result<Vec<u8>> {
        // Not more than the file has, whatever a damaged index says.
        let length = self.file.metadata().map_or(0, |metadata| metadata.len());
        if offset
            .checked_add(count as u64)
            .is_none_or(|end| end > length)
        {
            return Err(self.damaged());
        }
        let mut bytes = vec![0; count];
        read_exact_at(&self.file, &mut bytes, offset)
            .map_err(|error| unreadable(&self.path, &error))?;
        Ok(bytes)
    }

    fn damaged(&self) -> Error {
        Error::File {
            path: self.path.clone(),
            problem: "is damaged\nhint: delete it, it is a cache and made anew".to_owned(),
        }
    }
}

impl Entry {
    fn read(bytes: &[u8]) -> Self {
        Self {
            offset: u64_at(bytes, 0),
            tokens: u32_of(&bytes[8..12]),
            runs: u32_of(&bytes[12..16]),
            checksum: u64_at(bytes, 16),
        }
    }

    fn bytes(self) -> usize {
        4 * self.tokens as usize + 8 * self.runs as usize
    }
}

/// Writes a file of tokens, which is there whole or not at all.
#[derive(Debug)]
pub(crate) struct TokenWriter {
    path: PathBuf,
    out: BufWriter<NamedTempFile>,
    index: Vec<Entry>,
    offset: u64,
}

impl TokenWriter {
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let folder = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).map_err(|error| unwritable(folder, &error))?;
        let file = NamedTempFile::new_in(folder).map_err(|error| unwritable(folder, &error))?;
        let mut writer = Self {
            path: path.to_path_buf(),
            out: BufWriter::with_capacity(1 << 20, file),
            index: Vec::new(),
            offset: 0,
        };
        writer.write(MAGIC)?;
        Ok(writer)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.out
            .write_all(bytes)
            .map_err(|error| unwritable(&self.path, &error))?;
        self.offset += bytes.len() as u64;
        Ok(())
    }

    pub(crate) fn add(&mut self, sample: &Labelled) -> Result<()> {
        let runs = runs(&sample.scored);
        let numbers = sample.input_ids.iter().chain(runs.iter().flatten());
        let bytes: Vec<u8> = numbers.flat_map(|number| number.to_le_bytes()).collect();
        self.index.push(Entry {
            offset: self.offset,
            tokens: sample.input_ids.len() as u32,
            runs: runs.len() as u32,
            checksum: xxh3_64(&bytes),
        });
        self.write(&bytes)
    }

    pub(crate) fn finish(mut self, preparation: &Preparation) -> Result<TokenFile> {
        let index_at = self.offset;
        let mut tail = Vec::with_capacity(self.index.len() * ENTRY_BYTES);
        for entry in &self.index {
            tail.extend(entry.offset.to_le_bytes());
            tail.extend(entry.tokens.to_le_bytes());
            tail.extend(entry.runs.to_le_bytes());
            tail.extend(entry.checksum.to_le_bytes());
        }
        let report = serde_json::to_vec(preparation).unwrap_or_default();
        tail.extend_from_slice(&report);
        self.write(&tail)?;
        let footer = [
            index_at,
            self.index.len() as u64,
            report.len() as u64,
            xxh3_64(&tail),
        ];
        for word in footer {
            self.write(&word.to_le_bytes())?;
        }
        let path = self.path;
        let file = self
            .out
            .into_inner()
            .map_err(|error| unwritable(&path, error.error()))?;
        file.as_file()
            .sync_all()
            .map_err(|error| unwritable(&path, &error))?;
        file.persist(&path)
            .map_err(|error| unwritable(&path, &error.error))?;
        Ok(TokenFile::open(&path)?.0)
    }
}

/// Stretches of scored tokens: start and length.
fn runs(scored: &[bool]) -> Vec<[u32; 2]> {
    let mut runs = Vec::new();
    let mut start = 0;
    for stretch in scored.chunk_by(|a, b| a == b) {
        if stretch[0] {
            runs.push([start as u32, stretch.len() as u32]);
        }
        start += stretch.len();
    }
    runs
}

fn u32_of(bytes: &[u8]) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[..4]);
    u32::from_le_bytes(word)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

#[cfg(unix)]
fn read_exact_at(file: &File, bytes: &mut [u8], offset: u64) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, offset)
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut bytes: &mut [u8], mut offset: u64) -> std::io::Result<()> {
    use std::os::windows::fs::FileExt as _;
    while !bytes.is_empty() {
        match file.seek_read(bytes, offset)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            count => {
                bytes = &mut bytes[count..];
                offset += count as u64;
            }
        }
    }
    Ok(())
}

fn unreadable(path: &Path, error: &std::io::Error) -> Error {
    Error::File {
        path: path.to_path_buf(),
        problem: format!("cannot be read: {error}"),
    }
}

fn unwritable(path: &Path, error: &std::io::Error) -> Error {
    Error::File {
        path: path.to_path_buf(),
        problem: format!("cannot be written: {error}"),
    }
}
