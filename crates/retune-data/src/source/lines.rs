//! Text that is read byte by byte and line by line, with the line's number.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use super::charset::{BROKEN, Decoded};
use super::{MAX_ROW_BYTES, Place, file_error};
use crate::error::{Error, Result, RowError};

const BUFFER: usize = 64 << 10;

/// A file's text in UTF-8, which may hold broken bytes.
pub(super) struct Text {
    path: Arc<Path>,
    reader: BufReader<Decoded>,
    /// The line of the next byte, from 1.
    line: u64,
}

/// A line, or what is left of one that is too long.
pub(super) struct Line {
    /// From 1.
    pub(super) number: u64,
    /// Without its end.
    pub(super) bytes: Vec<u8>,
    /// Whether the line is longer than a row may be; `bytes` is its beginning.
    pub(super) too_long: bool,
}

impl Text {
    pub(super) fn new(path: Arc<Path>, decoded: Decoded) -> Result<Self> {
        let mut text = Self {
            path,
            reader: BufReader::with_capacity(BUFFER, decoded),
            line: 1,
        };
        if text.peek()?.is_none() {
            return Err(file_error(&text.path, "is empty"));
        }
        Ok(text)
    }

    pub(super) fn path(&self) -> &Arc<Path> {
        &self.path
    }

    pub(super) fn line(&self) -> u64 {
        self.line
    }

    pub(super) fn place(&self, row: u64, line: u64) -> Place {
        Place {
            file: Arc::clone(&self.path),
            row,
            line: Some(line),
        }
    }

    /// The bytes that are there without waiting; none at the end.
    pub(super) fn chunk(&mut self) -> Result<&[u8]> {
        // Twice, because what `fill_buf` borrows outlives the error's path.
        if let Err(error) = self.reader.fill_buf() {
            return Err(self.unreadable(&error));
        }
        Ok(self.reader.buffer())
    }

    /// Moves on by `count` bytes of the last chunk.
    pub(super) fn consume(&mut self, count: usize) {
        let passed = &self.reader.buffer()[..count];
        self.line += newlines(passed);
        self.reader.consume(count);
    }

    pub(super) fn peek(&mut self) -> Result<Option<u8>> {
        Ok(self.chunk()?.first().copied())
    }

    /// Whether the first byte beyond white space is `byte`, as far as the first
    /// chunk tells. Nothing is consumed.
    pub(super) fn begins_with(&mut self, byte: u8) -> Result<bool> {
        let mut chunk = self.chunk()?.iter();
        Ok(chunk.find(|b| !b.is_ascii_whitespace()) == Some(&byte))
    }

    /// The first byte that is no white space, not yet consumed.
    pub(super) fn skip_space(&mut self) -> Result<Option<u8>> {
        loop {
            let chunk = self.chunk()?;
            if chunk.is_empty() {
                return Ok(None);
            }
            let space = chunk
                .iter()
                .take_while(|byte| byte.is_ascii_whitespace())
                .count();
            let next = chunk.get(space).copied();
            self.consume(space);
            if next.is_some() {
                return Ok(next);
            }
        }
    }

    /// The next line, without its end; of a line that is too long, the
    /// beginning.
    pub(super) fn next_line(&mut self) -> Result<Option<Line>> {
        if self.peek()?.is_none() {
            return Ok(None);
        }
        let mut line = Line {
            number: self.line,
            bytes: Vec::new(),
            too_long: false,
        };
        loop {
            let chunk = self.chunk()?;
            let end = chunk.iter().position(|byte| *byte == b'\n');
            let part = &chunk[..end.unwrap_or(chunk.len())];
            if line.bytes.len() + part.len() > MAX_ROW_BYTES {
                line.too_long = true;
            } else {
                line.bytes.extend_from_slice(part);
            }
            let is_end = end.is_some() || chunk.is_empty();
            let count = part.len() + usize::from(end.is_some());
            self.consume(count);
            if is_end {
                break;
            }
        }
        if line.bytes.last() == Some(&b'\r') {
            line.bytes.pop();
        }
        Ok(Some(line))
    }

    pub(super) fn unreadable(&self, error: &std::io::Error) -> Error {
        file_error(
            &self.path,
            format!("cannot be read beyond line {}: {error}", self.line),
        )
    }
}

impl Read for Text {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let count = self.reader.fill_buf()?.len().min(out.len());
        out[..count].copy_from_slice(&self.reader.buffer()[..count]);
        self.consume(count);
        Ok(count)
    }
}

fn newlines(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == b'\n').count() as u64
}

/// The text of a row's bytes.
///
/// # Errors
/// `Row`, with the line, where they are no UTF-8.
pub(super) fn valid_text<'a>(bytes: &'a [u8], place: &Place) -> Result<&'a str> {
    std::str::from_utf8(bytes).map_err(|error| {
        let at = error.valid_up_to();
        let mut place = place.clone();
        place.line = place.line.map(|line| line + newlines(&bytes[..at]));
        let problem = if bytes[at] == BROKEN {
            "holds bytes that are no character in the file's encoding".to_owned()
        } else {
            let shown: Vec<String> = bytes[at..]
                .iter()
                .take(4)
                .map(|byte| format!("{byte:02x}"))
                .collect();
            format!("bytes {} are no UTF-8", shown.join(" "))
        };
        RowError::new(place, problem)
            .hint("if the whole file has another encoding, name it with --encoding")
            .into()
    })
}

pub(super) fn too_long(place: Place) -> Error {
    let problem = format!("is longer than {} MiB", MAX_ROW_BYTES >> 20);
    RowError::new(place, problem).into()
}
