//! Dropout.

use super::Cpu;
use super::simd::for_each_tier;
use super::split::{RowsMut, rows_per_task};
use crate::Tensor;
use crate::dtype::Element;
use crate::ops::{Dropout, RowKey};
use crate::random::unit;
use crate::tensor::with_element;

pub(super) fn dropout(cpu: &Cpu, x: &Tensor, rows: &[RowKey], dropout: &Dropout, y: &mut Tensor) {
    let width = x.rows_by_width().1;
    if width == 0 {
        return;
    }
    with_element!(x.dtype(), X => {
        let x = x.as_slice::<X>();
        let y = RowsMut::new(y.as_mut_slice::<X>(), width);
        cpu.pool.for_rows(rows.len(), rows_per_task(4 * width), y, |range, y| {
            for (y, row) in y.chunks_exact_mut(width).zip(range) {
                drop_row(cpu.tier, &x[row * width..][..width], rows[row], dropout, y);
            }
        });
    });
}

/// Blocks of the generator computed side by side.
const BLOCKS: usize = 16;

for_each_tier! {
    fn drop_row<X: Element>(x: &[X], row: RowKey, dropout: &Dropout, y: &mut [X]) {
        let keep = 1.0 / (1.0 - dropout.probability);
        let chunks = x.chunks(4 * BLOCKS).zip(y.chunks_mut(4 * BLOCKS));
        for (chunk, (x, y)) in chunks.enumerate() {
            let mut factors = [[0.0f32; 4]; BLOCKS];
            for (index, factors) in factors.iter_mut().enumerate() {
                let block = (chunk * BLOCKS + index) as u32;
                let words = dropout.key.block([block, row.position, row.sample, dropout.step]);
                for (factor, word) in factors.iter_mut().zip(words) {
                    *factor = if unit(word) < dropout.probability { 0.0 } else { keep };
                }
            }
            for ((y, x), factor) in y.iter_mut().zip(x).zip(factors.as_flattened()) {
                *y = X::from_f32(x.to_f32() * factor);
            }
        }
    }
}
