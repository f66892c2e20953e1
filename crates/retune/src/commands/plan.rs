//! `retune plan`: what a training will take, measured before it begins.

use std::io::Write;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use anyhow::Result;
use retune_compute::{DType, Device, OpTime, ceiling};
use retune_train::{Event, Observer, Prepared, Trainer};

use super::data::input::CacheArgs;
use super::train::{TrainArgs, budget, config, device, opened, prepared, show};
use crate::chart::{Chart, terminal};
use crate::output::thousands;

/// Say what a training will take: tokens, steps, memory and time.
///
/// Takes the settings of `retune train`, and takes a step of the longest samples, twice,
/// without writing anything. Memory and time are measured on it.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    cache: CacheArgs,
    #[command(flatten)]
    settings: TrainArgs,

    /// Also take the first steps of the run, and show how long each kind of
    /// operation takes of them
    #[arg(long, value_name = "STEPS", num_args = 0..=1, default_missing_value = "8")]
    profile: Option<NonZeroU32>,
}

/// Points of the drawn schedule.
const POINTS: u64 = 200;

pub(crate) fn run(args: &Args) -> Result<()> {
    let Some(config) = config(&args.settings)? else {
        return Ok(());
    };
    let device = device(&config, None)?;
    let device = match args.profile {
        Some(_) => device.profiled(),
        None => device,
    };
    let prepared = prepared(config, None, &args.cache)?;
    let plan = prepared.plan(&device, budget(&prepared.config, &device));
    show::beginning(&prepared, &device, plan.as_ref().ok())?;
    schedule(&prepared)?;
    let plan = plan?;
    let mut trainer = opened(prepared, &device, &plan)?;
    measure(&mut trainer, plan.peak_bytes)?;
    match args.profile {
        Some(steps) => profile(&mut trainer, &device, steps.get()),
        None => Ok(()),
    }
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

/// A step of the longest samples, twice: the first pays for memory that the second
/// finds ready.
fn measure(trainer: &mut Trainer, expected: u64) -> Result<()> {
    let device = trainer.device();
    let samples = trainer.data.longest_step()?;
    trainer.update(&samples, &mut Unobserved)?;
    // A GPU may still be at work when an update returns.
    device.synchronize();
    let start = Instant::now();
    let step = trainer.update(&samples, &mut Unobserved)?;
    device.synchronize();
    let longest = start.elapsed().as_secs_f64();
    let tokens = step.tokens;
    let speed = tokens as f64 / longest.max(1e-9);
    let peak = device.memory().peak as f64;
    let per_step = trainer.data.mean_step_tokens();
    let seconds = per_step * trainer.schedule.total_steps as f64 / speed;
    let mut out = anstream::stdout().lock();
    show::line(
        &mut out,
        "longest",
        format!(
            "a step of {} tokens takes {longest:.2} s ({speed:.0} tokens/s); its tensors take {:.2} GB at the peak, {:+.0} % of what was expected",
            thousands(tokens),
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

struct Unobserved;

impl Observer for Unobserved {
    fn event(&mut self, _: &mut Trainer, _: Event<'_>) -> retune_train::Result<()> {
        Ok(())
    }
}

/// What each kind of operation takes of the run's first steps, and how near they
/// come to what the processor can do at most.
fn profile(trainer: &mut Trainer, device: &Device, steps: u32) -> Result<()> {
    let steps = u64::from(steps).min(trainer.schedule.total_steps);
    device.take_profile();
    let start = Instant::now();
    let mut tokens = 0;
    for _ in 0..steps {
        tokens += trainer.step(&mut Unobserved)?.tokens;
    }
    let wall = start.elapsed().as_secs_f64();
    let mut ops: Vec<(&str, OpTime)> = device.take_profile().into_iter().collect();
    ops.sort_by_key(|(_, op)| std::cmp::Reverse(op.time));
    let most = match device.is_cuda() {
        // What a GPU can do at most is not measured.
        true => None,
        false => Some(most_gflops(trainer)?),
    };
    let mut out = anstream::stdout().lock();
    writeln!(
        out,
        "\n{:<20} {:>9} {:>9} {:>7} {:>9}",
        "operation", "calls", "ms", "share", "GFLOP/s"
    )?;
    let per_step = |value: f64| value / steps as f64;
    let mut row = |name: &str, calls: Option<u64>, seconds: f64, flops: f64| {
        writeln!(
            out,
            "{name:<20} {:>9} {:>9.2} {:>6.1}% {:>9}",
            calls.map_or(String::new(), |calls| format!(
                "{:.0}",
                per_step(calls as f64)
            )),
            1e3 * per_step(seconds),
            100.0 * seconds / wall,
            if flops > 0.0 {
                format!("{:.0}", flops / seconds / 1e9)
            } else {
                String::new()
            }
        )
    };
    let (mut timed, mut flops) = (0.0, 0.0);
    for (name, op) in ops {
        let seconds = op.time.as_secs_f64();
        timed += seconds;
        flops += op.flops as f64;
        row(name, Some(op.calls), seconds, op.flops as f64)?;
    }
    row("between operations", None, (wall - timed).max(0.0), 0.0)?;
    row("a step", None, wall, flops)?;
    let share = most.map_or(String::new(), |most| {
        let share = 100.0 * flops / wall / 1e9 / most;
        format!("; {share:.0} % of the {most:.0} GFLOP/s that this machine can do at most")
    });
    let speed = tokens as f64 / wall;
    writeln!(out, "{steps} steps, {speed:.0} tokens/s{share}")?;
    Ok(())
}

/// The GFLOP/s that the processor can do at most, in the type of the model.
fn most_gflops(trainer: &Trainer) -> Result<f64> {
    let ceilings = ceiling::measure(trainer.config.threads, Duration::from_millis(500))?;
    Ok(match trainer.model.dtype() {
        DType::BF16 => ceilings.product_gflops(),
        DType::F32 => ceilings.f32_gflops,
    })
}

fn duration(seconds: f64) -> String {
    let minutes = (seconds / 60.0).round() as u64;
    match minutes {
        0 => format!("{seconds:.0} s"),
        1..60 => format!("{minutes} min"),
        _ => format!("{} h {} min", minutes / 60, minutes % 60),
    }
}
