//! Checkpoints: folders `checkpoint-N` that are there whole or not at all, from
//! which a run goes on to the same bytes.
//!
//! Each is a plain adapter of PEFT's, or a model's folder, and holds beside it:
//!
//! | file | what is in it |
//! | --- | --- |
//! | `retune.json` | what the adapter belongs to: base model, system prompt, template, data, settings |
//! | `optimizer.safetensors` | the moments of every parameter, f32 |
//! | `trainer_state.json` | how far the run is, and where its logs stood |
//! | `manifest.json` | size and SHA-256 of all these files |
//!
//! The files `last` and `best` in the output folder name one of them each.

mod find;
mod lock;
mod manifest;
mod resume;
mod state;
mod write;

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

pub use find::{Checkpoint, Found, Which};
pub use lock::RunLock;
pub use resume::Changes;
pub(crate) use state::{LateOrigin, records_base};
pub use state::{Origin, check_adapter_base};
pub(crate) use write::Saving;

const OPTIMIZER: &str = "optimizer.safetensors";
const ABOUT: &str = "retune.json";
const STATE: &str = "trainer_state.json";

/// The checkpoints of an output folder, by their steps.
///
/// # Errors
/// `File` if the folder cannot be read.
pub fn checkpoints(output: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let unreadable = |error: std::io::Error| unreadable(output, &error);
    let mut found = Vec::new();
    for entry in fs::read_dir(output).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if let Some(step) = step_of(&path) {
            found.push((step, path));
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Whether a run in `output` has saved anything, even if its checkpoints were moved away.
///
/// # Errors
/// `File` if the folder cannot be read.
pub fn has_saved(output: &Path) -> Result<bool> {
    // It is written with every checkpoint, and stays.
    Ok(output.join("last").exists() || !checkpoints(output)?.is_empty())
}

/// Removes a file, if it is there.
pub(crate) fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::File {
            path: path.to_path_buf(),
            problem: format!("cannot be taken away: {error}"),
        }),
        _ => Ok(()),
    }
}

/// The step of the checkpoint in this folder, by its name.
fn step_of(folder: &Path) -> Option<u64> {
    let name = folder.file_name()?.to_str()?;
    name.strip_prefix("checkpoint-")?.parse().ok()
}

fn unreadable(path: &Path, error: &std::io::Error) -> Error {
    Error::File {
        path: path.to_path_buf(),
        problem: match error.kind() {
            std::io::ErrorKind::NotFound => "is missing".to_owned(),
            _ => format!("cannot be read: {error}"),
        },
    }
}

fn unwritable(path: &Path, error: &std::io::Error) -> Error {
    Error::File {
        path: path.to_path_buf(),
        problem: format!("cannot be written: {error}"),
    }
}
