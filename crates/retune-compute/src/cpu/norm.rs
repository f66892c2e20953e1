//! RMS norm and layer norm, a row at a time.
//!
//! Gradients of parameters are sums over rows. They are computed by columns, a
//! task for each block of columns, so that every sum runs over the rows in
//! order on whatever thread.

use super::Cpu;
use super::simd::{for_each_tier, sum_of, sum_of_pairs, sum_of_triples};
use super::split::{RowsMut, rows_per_task};
use crate::Tensor;
use crate::backend::NormBackward;
use crate::dtype::Element;
use crate::tensor::with_element;

/// Columns of a task that sums over rows.
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

for_each_tier! {
    fn rms_forward_rows<X: Element, Y: Element>(x: &[X], weight: &[f32], eps: f32, y: &mut [Y], rstd: &mut [f32]) {
        let width = weight.len();
        let rows = x.chunks_exact(width).zip(y.chunks_exact_mut(width));
        for ((x, y), rstd) in rows.zip(rstd) {
            let squares = sum_of(x, |x| x.to_f32() * x.to_f32());
            let r = 1.0 / (squares / width as f32 + eps).sqrt();
            *rstd = r;
            for ((y, x), w) in y.iter_mut().zip(x).zip(weight) {
                *y = Y::from_f32(x.to_f32() * r * w);
            }
        }
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
        let d_x = RowsMut::new(d_x.as_mut_slice::<f32>(), width);
        cpu.pool.for_rows(rstd.len(), rows_per_task(width), d_x, |rows, d_x| {
            let cells = rows.start * width..rows.end * width;
            rms_backward_rows(cpu.tier, &d_y[cells.clone()], &x[cells], weight, &rstd[rows], d_x);
        });
        if let Some(d_weight) = d_weight {
            by_columns(cpu, d_weight, |start, sums| {
                norm_weight_columns(cpu.tier, d_y, x, &[], rstd, width, start, sums);
            });
        }
    }));
}

for_each_tier! {
    fn rms_backward_rows<G: Element, X: Element>(d_y: &[G], x: &[X], weight: &[f32], rstd: &[f32], d_x: &mut [f32]) {
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
        }
    }

    /// `sums[i] += Σ_rows d_y · (x − mean) · rstd` for the columns from `start`
    /// on; without means, they count as zero.
    fn norm_weight_columns<G: Element, X: Element>(
        d_y: &[G], x: &[X], mean: &[f32], rstd: &[f32], width: usize, start: usize, sums: &mut [f32],
    ) {
        let mut total = [0.0f32; COLUMNS];
        let total = &mut total[..sums.len()];
        for (row, r) in rstd.iter().enumerate() {
            let cells = row * width + start..row * width + start + total.len();
            let m = mean.get(row).copied().unwrap_or(0.0);
            for ((sum, d_y), x) in total.iter_mut().zip(&d_y[cells.clone()]).zip(&x[cells]) {
                *sum += d_y.to_f32() * ((x.to_f32() - m) * r);
            }
        }
        for (sum, total) in sums.iter_mut().zip(&*total) {
            *sum += total;
        }
    }

    /// `sums[i] += Σ_rows d_y` for the columns from `start` on.
    fn norm_bias_columns<G: Element>(d_y: &[G], width: usize, start: usize, sums: &mut [f32]) {
        let mut total = [0.0f32; COLUMNS];
        let total = &mut total[..sums.len()];
        for row in d_y.chunks_exact(width) {
            for (sum, d_y) in total.iter_mut().zip(&row[start..]) {
                *sum += d_y.to_f32();
            }
        }
        for (sum, total) in sums.iter_mut().zip(&*total) {
            *sum += total;
        }
    }
}

/// Calls `body(start, sums)` for blocks of columns of a parameter's gradient.
fn by_columns(cpu: &Cpu, gradient: &mut Tensor, body: impl Fn(usize, &mut [f32]) + Sync) {
    let width = gradient.len();
    let sums = RowsMut::new(gradient.as_mut_slice::<f32>(), 1);
    cpu.pool.for_rows(width, COLUMNS, sums, |columns, sums| {
        body(columns.start, sums)
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
            layer_forward_rows(cpu.tier, x, weight, bias, eps, y, mean, rstd);
        });
    }));
}

for_each_tier! {
    fn layer_forward_rows<X: Element, Y: Element>(
        x: &[X], weight: &[f32], bias: &[f32], eps: f32, y: &mut [Y], mean: &mut [f32], rstd: &mut [f32],
    ) {
        let width = weight.len();
        let rows = x.chunks_exact(width).zip(y.chunks_exact_mut(width));
        for ((x, y), (mean, rstd)) in rows.zip(mean.iter_mut().zip(rstd)) {
            let m = sum_of(x, |x| x.to_f32()) / width as f32;
            let squares = sum_of(x, |x| (x.to_f32() - m) * (x.to_f32() - m));
            let r = 1.0 / (squares / width as f32 + eps).sqrt();
            (*mean, *rstd) = (m, r);
            for (((y, x), w), b) in y.iter_mut().zip(x).zip(weight).zip(bias) {
                *y = Y::from_f32((x.to_f32() - m) * r * w + b);
            }
        }
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
        let d_x = RowsMut::new(d_x.as_mut_slice::<f32>(), width);
        cpu.pool.for_rows(rstd.len(), rows_per_task(width), d_x, |rows, d_x| {
            let cells = rows.start * width..rows.end * width;
            let (d_y, x) = (&d_y[cells.clone()], &x[cells]);
            layer_backward_rows(cpu.tier, d_y, x, weight, &mean[rows.clone()], &rstd[rows], d_x);
        });
        if let Some(d_weight) = d_weight {
            by_columns(cpu, d_weight, |start, sums| {
                norm_weight_columns(cpu.tier, d_y, x, mean, rstd, width, start, sums);
            });
        }
        if let Some(d_bias) = d_bias {
            by_columns(cpu, d_bias, |start, sums| norm_bias_columns(cpu.tier, d_y, width, start, sums));
        }
    }));
}

for_each_tier! {
    fn layer_backward_rows<G: Element, X: Element>(
        d_y: &[G], x: &[X], weight: &[f32], mean: &[f32], rstd: &[f32], d_x: &mut [f32],
    ) {
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
        }
    }
}
