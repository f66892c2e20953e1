//! `retune plan`: what a training will take, measured before it begins.

use std::io::Write;
use std::time::Instant;

use anyhow::Result;
use retune_train::{Prepared, Trainer};

use super::data::input::CacheArgs;
use super::train::{TrainArgs, budget, config, prepared, show};
use crate::chart::{Chart, terminal};
use crate::output::thousands;

/// Say what a training will take: tokens, steps, memory and time.
///
/// Takes the settings of `retune train`, and runs the longest step once, without
/// writing anything. Memory and time are measured on it.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    cache: CacheArgs,
    #[command(flatten)]
    settings: TrainArgs,
}

/// Points of the drawn schedule.
const POINTS: u64 = 200;

pub(crate) fn run(args: &Args) -> Result<()> {
    let Some(config) = config(&args.settings)? else {
        return Ok(());
    };
    let prepared = prepared(config, &args.cache)?;
    let device = prepared.device(None)?;
    let plan = prepared.plan(&device, budget(&prepared.config))?;
    show::beginning(&prepared, &device, &plan)?;
    schedule(&prepared)?;
    let mut trainer = prepared.start(&device, &plan)?;
    show::parameters(&mut trainer)?;
    measure(&mut trainer, plan.peak_bytes)
}

fn schedule(prepared: &Prepared) -> Result<()> {
    let schedule = &prepared.schedule;
    let total = schedule.total_steps;
    let points: Vec<(f64, f64)> = (0..=POINTS)
        .map(|point| (total - 1) * point / POINTS)
        .map(|step| ((step + 1) as f64, schedule.rate(step)))
        .collect();
    let chart = Chart::schedule(&points);
    terminal::draw(&mut anstream::stdout().lock(), &chart, 78, 8)?;
    Ok(())
}

/// One forward and backward pass of the longest step, twice: the first pays for
/// memory that the second finds ready.
fn measure(trainer: &mut Trainer, expected: u64) -> Result<()> {
    let device = trainer.device();
    let samples = trainer.data.longest_step()?;
    trainer.backward(&samples, 0)?;
    let start = Instant::now();
    trainer.backward(&samples, 0)?;
    let longest = start.elapsed().as_secs_f64();
    let tokens: usize = samples
        .iter()
        .map(|sample| sample.tokens.input_ids.len())
        .sum();
    let speed = tokens as f64 / longest.max(1e-9);
    let peak = device.memory().peak as f64;
    let all = trainer.data.train_tokens() as f64 / trainer.data.course.train().len() as f64;
    let per_step = all * trainer.samples_per_step() as f64;
    let seconds = per_step * trainer.schedule.total_steps as f64 / speed;
    let mut out = anstream::stdout().lock();
    show::line(
        &mut out,
        "longest",
        format!(
            "a step of {} tokens takes {longest:.2} s ({speed:.0} tokens/s); its tensors take {:.2} GB at the peak, {:+.0} % of what was expected",
            thousands(tokens as u64),
            peak / 1e9,
            100.0 * (peak / expected as f64 - 1.0)
        ),
    )?;
    show::line(
        &mut out,
        "time",
        format!(
            "about {} for {} steps of {per_step:.0} tokens, without validation and saving",
            duration(seconds),
            thousands(trainer.schedule.total_steps)
        ),
    )?;
    out.flush()?;
    Ok(())
}

fn duration(seconds: f64) -> String {
    let minutes = (seconds / 60.0).round() as u64;
    match minutes {
        0 => format!("{seconds:.0} s"),
        1..60 => format!("{minutes} min"),
        _ => format!("{} h {} min", minutes / 60, minutes % 60),
    }
}
