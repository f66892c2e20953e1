//! `retune train`: fine-tuning.

mod args;
pub(crate) mod show;
mod watch;

use std::fs;
use std::time::Instant;

use anyhow::Result;
use retune_compute::Device;
use retune_train::{Plan, Prepared, RunLog, TrainConfig, Trainer};
use sysinfo::{MemoryRefreshKind, ProcessRefreshKind, ProcessesToUpdate, RefreshKind, System};

use super::data::input::CacheArgs;
use crate::outcome::input_fault;
use crate::progress;
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
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    cache: CacheArgs,
    #[command(flatten)]
    settings: TrainArgs,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    match config(&args.settings)? {
        Some(config) => run_training(config, &args.cache),
        None => Ok(()),
    }
}

fn run_training(config: TrainConfig, cache: &CacheArgs) -> Result<()> {
    let output = config.output_dir.clone();
    if output.join("metrics.jsonl").exists() {
        return Err(input_fault(format!(
            "{} holds another run\nhint: give this one its own folder with output_dir, or delete that one",
            output.display()
        )));
    }
    let prepared = prepared(config, cache)?;
    let budget = budget(&prepared.config);
    let device = prepared.device(None)?;
    let plan = prepared.plan(&device, budget)?;
    show::beginning(&prepared, &device, &plan)?;
    fs::create_dir_all(&output)
        .map_err(|error| input_fault(format!("{} cannot be made: {error}", output.display())))?;
    let mut trainer = opened(prepared, &device, &plan)?;
    let mut log = RunLog::create(&mut trainer)?;
    let mut watch = Watch::new(&mut log, trainer.schedule.total_steps);
    let ending = trainer.run(&mut watch);
    watch.finish();
    log.finish(&trainer, ending.as_ref().ok().copied())?;
    show::end(&mut trainer, ending?, &device)
}

/// The data of a run, read while rows are counted.
pub(crate) fn prepared(config: TrainConfig, cache: &CacheArgs) -> Result<Prepared> {
    let bar = progress::rows();
    let prepared = Prepared::open(config, &cache.folder()?, &mut |rows| bar.set_position(rows));
    bar.finish_and_clear();
    Ok(prepared?)
}

/// The model of a run, and on the terminal how much of it is trained.
pub(crate) fn opened(prepared: Prepared, device: &Device, plan: &Plan) -> Result<Trainer> {
    let start = Instant::now();
    let mut trainer = prepared.start(device, plan)?;
    show::parameters(&mut trainer, start.elapsed())?;
    Ok(trainer)
}

/// Bytes that tensors may take: what the settings say, or nine tenths of what is
/// free; less what the program has taken already.
pub(crate) fn budget(config: &TrainConfig) -> u64 {
    let memory = RefreshKind::nothing().with_memory(MemoryRefreshKind::everything());
    let mut system = System::new_with_specifics(memory);
    let Some(limit) = config.memory_bytes() else {
        return system.available_memory() / 10 * 9;
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
