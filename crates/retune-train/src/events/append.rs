//! A log that grows at its end, and can be cut back to where it was.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// A file that is appended to.
#[derive(Debug)]
pub(super) struct AppendFile {
    path: PathBuf,
    out: BufWriter<File>,
    position: u64,
}

impl AppendFile {
    /// A new file, in a folder that is made where it is missing; `None` if
    /// there is one of that name already, which is left as it is.
    pub(super) fn create(path: &Path) -> Result<Option<Self>> {
        let folder = folder_of(path);
        std::fs::create_dir_all(folder).map_err(|error| unwritable(folder, &error))?;
        let file = match OpenOptions::new().write(true).create_new(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => return Ok(None),
            Err(error) => return Err(unwritable(path, &error)),
        };
        sync_folder(folder)?;
        Ok(Some(Self {
            path: path.to_path_buf(),
            out: BufWriter::new(file),
            position: 0,
        }))
    }

    /// An existing file, cut to `position`. Before anything is cut,
    /// `is_boundary` reads the file and says whether an entry ends there.
    pub(super) fn resume(
        path: &Path,
        position: u64,
        is_boundary: impl FnOnce(&File) -> std::io::Result<bool>,
    ) -> Result<Self> {
        let opened = OpenOptions::new().read(true).write(true).open(path);
        let mut file = opened.map_err(|error| unopenable(path, &error))?;
        let length = file
            .metadata()
            .map_err(|error| unopenable(path, &error))?
            .len();
        if position > length {
            return Err(Error::File {
                path: path.to_path_buf(),
                problem: format!(
                    "has {length} bytes, but had {position} when the checkpoint was made\n\
                     hint: the file was replaced or cut; put it back, or go on in another folder"
                ),
            });
        }
        if !is_boundary(&file).map_err(|error| unopenable(path, &error))? {
            return Err(Error::File {
                path: path.to_path_buf(),
                problem: format!(
                    "is not the file that the checkpoint remembers: up to byte {position}, \
                     where an entry should end, it is damaged or another file\n\
                     hint: put it back, or go on in another folder"
                ),
            });
        }
        file.set_len(position)
            .and_then(|()| file.seek(SeekFrom::Start(position)))
            .map_err(|error| unwritable(path, &error))?;
        Ok(Self {
            path: path.to_path_buf(),
            out: BufWriter::new(file),
            position,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the next entry will begin, in bytes.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Appends one whole entry.
    pub(super) fn append(&mut self, entry: &[u8]) -> Result<()> {
        self.out
            .write_all(entry)
            .map_err(|error| unwritable(&self.path, &error))?;
        self.position += entry.len() as u64;
        Ok(())
    }

    /// Hands everything to the system, so that others can read it.
    pub(super) fn flush(&mut self) -> Result<()> {
        self.out
            .flush()
            .map_err(|error| unwritable(&self.path, &error))
    }

    /// Brings everything to the disk, and says where the file ends.
    pub(super) fn sync(&mut self) -> Result<u64> {
        self.flush()?;
        self.out
            .get_ref()
            .sync_data()
            .map_err(|error| unwritable(&self.path, &error))?;
        Ok(self.position)
    }
}

fn folder_of(path: &Path) -> &Path {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
}

/// A file that a checkpoint remembers must not lose its name to a power cut.
#[cfg(unix)]
fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|error| unwritable(folder, &error))
}

/// Elsewhere folders cannot be opened as files.
#[cfg(not(unix))]
fn sync_folder(_: &Path) -> Result<()> {
    Ok(())
}

fn unopenable(path: &Path, error: &std::io::Error) -> Error {
    Error::File {
        path: path.to_path_buf(),
        problem: format!(
            "cannot be opened to go on writing: {error}\n\
             hint: put it back, or move metrics.jsonl and runs away to begin new logs"
        ),
    }
}

fn unwritable(path: &Path, error: &std::io::Error) -> Error {
    Error::File {
        path: path.to_path_buf(),
        problem: format!("cannot be written: {error}"),
    }
}
