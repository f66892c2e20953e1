//! Files to bytes: opened, and decompressed where they are compressed.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::file_error;
use crate::error::Result;

const BUFFER: usize = 256 << 10;
const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTANDARD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

/// Bytes up to where somebody says that no more are wanted: a small file may unpack to
/// more than anyone can wait for.
pub(super) struct Stoppable {
    pub(super) bytes: Box<dyn Read + Send>,
    pub(super) stop: Arc<AtomicBool>,
}

impl Read for Stoppable {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.stop.load(Ordering::Relaxed) {
            true => Err(io::Error::other("reading was stopped")),
            false => self.bytes.read(buffer),
        }
    }
}

/// A reader of the bytes in `path`, whatever they are compressed with.
pub(super) fn open(path: &Path) -> Result<Box<dyn Read + Send>> {
    let file =
        File::open(path).map_err(|error| file_error(path, format!("cannot be opened: {error}")))?;
    let mut reader = BufReader::with_capacity(BUFFER, file);
    let start = reader
        .fill_buf()
        .map_err(|error| file_error(path, format!("cannot be read: {error}")))?;
    if start.starts_with(GZIP) {
        // Several members in a row are one file, as `cat a.gz b.gz` makes them.
        return Ok(Box::new(flate2::bufread::MultiGzDecoder::new(reader)));
    }
    if start.starts_with(ZSTANDARD) {
        let decoder = zstd::Decoder::with_buffer(reader)
            .map_err(|error| file_error(path, format!("is no Zstandard file: {error}")))?;
        return Ok(Box::new(decoder));
    }
    Ok(Box::new(reader))
}
