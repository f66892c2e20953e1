//! Which models are measured, under which names.

use std::path::{Path, PathBuf};

use anyhow::Result;
use retune_generate::{Assistant, Source};

use super::Args;
use crate::builtin;
use crate::outcome::input_fault;
use crate::output::last_part;

/// A model under a name.
pub(super) struct Named {
    pub(super) name: String,
    pub(super) source: Source,
    /// The run that it is a checkpoint of, if it is one.
    pub(super) run: Option<String>,
}

/// The models that are asked for; before a single trained one comes its base.
pub(super) fn named(args: &Args) -> Result<Vec<Named>> {
    let mut folders = Vec::new();
    for folder in &args.folders {
        match args.checkpoints {
            true => folders.extend(checkpoints(folder)?),
            false => folders.push(folder.clone()),
        }
    }
    let mut subjects = Vec::new();
    for folder in &folders {
        let source = args.open.one_of_several(folder)?;
        if subjects.is_empty() && !args.no_base && args.folders.len() == 1 {
            subjects.extend(base(&source)?);
        }
        subjects.push(Named {
            name: last_part(folder),
            run: run_of(&source),
            source,
        });
    }
    // Names that are taken get what stands before them, or else a number.
    let taken: Vec<String> = subjects.iter().map(|own| own.name.clone()).collect();
    for (subject, folder) in subjects.iter_mut().rev().zip(folders.iter().rev()) {
        if taken.iter().filter(|name| **name == subject.name).count() > 1 {
            subject.name = folder.display().to_string();
        }
    }
    for index in 1..subjects.len() {
        let (before, own) = subjects.split_at_mut(index);
        let same = before
            .iter()
            .filter(|other| other.name == own[0].name)
            .count();
        if same > 0 {
            own[0].name = format!("{} ({})", own[0].name, same + 1);
        }
    }
    Ok(subjects)
}

/// The folder in which the checkpoint lies that `source` is.
fn run_of(source: &Source) -> Option<String> {
    let folder = source.adapter.as_ref().unwrap_or(&source.model);
    let name = folder.file_name()?.to_str()?;
    let run = folder.parent()?;
    let run = run.canonicalize().unwrap_or_else(|_| run.to_path_buf());
    name.starts_with("checkpoint-")
        .then(|| run.display().to_string())
}

/// What an adapter stands on, or a model that was trained as a whole began as, if that
/// is still there. It is asked as the trained one is.
fn base(source: &Source) -> Result<Option<Named>> {
    let model = match (&source.adapter, &source.trained_from) {
        (Some(_), _) => source.model.clone(),
        (None, Some(base)) => builtin::resolve(base)?,
        (None, None) => return Ok(None),
    };
    let is_there = model.join("config.json").is_file();
    Ok(is_there.then(|| Named {
        name: "base".to_owned(),
        run: None,
        source: Source {
            model,
            adapter: None,
            ..source.clone()
        },
    }))
}

/// The checkpoints of the run in `folder`, by their steps.
fn checkpoints(folder: &Path) -> Result<Vec<PathBuf>> {
    if folder.is_file() {
        return Err(input_fault(format!(
            "{} is no folder\nhint: name a run's folder with --checkpoints, and not one checkpoint of it",
            folder.display()
        )));
    }
    let found = retune_train::checkpoints(folder)?;
    match found.is_empty() {
        true => Err(input_fault(format!(
            "{} holds no checkpoints\nhint: name a run's folder with --checkpoints",
            folder.display()
        ))),
        false => Ok(found.into_iter().map(|(_, path)| path).collect()),
    }
}

/// Calls `work` with each of `subjects`, opened one after the other. Adapters of the
/// model that is open take its place, without opening it again.
pub(super) fn each(
    args: &Args,
    subjects: &[Named],
    work: &mut dyn FnMut(&Assistant, &Named) -> Result<()>,
) -> Result<()> {
    let mut open: Option<Assistant> = None;
    for subject in subjects {
        let source = &subject.source;
        let switched = match &mut open {
            Some(assistant) => assistant.switch(source)?,
            None => false,
        };
        if !switched {
            // One model at a time is in memory.
            open = None;
        }
        let assistant = match &mut open {
            Some(assistant) => assistant,
            None => open.insert(args.open.open(source.clone())?),
        };
        work(assistant, subject)?;
    }
    Ok(())
}
