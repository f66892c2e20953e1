//! Writing a checkpoint, whole or not at all.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use retune_compute::DType;
use retune_data::TOKENIZER_FILES;
use retune_model::{CONFIG_FILES, Durability, Tuning, Weights, copy_files, write_tensors};
use serde::Serialize;
use serde_json::json;

use super::find::Checkpoint;
use super::manifest::Manifest;
use super::state::State;
use super::{ABOUT, OPTIMIZER, STATE, checkpoints, remove_file, unwritable};
use crate::error::Result;
use crate::log::LogPosition;
use crate::trainer::Trainer;

/// Endings of folders that are being written, and that are being replaced.
const PARTIAL: &str = ".tmp";
const REPLACED: &str = ".old";
/// Of those that a run went back from.
const ABANDONED: &str = ".abandoned";

/// A checkpoint whose files are written and that is on its way to the disk, while
/// training goes on.
#[derive(Debug)]
pub(crate) struct Saving {
    thread: JoinHandle<Result<PathBuf>>,
}

impl Saving {
    /// Waits until the checkpoint is there. Returned is its folder.
    ///
    /// # Errors
    /// `File` if it cannot be; then what was there before still is.
    pub(crate) fn finish(self) -> Result<PathBuf> {
        let ended = self.thread.join();
        ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Trainer {
    /// Writes the files of a checkpoint, and has another thread see to it that they are
    /// on the disk, give it its name `checkpoint-N` in the output folder, and name it in
    /// `last` and, if it is the `best` so far, in `best`. Then the oldest are deleted, but
    /// for those two. `log` is where the logs stand.
    ///
    /// # Errors
    /// `File` if they cannot be written; then what was there before still is.
    pub(crate) fn save(&mut self, best: bool, log: Option<LogPosition>) -> Result<Saving> {
        let output = self.config.output_dir.clone();
        let name = format!("checkpoint-{}", self.progress.step);
        let partial = output.join(format!("{name}{PARTIAL}"));
        remove(&partial)?;
        let written = self.write_all(&partial, log);
        if let Err(error) = written {
            // A full disk is no reason to leave half a checkpoint on it.
            let _ = remove(&partial);
            return Err(error);
        }
        let limit = self.config.save_total_limit;
        let thread = std::thread::spawn(move || {
            let committed = commit(&output, &name, best, limit);
            if committed.is_err() {
                let _ = remove(&partial);
            }
            committed
        });
        Ok(Saving { thread })
    }

    fn write_all(&mut self, folder: &Path, log: Option<LogPosition>) -> Result<()> {
        fs::create_dir_all(folder).map_err(|error| unwritable(folder, &error))?;
        self.write_model(folder)?;
        self.write_moments(&folder.join(OPTIMIZER))?;
        let find = self.find_origin();
        let origin = self.origin.get(find)?.clone();
        let template = self.data.encoder.tokenizer.template_source();
        let about = json!({
            "base_model": self.config.model,
            "system": self.config.system,
            "chat_template": template,
            "origin": origin,
            "progress": self.progress,
            "settings": self.config,
        });
        write_json(&folder.join(ABOUT), &about)?;
        let state = State {
            progress: self.progress.clone(),
            losses: self.losses.clone(),
            total_steps: self.schedule.total_steps,
            origin,
            fit: self.fit,
            log,
            settings: self.config.clone(),
        };
        write_json(&folder.join(STATE), &state)
    }

    fn write_model(&mut self, folder: &Path) -> Result<()> {
        if let Tuning::Lora(lora) = &self.tuning {
            let base = self.config.model.display().to_string();
            return Ok(self
                .model
                .save_adapter(folder, &base, lora, Durability::Deferred)?);
        }
        let source = Weights::open(&self.config.model)?;
        self.model
            .save_model(folder, DType::F32, &source, Durability::Deferred)?;
        let names = CONFIG_FILES.into_iter().chain(TOKENIZER_FILES);
        Ok(copy_files(&self.config.model, folder, names)?)
    }

    fn write_moments(&mut self, path: &Path) -> Result<()> {
        let parameters = self.model.parameters();
        let mut tensors = BTreeMap::new();
        for (parameter, moments) in parameters.iter().zip(self.optimizer.moments()) {
            let [mean, square] = moment_names(&parameter.name);
            tensors.insert(mean, &moments.exp_avg);
            tensors.insert(square, &moments.exp_avg_sq);
        }
        let shapes = tensors
            .iter()
            .map(|(name, tensor)| (name.clone(), tensor.shape().to_vec()))
            .collect();
        let bytes_of = |name: &str| Ok(tensors[name].to_bytes());
        Ok(write_tensors(
            path,
            DType::F32,
            &shapes,
            Durability::Deferred,
            bytes_of,
        )?)
    }
}

/// Brings the files of a checkpoint to the disk and gives it its name, at last.
fn commit(output: &Path, name: &str, best: bool, limit: usize) -> Result<PathBuf> {
    let partial = output.join(format!("{name}{PARTIAL}"));
    let folder = output.join(name);
    Manifest::of(&partial)?.write(&partial)?;
    sync(&partial)?;
    let replaced = output.join(format!("{name}{REPLACED}"));
    if folder.exists() {
        remove(&replaced)?;
        rename(&folder, &replaced)?;
    }
    rename(&partial, &folder)?;
    sync_folder(output)?;
    // The one before it is given up only for one that can be read back.
    Manifest::verify(&folder)?;
    remove(&replaced)?;
    point(output, "last", name)?;
    if best {
        point(output, "best", name)?;
    }
    sync_folder(output)?;
    prune(output, limit)?;
    Ok(folder)
}

/// Deletes the oldest checkpoints beyond `limit`, but for those that are named.
fn prune(output: &Path, limit: usize) -> Result<()> {
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

impl Checkpoint {
    /// Names it in `last`, and what was the best then in `best`: a run may have been
    /// killed before it did, or go back in what it did. Checkpoints of later steps, which
    /// are no longer of this run, get other names, which are returned.
    pub(super) fn point(&self) -> Result<Vec<PathBuf>> {
        let Some(output) = self.folder.parent() else {
            return Ok(Vec::new());
        };
        let mut aside = Vec::new();
        let named = |pointer: &str, step: u64| {
            let name = format!("checkpoint-{step}");
            match output.join(&name).is_dir() {
                true => point(output, pointer, &name),
                false => Ok(()),
            }
        };
        named("last", self.state.progress.step)?;
        for (step, folder) in checkpoints(output)? {
            if step > self.state.progress.step {
                let name = format!("checkpoint-{step}{ABANDONED}");
                // Those of an earlier time are kept, too.
                let others = (2..).map(|number| format!("{name}-{number}"));
                let names = std::iter::once(name.clone()).chain(others);
                let mut free = names
                    .map(|name| output.join(name))
                    .filter(|path| !path.exists());
                let path = free.next().expect("numbers do not end");
                rename(&folder, &path)?;
                aside.push(path);
            }
        }
        let best = self.state.progress.best.map(|(step, _)| step);
        match best.filter(|step| output.join(format!("checkpoint-{step}")).is_dir()) {
            Some(step) => named("best", step)?,
            // What it names is no longer of this run.
            None => remove_file(&output.join("best"))?,
        }
        Ok(aside)
    }
}

/// The names of a parameter's moments.
pub(super) fn moment_names(parameter: &str) -> [String; 2] {
    ["exp_avg", "exp_avg_sq"].map(|moment| format!("{parameter}.{moment}"))
}

/// Clears away what a run that was killed left in `output`: a checkpoint that was
/// not finished, and one that was being replaced, which gets its name back if
/// there is no other.
pub(super) fn clear(output: &Path) -> Result<()> {
    let unreadable = |error: std::io::Error| super::unreadable(output, &error);
    for entry in fs::read_dir(output).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        if !name.starts_with("checkpoint-") {
            continue;
        }
        if name.ends_with(PARTIAL) {
            remove(&path)?;
        } else if let Some(name) = name.strip_suffix(REPLACED) {
            let folder = output.join(name);
            match Manifest::verify(&folder) {
                Ok(()) => remove(&path)?,
                Err(_) => {
                    remove(&folder)?;
                    rename(&path, &folder)?;
                }
            }
        }
    }
    Ok(())
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value).map_err(std::io::Error::from);
    let written = text.and_then(|text| fs::write(path, text));
    written.map_err(|error| unwritable(path, &error))
}

/// Writes the name of a checkpoint into the file `pointer`, whole or not at all.
fn point(output: &Path, pointer: &str, name: &str) -> Result<()> {
    let path = output.join(pointer);
    let partial = output.join(format!("{pointer}{PARTIAL}"));
    let written = fs::write(&partial, name)
        .and_then(|()| sync_file(&partial))
        .and_then(|()| fs::rename(&partial, &path));
    written.map_err(|error| {
        let _ = fs::remove_file(&partial);
        unwritable(&path, &error)
    })
}

/// Makes sure that a folder and its files are on the disk.
fn sync(folder: &Path) -> Result<()> {
    let synced = || -> std::io::Result<()> {
        for entry in fs::read_dir(folder)? {
            sync_file(&entry?.path())?;
        }
        Ok(())
    };
    synced().map_err(|error| unwritable(folder, &error))?;
    sync_folder(folder)
}

fn sync_file(path: &Path) -> std::io::Result<()> {
    // Windows syncs only what may be written.
    OpenOptions::new().write(true).open(path)?.sync_all()
}

/// Makes sure that the names in a folder are on the disk.
fn sync_folder(folder: &Path) -> Result<()> {
    // Windows has no handle of a folder to ask.
    if cfg!(unix) {
        let synced = File::open(folder).and_then(|folder| folder.sync_all());
        synced.map_err(|error| unwritable(folder, &error))?;
    }
    Ok(())
}

fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).map_err(|error| unwritable(to, &error))
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(unwritable(folder, &error))
        }
        _ => Ok(()),
    }
}
