//! RMS norm and layer norm, a row at a time.
//!
//! Gradients of parameters are sums over rows: first over the rows of a block,
//! while they are in the cache, then over the blocks in order, so that the sums
//! do not depend on the number of threads.

use std::ops::Range;

use super::Cpu;
use super::scratch;
use super::simd::{for_each_tier, sum_of, sum_of_pairs, sum_of_triples};
use super::split::{Chunks, RowsMut, rows_per_task};
use super::vector::{Formula, Vector, map};
use crate::backend::NormBackward;
use crate::dtype::Element;
use crate::tensor::with_element;
use crate::{Tensor, Tier};

/// Rows of a task of a backward pass.
const ROW_BLOCK: usize = 32;
/// Columns of a task that sums over blocks of rows.
const COLUMNS: usize = 256;

pub(super) fn rms_forward(
    cpu: &Cpu,
    x: &Tensor,
    weight: &Tensor,
    eps: f32,
    y: &mut Tensor,
    rstd: &mut Tensor,
) {
    let width = weight.len();
    let weight = weight.as_slice::<f32>();
    with_element!(x.dtype(), X => with_element!(y.dtype(), Y => {
        let x = x.as_slice::<X>();
        let outputs = (
            RowsMut::new(y.as_mut_slice::<Y>(), width),
            RowsMut::new(rstd.as_mut_slice::<f32>(), 1),
        );
        cpu.pool.for_rows(x.len() / width, rows_per_task(width), outputs, |rows, (y, rstd)| {
            let x = &x[rows.start * width..rows.end * width];
            rms_forward_rows(cpu.tier, x, weight, eps, y, rstd);
        });
    }));
}

fn rms_forward_rows<X: Element, Y: Element>(
    tier: Tier,
    x: &[X],
    weight: &[f32],
    eps: f32,
    y: &mut [Y],
    rstd: &mut [f32],
) {
    let width = weight.len();
    let rows = x.chunks_exact(width).zip(y.chunks_exact_mut(width));
    for ((x, y), rstd) in rows.zip(rstd) {
        *rstd = 1.0 / (sum_of_squares(tier, x) / width as f32 + eps).sqrt();
        let normalise = Normalise {
            mean: None,
            rstd: *rstd,
        };
        map(tier, normalise, x, [weight], [y]);
    }
}

/// `x`, `weight` (and `bias`) to `(x − mean) · rstd · weight (+ bias)`.
#[derive(Clone, Copy)]
struct Normalise {
    mean: Option<f32>,
    rstd: f32,
}

impl Formula<1, 1> for Normalise {
    #[inline(always)]
    fn apply<V: Vector>(self, x: V, [weight]: [V; 1]) -> [V; 1] {
        let centred = match self.mean {
            Some(mean) => x - V::splat(mean),
            None => x,
        };
        [centred * V::splat(self.rstd) * weight]
    }
}

impl Formula<2, 1> for Normalise {
    #[inline(always)]
    fn apply<V: Vector>(self, x: V, [weight, bias]: [V; 2]) -> [V; 1] {
        let [y] = Formula::<1, 1>::apply(self, x, [weight]);
        [y + bias]
    }
}

for_each_tier! {
    fn row_sum<X: Element>(x: &[X]) -> f32 {
        sum_of(x, |x| x.to_f32())
    }

    fn sum_of_squares<X: Element>(x: &[X]) -> f32 {
        sum_of(x, |x| x.to_f32() * x.to_f32())
    }

    fn sum_of_squared_deviations<X: Element>(x: &[X], mean: f32) -> f32 {
        sum_of(x, |x| (x.to_f32() - mean) * (x.to_f32() - mean))
    }
}

pub(super) fn rms_backward(cpu: &Cpu, args: NormBackward<'_>) {
    let NormBackward {
        d_y,
        x,
        weight,
        rstd,
        d_x,
        d_weight,
        ..
    } = args;
    let width = weight.len();
    let weight = weight.as_slice::<f32>();
    let rstd = rstd.as_slice::<f32>();
    with_element!(d_y.dtype(), G => with_element!(x.dtype(), X => {
        let (d_y, x) = (d_y.as_slice::<G>(), x.as_slice::<X>());
        by_row_blocks(cpu, rstd.len(), width, d_x, [d_weight, None], |rows, d_x, [d_weight, _]| {
            let cells = rows.start * width..rows.end * width;
            let (d_y, x) = (&d_y[cells.clone()], &x[cells]);
            rms_backward_rows(cpu.tier, d_y, x, weight, &rstd[rows], d_x, d_weight);
        });
    }));
}

for_each_tier! {
    /// `d_weight` is empty where it is not wanted.
    fn rms_backward_rows<G: Element, X: Element>(
        d_y: &[G], x: &[X], weight: &[f32], rstd: &[f32], d_x: &mut [f32], d_weight: &mut [f32],
    ) {
        let width = weight.len();
        for (row, &r) in rstd.iter().enumerate() {
            let cells = row * width..(row + 1) * width;
            let (d_y, x) = (&d_y[cells.clone()], &x[cells.clone()]);
            let d_x = &mut d_x[cells];
            let dot = sum_of_triples(d_y, weight, x, |d_y, w, x| d_y.to_f32() * w * x.to_f32());
            let along = dot * r * r / width as f32;
            for (((d_x, d_y), x), w) in d_x.iter_mut().zip(d_y).zip(x).zip(weight) {
                *d_x += r * (d_y.to_f32() * w - along * x.to_f32());
            }
            for ((sum, d_y), x) in d_weight.iter_mut().zip(d_y).zip(x) {
                *sum += d_y.to_f32() * (x.to_f32() * r);
            }
        }
    }
}

/// Calls `body(rows, d_x, sums)` for blocks of rows, where `sums` are zeros to
/// add the block's part of each parameter's gradient to, or empty for a
/// parameter that has none.
fn by_row_blocks(
    cpu: &Cpu,
    rows: usize,
    width: usize,
    d_x: &mut Tensor,
    gradients: [Option<&mut Tensor>; 2],
    body: impl Fn(Range<usize>, &mut [f32], [&mut [f32]; 2]) + Sync,
) {
    let widths = gradients
        .each_ref()
        .map(|g| if g.is_some() { width } else { 0 });
    let part = widths[0] + widths[1];
    scratch::with(rows.div_ceil(ROW_BLOCK) * part, |sums: &mut [f32]| {
        let parts = Chunks::new(sums, part);
        let d_x = RowsMut::new(d_x.as_mut_slice::<f32>(), width);
        cpu.pool.for_rows(rows, ROW_BLOCK, d_x, |rows, d_x| {
            // SAFETY: each task has its own block.
            let sums = unsafe { parts.chunk(rows.start / ROW_BLOCK) };
            sums.fill(0.0);
            body(rows, d_x, sums.split_at_mut(widths[0]).into());
        });
        let mut first = 0;
        for (gradient, width) in gradients.into_iter().zip(widths) {
            if let Some(gradient) = gradient {
                let gradient = RowsMut::new(gradient.as_mut_slice::<f32>(), 1);
                cpu.pool
                    .for_rows(width, COLUMNS, gradient, |columns, gradient| {
                        for part in sums.chunks_exact(part) {
                            let part = &part[first..][columns.clone()];
                            for (total, sum) in gradient.iter_mut().zip(part) {
                                *total += sum;
                            }
                        }
                    });
            }
            first += width;
        }
    });
}

pub(super) fn layer_forward(
    cpu: &Cpu,
    x: &Tensor,
    (weight, bias): (&Tensor, &Tensor),
    eps: f32,
    y: &mut Tensor,
    (mean, rstd): (&mut Tensor, &mut Tensor),
) {
    let width = weight.len();
    let (weight, bias) = (weight.as_slice::<f32>(), bias.as_slice::<f32>());
    with_element!(x.dtype(), X => with_element!(y.dtype(), Y => {
        let x = x.as_slice::<X>();
        let outputs = (
            RowsMut::new(y.as_mut_slice::<Y>(), width),
            RowsMut::new(mean.as_mut_slice::<f32>(), 1),
            RowsMut::new(rstd.as_mut_slice::<f32>(), 1),
        );
        cpu.pool.for_rows(x.len() / width, rows_per_task(width), outputs, |rows, (y, mean, rstd)| {
            let x = &x[rows.start * width..rows.end * width];
            layer_forward_rows(cpu.tier, x, (weight, bias), eps, y, (mean, rstd));
        });
    }));
}

fn layer_forward_rows<X: Element, Y: Element>(
    tier: Tier,
    x: &[X],
    (weight, bias): (&[f32], &[f32]),
    eps: f32,
    y: &mut [Y],
    (mean, rstd): (&mut [f32], &mut [f32]),
) {
    let width = weight.len();
    let rows = x.chunks_exact(width).zip(y.chunks_exact_mut(width));
    for ((x, y), (mean, rstd)) in rows.zip(mean.iter_mut().zip(rstd)) {
        *mean = row_sum(tier, x) / width as f32;
        let variance = sum_of_squared_deviations(tier, x, *mean) / width as f32;
        *rstd = 1.0 / (variance + eps).sqrt();
        let normalise = Normalise {
            mean: Some(*mean),
            rstd: *rstd,
        };
        map(tier, normalise, x, [weight, bias], [y]);
    }
}

pub(super) fn layer_backward(cpu: &Cpu, args: NormBackward<'_>) {
    let NormBackward {
        d_y,
        x,
        weight,
        mean,
        rstd,
        d_x,
        d_weight,
        d_bias,
    } = args;
    let width = weight.len();
    let weight = weight.as_slice::<f32>();
    let mean = mean.expect("layer norm has means").as_slice::<f32>();
    let rstd = rstd.as_slice::<f32>();
    with_element!(d_y.dtype(), G => with_element!(x.dtype(), X => {
        let (d_y, x) = (d_y.as_slice::<G>(), x.as_slice::<X>());
        by_row_blocks(cpu, rstd.len(), width, d_x, [d_weight, d_bias], |rows, d_x, gradients| {
            let cells = rows.start * width..rows.end * width;
            let (d_y, x) = (&d_y[cells.clone()], &x[cells]);
            let (mean, rstd) = (&mean[rows.clone()], &rstd[rows]);
            layer_backward_rows(cpu.tier, d_y, x, weight, mean, rstd, d_x, gradients);
        });
    }));
}

for_each_tier! {
    /// `d_weight` and `d_bias` are empty where they are not wanted.
    fn layer_backward_rows<G: Element, X: Element>(
        d_y: &[G], x: &[X], weight: &[f32], mean: &[f32], rstd: &[f32], d_x: &mut [f32],
        gradients: [&mut [f32]; 2],
    ) {
        let [d_weight, d_bias] = gradients;
        let width = weight.len();
        for (row, (&m, &r)) in mean.iter().zip(rstd).enumerate() {
            let cells = row * width..(row + 1) * width;
            let (d_y, x) = (&d_y[cells.clone()], &x[cells.clone()]);
            let d_x = &mut d_x[cells];
            let sum = sum_of_pairs(d_y, weight, |d_y, w| d_y.to_f32() * w) / width as f32;
            let product = |d_y: G, w: f32, x: X| d_y.to_f32() * w * ((x.to_f32() - m) * r);
            let dot = sum_of_triples(d_y, weight, x, product) / width as f32;
            for (((d_x, d_y), x), w) in d_x.iter_mut().zip(d_y).zip(x).zip(weight) {
                let normed = (x.to_f32() - m) * r;
                *d_x += r * (d_y.to_f32() * w - sum - normed * dot);
            }
            for ((sum, d_y), x) in d_weight.iter_mut().zip(d_y).zip(x) {
                *sum += d_y.to_f32() * ((x.to_f32() - m) * r);
            }
            for (sum, d_y) in d_bias.iter_mut().zip(d_y) {
                *sum += d_y.to_f32();
            }
        }
    }
}
