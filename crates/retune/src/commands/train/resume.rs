//! `retune train --resume`: going on with a run.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Result;
use retune_train::{Changes, Checkpoint, RunLock, RunLog, TrainConfig, Which, has_saved};

use super::args::{Beginning, printed};
use super::{Args, config, device, opened, planned, prepared, show, train};
use crate::outcome::input_fault;
use crate::output::{heard, plain, say, thousands, typed};

/// Goes on with the run in the settings' output folder.
pub(super) fn run(which: &str, args: &Args) -> Result<()> {
    let mut settings = args.settings.clone();
    let path = Path::new(which);
    let (which, run) = match which {
        "last" => (Which::Last, None),
        "best" => (Which::Best, None),
        _ if path.is_file() && path.ends_with("last") => (Which::Last, Some(parent_of(path)?)),
        _ if path.is_file() && path.ends_with("best") => (Which::Best, Some(parent_of(path)?)),
        // A file of settings may stand right behind --resume.
        _ if path.is_file() => {
            settings = settings.with_file(path);
            (Which::Last, None)
        }
        _ if !path.is_dir() => {
            return Err(input_fault(format!(
                "--resume {which}: there is no such folder\nhint: name a checkpoint's folder, or last or best"
            )));
        }
        _ if has_saved(path)? => (Which::Last, Some(path.to_path_buf())),
        _ => (Which::Folder(path.to_path_buf()), Some(parent_of(path)?)),
    };
    let file = settings.file()?;
    let named = TrainConfig::named_path("output_dir", None, settings.overrides());
    let output = match run {
        Some(run) => {
            if named.is_some_and(|named| named != run) {
                return Err(input_fault(format!(
                    "--output_dir: {} belongs to the run in {}, which goes on there\nhint: leave out --output_dir; or begin a run of its own from it, with --adapter",
                    path.display(),
                    run.display()
                )));
            }
            run
        }
        None => {
            if let Some(file) = file {
                // One that cannot be read would be taken for the usual folder's.
                TrainConfig::check_file(file)?;
            }
            TrainConfig::named_path("output_dir", file, settings.overrides())
                .unwrap_or_else(|| TrainConfig::default().output_dir)
        }
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
            let begin = Beginning::of_run(recorded, settings.overrides());
            let overrides = begin.resolved(settings.overrides())?;
            let mut config = recorded.changed(checkpoint.folder(), &overrides)?;
            config.output_dir.clone_from(&output);
            if printed(&settings, &config)? {
                return Ok(());
            }
            config
        }
    };
    config.output_dir = output;
    say(format!(
        "going on from {}, step {} of {}",
        plain(&checkpoint.folder().display().to_string()),
        thousands(checkpoint.step()),
        thousands(checkpoint.total_steps())
    ))?;
    let position = checkpoint.log().cloned();
    let changes = match args.allow_changed {
        true => Changes::Allowed,
        false => Changes::Refused,
    };
    let device = device(&config, config.memory_bytes())?;
    let prepared = prepared(config, Some((checkpoint, changes)), &args.cache)?;
    let (device, plan) = planned(&prepared, device)?;
    let mut trainer = opened(prepared, &device, &plan)?;
    heard(show::set_aside(&trainer))?;
    let output = trainer.config.output_dir.clone();
    let log = match position.filter(|position| position.is_there(&output)) {
        Some(position) => RunLog::resume(&mut trainer, &position)?,
        None => RunLog::create(&mut trainer)?,
    };
    train(trainer, log, &device)
}

/// The folder of the run in which a checkpoint, or what names one, lies.
fn parent_of(path: &Path) -> Result<PathBuf> {
    let whole = std::path::absolute(path)?;
    let parent = path.parent().filter(|name| !name.as_os_str().is_empty());
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
        let own = ["best", "last", "loss.svg", "eval", "runs"].into_iter();
        return match own.map(|name| output.join(name)).find(|path| path.exists()) {
            None => Ok(()),
            Some(path) => Err(input_fault(format!(
                "{} is no run's, and would be overwritten\nhint: name another folder with output_dir",
                path.display()
            ))),
        };
    }
    // It may be on its way.
    let lock = RunLock::acquire(output)?;
    if !saved {
        return Ok(());
    }
    let found = Checkpoint::find(output, &Which::Last);
    drop(lock);
    let (folder, named) = (output.display(), typed(output));
    let own = "give this one its own folder with output_dir, or delete that one";
    Err(input_fault(match found {
        Ok(found) if found.checkpoint.step() < found.checkpoint.total_steps() => format!(
            "{folder} holds a run that ended behind step {} of {}\nhint: retune train --resume --output_dir {named} goes on with it; or {own}",
            thousands(found.checkpoint.step()),
            thousands(found.checkpoint.total_steps())
        ),
        Ok(found) => format!(
            "{folder} holds a run that is done\nhint: retune train --resume --output_dir {named} --allow-changed --max_steps {} goes on with it; or {own}",
            2 * found.checkpoint.total_steps()
        ),
        Err(error) => format!("{folder} holds another run. {error}\nhint: {own}"),
    }))
}
