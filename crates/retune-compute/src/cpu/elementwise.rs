//! Element-wise arithmetic and reductions.

use super::Cpu;
use super::simd::{LANES, for_each_tier};
use super::split::{RowsMut, rows_per_task};
use crate::Tensor;
use crate::dtype::Element;
use crate::tensor::with_element;

/// Elements of one partial sum. Fixed, so that sums do not depend on threads.
const SUM_BLOCK: usize = 16 * 1024;

pub(super) fn add_assign(cpu: &Cpu, y: &mut Tensor, x: &Tensor) {
    with_element!(x.dtype(), X => {
        let x = x.as_slice::<X>();
        let y = RowsMut::new(y.as_mut_slice::<f32>(), 1);
        cpu.pool.for_rows(x.len(), rows_per_task(1), y, |range, y| add_slice(cpu.tier, &x[range], y));
    });
}

pub(super) fn scale(cpu: &Cpu, x: &mut Tensor, factor: f32) {
    let len = x.len();
    with_element!(x.dtype(), X => {
        let x = RowsMut::new(x.as_mut_slice::<X>(), 1);
        cpu.pool.for_rows(len, rows_per_task(1), x, |_, x| scale_slice(cpu.tier, x, factor));
    });
}

pub(super) fn cast(cpu: &Cpu, x: &Tensor, y: &mut Tensor) {
    with_element!(x.dtype(), X => with_element!(y.dtype(), Y => {
        let x = x.as_slice::<X>();
        let y = RowsMut::new(y.as_mut_slice::<Y>(), 1);
        cpu.pool.for_rows(x.len(), rows_per_task(1), y, |range, y| cast_slice(cpu.tier, &x[range], y));
    }));
}

pub(super) fn sum(cpu: &Cpu, x: &Tensor) -> f64 {
    with_element!(x.dtype(), X => sum_blocks(cpu, x.as_slice::<X>(), sum_slice))
}

pub(super) fn sum_of_squares(cpu: &Cpu, x: &Tensor) -> f64 {
    with_element!(x.dtype(), X => sum_blocks(cpu, x.as_slice::<X>(), sum_of_squares_slice))
}

fn sum_blocks<X: Element>(cpu: &Cpu, x: &[X], sum: fn(crate::Tier, &[X]) -> f64) -> f64 {
    let mut partial = vec![0.0f64; x.len().div_ceil(SUM_BLOCK)];
    let outputs = RowsMut::new(&mut partial, 1);
    cpu.pool.for_rows(
        x.len().div_ceil(SUM_BLOCK),
        1,
        outputs,
        |blocks, partial| {
            let start = blocks.start * SUM_BLOCK;
            partial[0] = sum(cpu.tier, &x[start..x.len().min(start + SUM_BLOCK)]);
        },
    );
    // Not `sum`, which begins at −0.
    partial.into_iter().fold(0.0, |all, part| all + part)
}

for_each_tier! {
    /// `y[i] += x[i]`.
    pub(super) fn add_slice<X: Element>(x: &[X], y: &mut [f32]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y += x.to_f32();
        }
    }

    fn scale_slice<X: Element>(x: &mut [X], factor: f32) {
        for x in x {
            *x = X::from_f32(x.to_f32() * factor);
        }
    }

    /// `y[i] = x[i]`, rounded.
    pub(super) fn cast_slice<X: Element, Y: Element>(x: &[X], y: &mut [Y]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y = Y::from_f32(x.to_f32());
        }
    }

    fn sum_slice<X: Element>(x: &[X]) -> f64 {
        sum_f64(x, |x| f64::from(x.to_f32()))
    }

    fn sum_of_squares_slice<X: Element>(x: &[X]) -> f64 {
        sum_f64(x, |x| f64::from(x.to_f32()) * f64::from(x.to_f32()))
    }
}

/// Sums in lanes of f64.
#[inline(always)]
fn sum_f64<X: Copy>(x: &[X], term: impl Fn(X) -> f64) -> f64 {
    let mut lanes = [0.0f64; LANES];
    let (chunks, rest) = x.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] += term(chunk[lane]);
        }
    }
    for (sum, x) in lanes.iter_mut().zip(rest) {
        *sum += term(*x);
    }
    lanes.iter().sum()
}
