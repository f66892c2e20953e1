//! Which checkpoint a run goes on from.

use std::fs;
use std::path::{Path, PathBuf};

use super::manifest::Manifest;
use super::state::State;
use super::{STATE, checkpoints, step_of, unreadable};
use crate::config::TrainConfig;
use crate::error::{Error, Result};
use crate::log::LogPosition;

/// Which checkpoint is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// The newest that is whole.
    Last,
    /// That with the lowest validation loss.
    Best,
    /// The one in this folder.
    Folder(PathBuf),
}

/// A checkpoint whose files are those that were written.
#[derive(Debug)]
pub struct Checkpoint {
    pub(super) folder: PathBuf,
    pub(super) state: State,
}

/// What was found.
#[derive(Debug)]
pub struct Found {
    /// The checkpoint to go on from.
    pub checkpoint: Checkpoint,
    /// What is wrong with newer ones, which are not used.
    pub damaged: Vec<String>,
}

impl Checkpoint {
    /// The checkpoint in `folder`.
    ///
    /// # Errors
    /// `File` if a file of it is missing or not the one that was written.
    pub fn open(folder: &Path) -> Result<Self> {
        Manifest::verify(folder)?;
        let path = folder.join(STATE);
        let text = fs::read(&path).map_err(|error| unreadable(&path, &error))?;
        let state = serde_json::from_slice(&text).map_err(|error| Error::File {
            path: path.clone(),
            problem: format!("is not what this version of retune writes: {error}"),
        })?;
        Ok(Self {
            folder: folder.to_path_buf(),
            state,
        })
    }

    /// Finds a checkpoint of the run in `output`. Where the last one is damaged,
    /// the one before it is taken, and so on.
    ///
    /// # Errors
    /// `File` if there is none, or if a damaged one was asked for by name; all that
    /// is wrong with those that are there.
    pub fn find(output: &Path, which: &Which) -> Result<Found> {
        let named = |pointer: &str| -> Option<PathBuf> {
            let name = fs::read_to_string(output.join(pointer)).ok()?;
            let folder = output.join(name.trim());
            step_of(&folder).map(|_| folder)
        };
        let none = |problem: String| Error::File {
            path: output.to_path_buf(),
            problem,
        };
        let alone = |folder: &Path| {
            Ok(Found {
                checkpoint: Self::open(folder)?,
                damaged: Vec::new(),
            })
        };
        match which {
            Which::Folder(folder) => return alone(folder),
            Which::Best => {
                let best = named("best");
                return alone(&best.ok_or_else(|| {
                    none(
                        "has no best checkpoint yet\nhint: --resume last goes on from the newest"
                            .to_owned(),
                    )
                })?);
            }
            Which::Last => {}
        }
        let mut candidates = match output.is_dir() {
            true => checkpoints(output)?,
            false => Vec::new(),
        };
        // Newer ones than the last are left from a run that was gone back in.
        if let Some(last) = named("last").as_deref().and_then(step_of) {
            candidates.retain(|(step, _)| *step <= last);
        }
        let mut damaged = Vec::new();
        for (_, folder) in candidates.iter().rev() {
            match Self::open(folder) {
                Ok(checkpoint) => {
                    return Ok(Found {
                        checkpoint,
                        damaged,
                    });
                }
                Err(error) => damaged.push(error.to_string()),
            }
        }
        Err(none(match damaged.is_empty() {
            true => "holds no checkpoint to go on from\nhint: leave out --resume to begin a run"
                .to_owned(),
            false => format!(
                "holds no checkpoint that is whole\n  {}\nhint: begin again in another output_dir",
                damaged.join("\n  ")
            ),
        }))
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Optimizer steps that were done.
    pub fn step(&self) -> u64 {
        self.state.progress.step
    }

    /// Optimizer steps that the run was to have.
    pub fn total_steps(&self) -> u64 {
        self.state.total_steps
    }

    /// The settings of the run.
    pub fn settings(&self) -> &TrainConfig {
        &self.state.settings
    }

    /// Where the logs of the run stood.
    pub fn log(&self) -> Option<&LogPosition> {
        self.state.log.as_ref()
    }
}
