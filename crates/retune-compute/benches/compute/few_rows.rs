//! Products of one to four rows, as in generation: bound by memory.

use retune_compute::ceiling::MemoryReader;
use retune_compute::ops::{Epilogue, FrozenWeight, Packing, linear_forward};
use retune_compute::{DType, Device, Tensor};

use crate::products::random;
use crate::timing::{QWEN, share_of_reads};

/// Weights in turn take this much memory, so that each call reads it.
const BYTES: usize = 400 << 20;

pub(crate) fn run(device: &Device, reader: &MemoryReader) {
    println!("\nfew rows: GB/s of weights read, of GB/s read by a plain loop in turn");
    println!("{:<24}{:>24}{:>24}{:>24}", "", "1 row", "2 rows", "4 rows");
    for dtype in [DType::BF16, DType::F32] {
        for (name, out, input) in QWEN {
            let size = FrozenWeight::packed_bytes(device, [out, input], dtype, Packing::Forward);
            let count = (BYTES / size).max(2);
            let values = random(device, &[out, input], dtype);
            let weights: Vec<FrozenWeight> = (0..count)
                .map(|_| FrozenWeight::new(&values, Packing::Forward).expect("memory"))
                .collect();
            print!("{:<24}", format!("{name} {dtype}"));
            for rows in [1, 2, 4] {
                let x = random(device, &[rows, input], dtype);
                let mut y = Tensor::zeros(device, &[rows, out], DType::F32).expect("memory");
                let share = share_of_reads(reader, size, |call| {
                    let weight = &weights[call % count];
                    linear_forward(&x, weight, Epilogue::default(), &mut y).expect("fits");
                });
                print!("{share:>24}");
            }
            println!();
        }
    }
}
