//! `retune train`: fine-tuning.

mod args;
mod resume;
pub(crate) mod show;
mod watch;

use std::time::Instant;

use anyhow::Result;
use retune_compute::Device;
use retune_train::{
    Changes, Checkpoint, Ending, Plan, Prepared, RunLock, RunLog, TrainConfig, Trainer,
};
use sysinfo::{MemoryRefreshKind, ProcessRefreshKind, ProcessesToUpdate, RefreshKind, System};

use super::data::input::{CacheArgs, template_warnings};
use crate::outcome::Stopped;
use crate::output::{gpu_refused, heard, kernel_folder, say};
use crate::progress;
use crate::signals::Signals;
pub(crate) use args::{TrainArgs, config};
use watch::Watch;

/// Fine-tune a model on data files.
///
/// Settings come from a file in YAML or TOML, from options, or from both; options
/// go over the file. Their names are those of Hugging Face and PEFT, and the
/// defaults are enough for most:
///
///   retune train --model Qwen2.5-0.5B-Instruct --data dialogues.json
///
///   retune train lora.yaml learning_rate=5e-5 --output_dir second
///
/// A run that was stopped goes on where it was, and ends as it would have:
///
///   retune train --resume --output_dir second
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Go on with the run in output_dir or in a folder, from its last checkpoint, its best
    /// one, or the one in a folder
    #[arg(long, value_name = "last|best|FOLDER", num_args = 0..=1, default_missing_value = "last")]
    resume: Option<String>,
    /// With --resume: let steps, rates and how often is validated differ from what they were
    #[arg(long, requires = "resume")]
    allow_changed: bool,
    #[command(flatten)]
    cache: CacheArgs,
    #[command(flatten)]
    settings: TrainArgs,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    if let Some(which) = &args.resume {
        return resume::run(which, args);
    }
    let Some(config) = config(&args.settings)? else {
        return Ok(());
    };
    let output = config.output_dir.clone();
    resume::check_unused(&output)?;
    let device = device(&config, config.memory_bytes())?;
    let prepared = prepared(config, None, &args.cache)?;
    let (device, plan) = planned(&prepared, device)?;
    let _lock = RunLock::acquire(&output)?;
    let mut trainer = opened(prepared, &device, &plan)?;
    RunLog::discard(&output)?;
    let log = RunLog::create(&mut trainer)?;
    train(trainer, log, &device)
}

/// The device of a run, opened before data are read: what is missing is told at once.
pub(crate) fn device(config: &TrainConfig, limit: Option<u64>) -> Result<Device> {
    Ok(config.open_device(limit, kernel_folder(), gpu_refused)?)
}

/// How a run fits into memory, and the device with the limit that follows; both are shown.
fn planned(prepared: &Prepared, found: Device) -> Result<(Device, Plan)> {
    let config = &prepared.config;
    let budget = budget(config, &found);
    // Of the machine's memory, data have some by now.
    let device = match config.memory.is_some() && found.device_memory().is_none() {
        true => device(config, Some(budget))?,
        false => found,
    };
    let plan = prepared.plan(&device, budget);
    heard(show::beginning(prepared, &device, plan.as_ref().ok()))?;
    Ok((device, plan?))
}

/// Trains until the end, or until a signal comes.
fn train(mut trainer: Trainer, mut log: RunLog, device: &Device) -> Result<()> {
    let signals = Signals::catch()?;
    let total = trainer.schedule.total_steps;
    let mut watch = Watch::new(&mut log, &signals, trainer.progress.step, total);
    let ending = trainer.run(&mut watch);
    watch.finish();
    let logged = log.finish(&trainer, ending.as_ref().ok().copied());
    let ending = ending?;
    logged?;
    let shown = heard(show::end(&trainer, ending, device));
    if ending == Ending::Stopped {
        let Some(signal) = signals.caught() else {
            return shown;
        };
        // A terminal that was closed is no reason for another exit code.
        let _ = show::stopped(&trainer, signal);
        return Err(Stopped { signal }.into());
    }
    shown?;
    // What comes now is not saved, and is ended at once.
    signals.release();
    if let Some(signal) = signals.caught().filter(|_| trainer.config.do_predict) {
        return Err(Stopped { signal }.into());
    }
    let (config, steps) = (trainer.config.clone(), trainer.progress.step);
    if config.do_predict {
        // Its memory is needed.
        drop(trainer);
        device.release_cached_memory();
        say("")?;
        super::eval::of_run(&config)?;
        say("")?;
    }
    heard(show::next(&config, steps, ending))
}

/// The data of a run, read while rows are counted.
pub(crate) fn prepared(
    config: TrainConfig,
    resume: Option<(Checkpoint, Changes)>,
    cache: &CacheArgs,
) -> Result<Prepared> {
    let bar = progress::rows();
    let progress = &mut |rows| bar.set_position(rows);
    let prepared = Prepared::open(config, resume, &cache.folder()?, progress);
    bar.finish_and_clear();
    let prepared = prepared?;
    template_warnings(&prepared.data.template_faults);
    args::check_template(
        &prepared.config,
        prepared.data.tokenizer().template_source(),
    );
    Ok(prepared)
}

/// The model of a run, and on the terminal how much of it is trained.
pub(crate) fn opened(prepared: Prepared, device: &Device, plan: &Plan) -> Result<Trainer> {
    let start = Instant::now();
    let mut trainer = prepared.start(device, plan)?;
    heard(show::parameters(&mut trainer, start.elapsed()))?;
    Ok(trainer)
}

/// What a GPU takes beside tensors: its libraries' working memory, and kernels.
const BESIDE_TENSORS: u64 = 600 << 20;

/// Bytes that tensors may take: what the settings say, or nine tenths of what is
/// free; less what the program has taken already. On a GPU, what is free there.
pub(crate) fn budget(config: &TrainConfig, device: &Device) -> u64 {
    if let Some(memory) = device.device_memory() {
        let free = memory.free.saturating_sub(BESIDE_TENSORS);
        return config.memory_bytes().unwrap_or(free).min(free);
    }
    let memory = RefreshKind::nothing().with_memory(MemoryRefreshKind::everything());
    let mut system = System::new_with_specifics(memory);
    let Some(limit) = config.memory_bytes() else {
        // In a container, less is free than on the machine.
        let container = system.cgroup_limits().map(|limits| limits.free_memory);
        let free = system.available_memory();
        return free.min(container.unwrap_or(free)) / 10 * 9;
    };
    let Ok(pid) = sysinfo::get_current_pid() else {
        return limit;
    };
    let only = ProcessesToUpdate::Some(&[pid]);
    let kind = ProcessRefreshKind::nothing().with_memory();
    system.refresh_processes_specifics(only, true, kind);
    let taken = system.process(pid).map_or(0, sysinfo::Process::memory);
    limit.saturating_sub(taken)
}
