//! `retune env`: what this machine is, and what it can do at most.

use std::io::{Write, stdout};
use std::time::Duration;

use anyhow::Result;
use retune_compute::ceiling::{self, Ceilings};
use retune_compute::{CpuOptions, CudaOptions, Device, Error, Gpu, gpus};
use sysinfo::{CpuRefreshKind, MemoryRefreshKind, RefreshKind, System};

use crate::numbers::within;
use crate::output::kernel_folder;

/// Show this machine and its measured limits: arithmetic and memory.
///
/// The limits are those that retune's speed is measured against. Measuring
/// them takes about two seconds and 128 MiB of memory for each thread.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Threads to measure with [default: one per core]
    #[arg(long, value_name = "N", value_parser = within::<usize>(1..=1024))]
    threads: Option<usize>,

    /// Do not measure; show only what the system says
    #[arg(long)]
    no_measure: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let mut out = stdout().lock();
    for (name, value) in machine(args)? {
        writeln!(out, "{name:<10} {value}")?;
    }
    if args.no_measure {
        return Ok(());
    }
    out.flush()?;
    let ceilings = ceiling::measure(args.threads, Duration::from_millis(500))?;
    for (name, value) in limits(&ceilings) {
        writeln!(out, "{name:<10} {value}")?;
    }
    Ok(())
}

fn machine(args: &Args) -> Result<Vec<(&'static str, String)>> {
    let device = Device::cpu_with(&CpuOptions {
        threads: args.threads,
        ..CpuOptions::default()
    })?;
    let wanted = RefreshKind::nothing()
        .with_cpu(CpuRefreshKind::nothing())
        .with_memory(MemoryRefreshKind::nothing().with_ram());
    let system = System::new_with_specifics(wanted);
    let os = System::long_os_version().unwrap_or_else(|| std::env::consts::OS.to_owned());
    let brand = system.cpus().first().map_or("unknown", |cpu| cpu.brand());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    // In a container, its limit.
    let (total, available) = match system.cgroup_limits() {
        Some(limits) if limits.total_memory < system.total_memory() => {
            (limits.total_memory, limits.free_memory)
        }
        _ => (system.total_memory(), system.available_memory()),
    };
    let mut lines = vec![
        ("retune", env!("CARGO_PKG_VERSION").to_owned()),
        ("system", format!("{os}, {}", System::cpu_arch())),
        ("processor", format!("{}, {cores} cores", brand.trim())),
        (
            "memory",
            format!(
                "{:.1} GiB, {:.1} GiB of it available",
                gib(total),
                gib(available)
            ),
        ),
        ("device", format!("{} · {}", device.name(), advice(&device))),
    ];
    lines.extend(gpu_lines().into_iter().map(|gpu| ("gpu", gpu)));
    Ok(lines)
}

fn gib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 30)
}

/// The GPUs with what is missing to compute on them, or why there is none.
fn gpu_lines() -> Vec<String> {
    let found = match gpus() {
        Ok(found) if found.is_empty() => return vec!["no CUDA: the driver sees no GPU".to_owned()],
        Ok(found) => found,
        Err(error) => return vec![format!("no CUDA: {}", in_one_line(&error))],
    };
    let line = |gpu: &Result<Gpu, retune_compute::Error>| {
        let gpu = match gpu {
            Ok(gpu) => gpu,
            Err(error) => return in_one_line(error),
        };
        let options = CudaOptions {
            ordinal: gpu.ordinal,
            cache: kernel_folder(),
            ..CudaOptions::default()
        };
        let state = match Device::cuda(&options) {
            Ok(_) => format!("{:.1} GiB of it free", gib(gpu.memory.free)),
            Err(error) => in_one_line(&error),
        };
        format!("{gpu} · {state}")
    };
    found.iter().map(line).collect()
}

fn in_one_line(error: &Error) -> String {
    let text = match error {
        Error::DeviceUnavailable { reason, hint, .. } => format!("{reason}: {hint}"),
        error => error.to_string(),
    };
    text.lines().map(str::trim).collect::<Vec<_>>().join("; ")
}

/// What the processor means for the choice of precision.
fn advice(device: &Device) -> &'static str {
    match device.has_bf16_products() {
        true => "bf16 is the fast precision here",
        false => "no bf16 instructions: bf16 saves memory here, f32 is no slower",
    }
}

fn limits(ceilings: &Ceilings) -> Vec<(&'static str, String)> {
    let threads = match ceilings.threads {
        1 => "1 thread".to_owned(),
        n => format!("{n} threads"),
    };
    let bf16 = match ceilings.bf16_gflops {
        Some(gflops) => format!("{gflops:.0} GFLOP/s"),
        None => "as f32".to_owned(),
    };
    vec![
        ("limits", format!("measured with {threads}")),
        ("  bf16", bf16),
        ("  f32", format!("{:.0} GFLOP/s", ceilings.f32_gflops)),
        ("  reading", format!("{:.1} GB/s", ceilings.read_gb_per_s)),
    ]
}
