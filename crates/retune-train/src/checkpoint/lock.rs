//! One run at a time in an output folder.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::Path;

use super::unwritable;
use crate::error::{Error, Result};

/// Keeps other runs out of an output folder for as long as it lives. The system
/// gives it up when the process ends, however it does.
#[derive(Debug)]
pub struct RunLock {
    _file: File,
}

impl RunLock {
    /// Locks `output`, which is made where it is missing, and clears away what a
    /// run that was killed left half-written.
    ///
    /// # Errors
    /// `File` if another run holds it, or if it cannot be written.
    pub fn acquire(output: &Path) -> Result<Self> {
        fs::create_dir_all(output).map_err(|error| unwritable(output, &error))?;
        let path = output.join(".lock");
        let opened = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path);
        let mut file = opened.map_err(|error| unwritable(&path, &error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Only to name it.
                let _ = file.read_to_string(&mut holder);
                return Err(Error::File {
                    path: output.to_path_buf(),
                    problem: format!(
                        "is in use by another run (process {})\nhint: wait for it, or name another output_dir",
                        holder.trim()
                    ),
                });
            }
            Err(TryLockError::Error(error)) => return Err(unwritable(&path, &error)),
        }
        let process = std::process::id().to_string();
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(process.as_bytes()))
            .map_err(|error| unwritable(&path, &error))?;
        super::write::clear(output)?;
        Ok(Self { _file: file })
    }
}
