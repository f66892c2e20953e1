//! Checkpoints: folders that are there whole or not at all.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use retune_compute::DType;
use retune_model::{Tuning, Weights};
use serde_json::json;

use crate::error::{Error, Result};
use crate::trainer::Trainer;

/// What of a model's folder belongs to its tokenizer and configuration.
const MODEL_FILES: [&str; 9] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
];

impl Trainer {
    /// Writes `checkpoint-N` into the output folder, as PEFT's adapter or as a
    /// model's folder, and names it in `last` and, if it is the best so far, in
    /// `best`. Then the oldest are deleted, but for those two.
    ///
    /// # Errors
    /// `File` if it cannot be written; then what was there before still is.
    pub fn save(&mut self, best: bool) -> Result<PathBuf> {
        let output = self.config.output_dir.clone();
        let name = format!("checkpoint-{}", self.progress.step);
        let partial = output.join(format!("{name}.tmp"));
        let folder = output.join(&name);
        remove(&partial)?;
        fs::create_dir_all(&partial).map_err(|error| unwritable(&partial, &error))?;
        self.write(&partial)?;
        sync(&partial)?;
        remove(&folder)?;
        fs::rename(&partial, &folder).map_err(|error| unwritable(&folder, &error))?;
        point(&output, "last", &name)?;
        if best {
            point(&output, "best", &name)?;
        }
        sync(&output)?;
        self.prune(&output)?;
        Ok(folder)
    }

    fn write(&mut self, folder: &Path) -> Result<()> {
        match &self.tuning {
            Tuning::Lora(lora) => {
                let base = self.config.model.display().to_string();
                self.model.save_adapter(folder, &base, lora)?;
            }
            _ => {
                let source = Weights::open(&self.config.model)?;
                self.model.save_model(folder, DType::F32, &source)?;
                for name in MODEL_FILES {
                    let from = self.config.model.join(name);
                    if from.exists() {
                        fs::copy(&from, folder.join(name))
                            .map_err(|error| unwritable(&folder.join(name), &error))?;
                    }
                }
            }
        }
        let path = folder.join("retune.json");
        let text = serde_json::to_string_pretty(&json!({
            "base_model": self.config.model,
            "system": self.config.system,
            "tokenizer": hex(&self.data.tokenizer().fingerprint()),
            "progress": self.progress,
            "settings": self.config,
        }));
        let text = text.unwrap_or_default();
        fs::write(&path, text).map_err(|error| unwritable(&path, &error))
    }

    /// Deletes the oldest checkpoints beyond `save_total_limit`.
    fn prune(&self, output: &Path) -> Result<()> {
        let limit = self.config.save_total_limit;
        let mut found = checkpoints(output)?;
        if limit == 0 {
            return Ok(());
        }
        let named: Vec<String> = ["last", "best"]
            .iter()
            .filter_map(|pointer| fs::read_to_string(output.join(pointer)).ok())
            .map(|name| name.trim().to_owned())
            .collect();
        while found.len() > limit {
            let kept = |(_, folder): &(u64, PathBuf)| {
                named
                    .iter()
                    .any(|name| folder.file_name().is_some_and(|file| file == name.as_str()))
            };
            let Some(oldest) = found.iter().position(|checkpoint| !kept(checkpoint)) else {
                break;
            };
            let (_, folder) = found.remove(oldest);
            remove(&folder)?;
        }
        Ok(())
    }
}

/// The checkpoints of an output folder, by their steps.
///
/// # Errors
/// `File` if the folder cannot be read.
pub fn checkpoints(output: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let unreadable = |error: std::io::Error| Error::File {
        path: output.to_path_buf(),
        problem: format!("cannot be read: {error}"),
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(output).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let step = name.and_then(|name| name.strip_prefix("checkpoint-"));
        if let Some(step) = step.and_then(|step| step.parse().ok()) {
            found.push((step, path));
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Writes the name of a checkpoint into the file `pointer`, whole or not at all.
fn point(output: &Path, pointer: &str, name: &str) -> Result<()> {
    let path = output.join(pointer);
    let partial = output.join(format!("{pointer}.tmp"));
    let written = fs::write(&partial, name)
        .and_then(|()| File::open(&partial)?.sync_all())
        .and_then(|()| fs::rename(&partial, &path));
    written.map_err(|error| unwritable(&path, &error))
}

/// Makes sure that a folder and its files are on the disk.
fn sync(folder: &Path) -> Result<()> {
    let synced = || -> std::io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_file() {
                File::open(&path)?.sync_all()?;
            }
        }
        // Windows has no handle of a folder to ask.
        if cfg!(unix) {
            File::open(folder)?.sync_all()?;
        }
        Ok(())
    };
    synced().map_err(|error| unwritable(folder, &error))
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(unwritable(folder, &error))
        }
        _ => Ok(()),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unwritable(path: &Path, error: &std::io::Error) -> Error {
    Error::File {
        path: path.to_path_buf(),
        problem: format!("cannot be written: {error}"),
    }
}
