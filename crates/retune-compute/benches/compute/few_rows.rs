//! Products of one to four rows, as in generation: bound by memory.

use retune_compute::ceiling::MemoryReader;
use retune_compute::ops::{FrozenWeight, Packing};
use retune_compute::{DType, Device};

use crate::products::{Direction, random};
use crate::timing::{QWEN, share_of_reads};

/// Weights in turn take this much memory, so that each call reads it.
const BYTES: usize = 400 << 20;

pub(crate) fn run(device: &Device, reader: &MemoryReader) {
    println!("\nfew rows: GB/s of weights read, of GB/s read by a plain loop in turn");
    println!("{:<32}{:>24}{:>24}{:>24}", "", "1 row", "2 rows", "4 rows");
    let kinds = [
        (DType::BF16, Packing::Both),
        (DType::BF16, Packing::Compressed),
        (DType::F32, Packing::Both),
    ];
    for (dtype, packing) in kinds {
        let directions = match packing {
            // The choice for generation, which has no gradients.
            Packing::Compressed => &Direction::BOTH[..1],
            _ => &Direction::BOTH[..],
        };
        for (name, out, input) in QWEN {
            let whole = out * input * dtype.size();
            let values = random(device, &[out, input], dtype);
            let before = device.memory().in_use;
            let weights: Vec<FrozenWeight> = (0..(BYTES / whole).max(2))
                .map(|_| FrozenWeight::new(&values, packing).expect("memory"))
                .collect();
            let held = (device.memory().in_use - before) / weights.len();
            let (kind, size) = match packing {
                Packing::Compressed => (format!("{name} {dtype}, {} %", 100 * held / whole), held),
                _ => (format!("{name} {dtype}"), whole),
            };
            for &direction in directions {
                print!("{:<32}", format!("{kind} {direction}"));
                for rows in [1, 2, 4] {
                    let (x, mut y) = direction.tensors(&weights[0], rows);
                    let share = share_of_reads(reader, size, |call| {
                        direction.run(&x, &weights[call % weights.len()], &mut y);
                    });
                    print!("{share:>24}");
                }
                println!();
            }
        }
    }
}
