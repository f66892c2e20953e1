//! `retune train --resume`: going on with a run.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Result;
use retune_train::config::Purpose;
use retune_train::{Changes, Checkpoint, RunLock, RunLog, TrainConfig, Which, has_saved};

use super::{Args, config, device, opened, planned, prepared, show, train};
use crate::builtin;
use crate::outcome::input_fault;
use crate::output::{plain, thousands};

/// Goes on with the run in the settings' output folder.
pub(super) fn run(which: &str, args: &Args) -> Result<()> {
    let mut settings = args.settings.clone();
    let which = match which {
        "last" => Which::Last,
        "best" => Which::Best,
        // A file of settings may stand right behind --resume.
        path if Path::new(path).is_file() => {
            settings = settings.with_file(Path::new(path));
            Which::Last
        }
        path => Which::Folder(PathBuf::from(path)),
    };
    let file = settings.file()?;
    let output = match &which {
        Which::Folder(folder) => {
            let output = output_of(folder)?;
            let named = settings
                .overrides()
                .iter()
                .find(|given| given.name == "output_dir");
            if named.is_some_and(|given| given.values != [output.display().to_string()]) {
                return Err(input_fault(format!(
                    "--output_dir: this checkpoint belongs to the run in {}, which goes on there\nhint: leave out --output_dir; or begin a run of its own from it, with --adapter {}",
                    output.display(),
                    folder.display()
                )));
            }
            output
        }
        _ => TrainConfig::load(file, settings.overrides(), Purpose::Print)?.output_dir,
    };
    if !output.is_dir() {
        return Err(input_fault(format!(
            "there is no run in {0}: there is no such folder\nhint: name the run's folder with --output_dir",
            output.display()
        )));
    }
    let _lock = RunLock::acquire(&output)?;
    let found = Checkpoint::find(&output, &which)?;
    let checkpoint = found.checkpoint;
    let mut err = anstream::stderr().lock();
    for problem in &found.damaged {
        writeln!(err, "warning: {}", plain(problem))?;
    }
    drop(err);
    let mut config = match file {
        Some(_) => match config(&settings)? {
            Some(config) => config,
            None => return Ok(()),
        },
        None => {
            let recorded = checkpoint.settings();
            let overrides = builtin::resolved(settings.overrides(), &recorded.model)?;
            recorded.changed(checkpoint.folder(), &overrides)?
        }
    };
    config.output_dir = output;
    anstream::println!(
        "going on from {}, step {} of {}",
        plain(&checkpoint.folder().display().to_string()),
        thousands(checkpoint.step()),
        thousands(checkpoint.total_steps())
    );
    let position = checkpoint.log().cloned();
    let changes = match args.allow_changed {
        true => Changes::Allowed,
        false => Changes::Refused,
    };
    let device = device(&config, config.memory_bytes())?;
    let prepared = prepared(config, Some((checkpoint, changes)), &args.cache)?;
    let (device, plan) = planned(&prepared, device)?;
    let mut trainer = opened(prepared, &device, &plan)?;
    super::heard(show::set_aside(&trainer))?;
    let output = trainer.config.output_dir.clone();
    let log = match position.filter(|position| position.is_there(&output)) {
        Some(position) => RunLog::resume(&mut trainer, &position)?,
        None => RunLog::create(&mut trainer)?,
    };
    train(trainer, log, &device)
}

/// The folder of the run that a checkpoint belongs to.
fn output_of(checkpoint: &Path) -> Result<PathBuf> {
    if !checkpoint.is_dir() {
        return Err(input_fault(format!(
            "--resume {}: there is no such folder\nhint: name a checkpoint's folder, or last or best",
            checkpoint.display()
        )));
    }
    let whole = std::path::absolute(checkpoint)?;
    let parent = checkpoint
        .parent()
        .filter(|name| !name.as_os_str().is_empty());
    Ok(match (parent, whole.parent()) {
        (Some(parent), _) => parent.to_path_buf(),
        (None, Some(_)) => PathBuf::from("."),
        (None, None) => whole,
    })
}

/// Refuses an output folder in which there is a run already, with what can be done. One
/// that left no checkpoint is none: there is nothing to go on from.
pub(super) fn check_unused(output: &Path) -> Result<()> {
    if !output.is_dir() {
        return Ok(());
    }
    let begun = output.join("metrics.jsonl").exists();
    let saved = has_saved(output)?;
    if !begun && !saved {
        return Ok(());
    }
    // It may be on its way.
    let lock = RunLock::acquire(output)?;
    if !saved {
        return Ok(());
    }
    let found = Checkpoint::find(output, &Which::Last);
    drop(lock);
    let folder = output.display();
    let own = "give this one its own folder with output_dir, or delete that one";
    Err(input_fault(match found {
        Ok(found) if found.checkpoint.step() < found.checkpoint.total_steps() => format!(
            "{folder} holds a run that ended behind step {} of {}\nhint: retune train --resume --output_dir {folder} goes on with it; or {own}",
            thousands(found.checkpoint.step()),
            thousands(found.checkpoint.total_steps())
        ),
        Ok(_) => format!("{folder} holds another run\nhint: {own}"),
        Err(error) => format!("{folder} holds another run. {error}\nhint: {own}"),
    }))
}
