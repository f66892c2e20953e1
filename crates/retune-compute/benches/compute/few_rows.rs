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
    for dtype in [DType::BF16, DType::F32] {
        for (name, out, input) in QWEN {
            let size = out * input * dtype.size();
            let values = random(device, &[out, input], dtype);
            let weights: Vec<FrozenWeight> = (0..(BYTES / size).max(2))
                .map(|_| FrozenWeight::new(&values, Packing::Both).expect("memory"))
                .collect();
            for direction in Direction::BOTH {
                print!("{:<32}", format!("{name} {dtype} {direction}"));
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
