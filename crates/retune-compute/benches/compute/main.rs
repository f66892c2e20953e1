//! Figures of speed, each beside the measured ceiling of the machine.
//!
//! ```text
//! cargo bench -p retune-compute                     # everything
//! cargo bench -p retune-compute -- products         # one section
//! ```
//!
//! Sections: `products`, `few-rows`, `f32`, `memory`, `attention`.
//! `RETUNE_BENCH_THREADS` sets the number of threads (default: one per core).

mod attention;
mod few_rows;
mod memory;
mod products;
mod timing;

use std::time::Duration;

use retune_compute::ceiling::{self, Ceilings, MemoryReader};
use retune_compute::{CpuOptions, DType, Device};

fn main() {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with('-'))
        .collect();
    let wanted = |section: &str| arguments.is_empty() || arguments.iter().any(|a| a == section);
    let threads = std::env::var("RETUNE_BENCH_THREADS")
        .ok()
        .and_then(|n| n.parse().ok());
    let device = Device::cpu_with(&CpuOptions {
        threads,
        ..CpuOptions::default()
    })
    .expect("the default tier fits this processor");
    let ceilings = measure(&device, threads);
    let reader = MemoryReader::new(Some(ceilings.threads)).expect("128 MiB for each thread");
    if wanted("products") {
        products::run(&device, &ceilings, DType::BF16);
    }
    if wanted("few-rows") {
        few_rows::run(&device, &reader);
    }
    if wanted("f32") {
        products::run(&device, &ceilings, DType::F32);
        products::against_gemm(&device, &ceilings);
    }
    if wanted("memory") {
        memory::run(&device, &reader);
    }
    if wanted("attention") {
        attention::run(&device, &ceilings);
    }
    // Once more: a machine that others share may have changed meanwhile.
    measure(&device, threads);
}

fn measure(device: &Device, threads: Option<usize>) -> Ceilings {
    let ceilings = ceiling::measure(threads, Duration::from_millis(500)).expect("128 MiB a thread");
    let bf16 = match ceilings.bf16_gflops {
        Some(gflops) => format!("bf16 {gflops:.0} GFLOP/s"),
        None => "bf16 as f32".to_owned(),
    };
    println!(
        "\nceilings · {}: {bf16}, f32 {:.0} GFLOP/s, memory {:.1} GB/s ({} threads)",
        device.name(),
        ceilings.f32_gflops,
        ceilings.read_gb_per_s,
        ceilings.threads
    );
    ceilings
}
