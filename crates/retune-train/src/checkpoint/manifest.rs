//! `manifest.json`: which files a checkpoint has, and the hash of each, so that
//! damage is found and not trained on.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use retune_model::is_file_name;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// The manifest's name.
pub(super) const MANIFEST: &str = "manifest.json";

/// The files of a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    files: BTreeMap<String, Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    bytes: u64,
    sha256: String,
}

impl Manifest {
    /// The files that `folder` holds now.
    pub(super) fn of(folder: &Path) -> Result<Self> {
        let mut files = BTreeMap::new();
        for name in names(folder)? {
            let entry = entry(&folder.join(&name))?;
            files.insert(name, entry);
        }
        Ok(Self { files })
    }

    pub(super) fn write(&self, folder: &Path) -> Result<()> {
        let path = folder.join(MANIFEST);
        let text = serde_json::to_string_pretty(self).unwrap_or_default();
        fs::write(&path, text).map_err(|error| super::unwritable(&path, &error))
    }

    /// Holds `folder` against its manifest.
    ///
    /// # Errors
    /// `File` for the first file that is missing, or is not what was written.
    pub(super) fn verify(folder: &Path) -> Result<()> {
        let path = folder.join(MANIFEST);
        let damaged = |path: &Path, problem: String| Error::File {
            path: path.to_path_buf(),
            problem,
        };
        let text = fs::read(&path).map_err(|error| super::unreadable(&path, &error))?;
        let manifest: Self = serde_json::from_slice(&text)
            .map_err(|error| damaged(&path, format!("is damaged: {error}")))?;
        if manifest.files.is_empty() {
            return Err(damaged(&path, "is damaged: it names no file".to_owned()));
        }
        for (name, expected) in &manifest.files {
            // A name that leads elsewhere was not written by retune.
            if !is_file_name(name) {
                return Err(damaged(
                    &path,
                    format!("is damaged: {name:?} is no file of it"),
                ));
            }
            let path = folder.join(name);
            let found = entry(&path)?;
            if found.bytes != expected.bytes {
                let problem = format!(
                    "is damaged: it has {} bytes, and had {}",
                    found.bytes, expected.bytes
                );
                return Err(damaged(&path, problem));
            }
            if found.sha256 != expected.sha256 {
                let problem = "is damaged: its bytes are not those that were written";
                return Err(damaged(&path, problem.to_owned()));
            }
        }
        Ok(())
    }
}

/// The files in `folder` but for the manifest.
fn names(folder: &Path) -> Result<Vec<String>> {
    let unreadable = |error: std::io::Error| super::unreadable(folder, &error);
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_file() && name != MANIFEST {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn entry(path: &Path) -> Result<Entry> {
    let mut hash = Sha256::new();
    let bytes = add_file(&mut hash, path)?;
    Ok(Entry {
        bytes,
        sha256: hex(&hash.finalize()),
    })
}

/// Adds the bytes of a file to `hash`, and says how many there are.
///
/// # Errors
/// `File` if it cannot be read.
pub(super) fn add_file(hash: &mut Sha256, path: &Path) -> Result<u64> {
    let unreadable = |error: std::io::Error| super::unreadable(path, &error);
    let mut file = File::open(path).map_err(unreadable)?;
    let mut buffer = vec![0; 1 << 20];
    let mut bytes = 0;
    loop {
        match file.read(&mut buffer).map_err(unreadable)? {
            0 => return Ok(bytes),
            count => {
                hash.update(&buffer[..count]);
                bytes += count as u64;
            }
        }
    }
}

/// Bytes as hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
