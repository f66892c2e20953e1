//! Products: which way round they are computed, and how their work is cut into tasks.

use std::ops::Range;

use super::finish::Finish;
use super::frozen_source;
use super::kernel::{Factor, PANEL};
use super::panels::{Matrix, Source, transpose_rows};
use super::task::{Left, Place, Task, WideRows};
use crate::Tensor;
use crate::backend::{FirstFactor, Product, Storage};
use crate::cpu::Cpu;
use crate::cpu::scratch;
use crate::cpu::split::{RowsMut, rows_per_task};
use crate::dtype::Element;
use crate::ops::Weight;
use crate::tensor::with_element;

/// Most rows of a task.
const ROW_BLOCK: usize = 240;
/// Most bytes of widened rows, if they are more than [`ROW_BLOCK`].
const WIDE_BYTES: usize = 16 << 20;
/// Bytes of a stretch of memory that is long enough to be read at full speed.
const LONG_STRETCH: usize = 1 << 20;

pub(in crate::cpu) fn matmul(
    cpu: &Cpu,
    product: &Product<'_>,
    workspace: Option<&mut Storage>,
    out: &mut Tensor,
) {
    if product.m == 0 || product.n == 0 {
        return;
    }
    with_element!(product.a.dtype(), E => {
        with_element!(out.dtype(), O => run::<E, O>(cpu, product, workspace, out))
    });
}

/// The second factor as a `[k, n]` matrix, in the best form there is.
fn matrix_of<'a, E: Factor>(
    weight: Weight<'a>,
    transposed: bool,
    k: usize,
    n: usize,
) -> Matrix<'a, E> {
    let source = match weight {
        Weight::Dense(tensor) if transposed => Source::Columns(tensor.as_slice()),
        Weight::Dense(tensor) => Source::Rows(tensor.as_slice()),
        Weight::Frozen(weight) => frozen_source(weight, transposed),
    };
    Matrix { source, k, n }
}

/// The factor that rows are read of, and whether it is the second one: `aᵀ·b` with a
/// narrow `b`, as the gradient of LoRA's second factor is, is computed as `(bᵀ·a)ᵀ`, so
/// that the narrow one is transposed and not the wide one.
fn oriented(first: FirstFactor) -> (FirstFactor, bool) {
    match first.flippable {
        Some(n) if n <= PANEL.min(first.m) => (FirstFactor { m: n, ..first }, true),
        _ => (first, false),
    }
}

fn run<E: Factor, O: Element>(
    cpu: &Cpu,
    product: &Product<'_>,
    workspace: Option<&mut Storage>,
    out: &mut Tensor,
) {
    let &Product {
        a, b, k, epilogue, ..
    } = product;
    let (own, low_rank) = product.first_factors();
    let (first, flipped) = oriented(own);
    let copies = copied_elements(first) + low_rank.map_or(0, copied_elements);
    let space = workspace.map_or(&mut [][..], |w| w.host_mut().slice_mut::<E>(copies));
    let (a_space, u_space) = space.split_at_mut(copied_elements(first));
    let (m, n) = match flipped {
        true => (product.n, product.m),
        false => (product.m, product.n),
    };
    let (a, b) = match b.weight {
        Weight::Dense(b) if flipped => (b, matrix_of::<E>(a.into(), false, k, n)),
        weight => (a, matrix_of::<E>(weight, b.transposed, k, n)),
    };
    let a = left(cpu, a, first, a_space);
    let low_rank = match (&epilogue.low_rank, low_rank) {
        (Some(term), Some(first)) if first.k > 0 => {
            let u = left(cpu, term.u, first, u_space);
            Some((u, matrix_of::<E>(term.b, term.transposed, first.k, n)))
        }
        _ => None,
    };
    let finish = Finish {
        transposed: flipped,
        scale: epilogue.scale,
        bias: epilogue.bias.map(Tensor::as_slice),
        low_rank_scale: epilogue.low_rank.map_or(0.0, |term| term.scale),
        low_rank_row_scales: epilogue.low_rank.and_then(|term| term.row_scales),
        accumulate: epilogue.accumulate,
    };
    let out = RowsMut::new(out.as_mut_slice::<O>(), product.n);
    let task = Task::new(cpu.tier, m, (a, b), low_rank, finish, out);
    let Some((widening, a)) = task.widening() else {
        return run_tasks(cpu, &task, 0..m, (k, b.panels()), None);
    };
    let stride = k.next_multiple_of(E::GROUP);
    let chunk = wide_rows(m, stride);
    for first in (0..m).step_by(chunk) {
        let rows = first..(first + chunk).min(m);
        scratch::with(rows.len() * stride, |wide: &mut [f32]| {
            let target = RowsMut::new(&mut *wide, stride);
            let block = rows_per_task(stride);
            cpu.pool.for_rows(rows.len(), block, target, |range, part| {
                let range = first + range.start..first + range.end;
                a.widen((cpu.tier, widening), range, part);
            });
            let rows_of_chunk = Left::new(&*wide, stride);
            let wide = WideRows {
                first,
                rows: rows_of_chunk,
            };
            run_tasks(cpu, &task, rows, (k, b.panels()), Some(&wide));
        });
    }
}

/// Computes some rows of a product whose second factor has `panels` of `k` rows.
fn run_tasks<E: Factor, O: Element>(
    cpu: &Cpu,
    task: &Task<'_, E, O>,
    rows: Range<usize>,
    (k, all_panels): (usize, usize),
    wide: Option<&WideRows<'_>>,
) {
    let threads = cpu.pool.threads();
    let tile_rows = task.tile_rows();
    let row_block = row_block(rows.len(), tile_rows, all_panels, threads);
    let row_blocks = rows.len().div_ceil(row_block);
    let panels = match rows.len() <= tile_rows {
        true => panels_of_few_rows::<E>((k, all_panels), threads),
        false => 1,
    };
    cpu.pool
        .run(all_panels.div_ceil(panels) * row_blocks, |index| {
            let first = rows.start + index % row_blocks * row_block;
            let panel = index / row_blocks * panels;
            for panel in panel..(panel + panels).min(all_panels) {
                task.run(Place {
                    wide,
                    panel,
                    rows: first..(first + row_block).min(rows.end),
                    next: (index + threads) / row_blocks * panels,
                });
            }
        });
}

/// Rows of `stride` numbers that are widened at a time, nearly equally many each time.
fn wide_rows(m: usize, stride: usize) -> usize {
    let most = (WIDE_BYTES / (size_of::<f32>() * stride.max(1))).max(ROW_BLOCK);
    m.div_ceil(m.div_ceil(most))
}

/// Rows per task: all of them if there are panels enough to share, else so
/// many that each thread gets several tasks.
fn row_block(m: usize, tile_rows: usize, panels: usize, threads: usize) -> usize {
    let wanted = (4 * threads).div_ceil(panels).max(m.div_ceil(ROW_BLOCK));
    let wanted = wanted.min(m.div_ceil(4 * tile_rows)).max(1);
    m.div_ceil(wanted).next_multiple_of(tile_rows)
}

/// Panels per task. With few rows, reading them is all the work, and each
/// thread should read one stretch of memory, or a few long ones.
fn panels_of_few_rows<E: Factor>((k, panels): (usize, usize), threads: usize) -> usize {
    let bytes = panels.saturating_mul(PANEL * k * size_of::<E>());
    let stretches = bytes.div_ceil(threads * LONG_STRETCH).max(1);
    panels.div_ceil(threads * stretches)
}

/// Bytes of the copies that [`left`] makes for a first factor.
pub(in crate::cpu) fn workspace_bytes(first: FirstFactor) -> usize {
    let (first, _) = oriented(first);
    copied_elements(first).saturating_mul(first.dtype.size())
}

/// A first factor is copied if it is transposed or its rows do not hold whole
/// groups.
fn copied_elements(
    FirstFactor {
        dtype,
        m,
        k,
        transposed,
        ..
    }: FirstFactor,
) -> usize {
    with_element!(dtype, E => {
        let stride = k.next_multiple_of(<E as Factor>::GROUP);
        if k == 0 || (!transposed && stride == k) { 0 } else { m.saturating_mul(stride) }
    })
}

/// The first factor in the form that kernels read: as it is, or copied to
/// `rows`.
fn left<'a, E: Factor>(
    cpu: &Cpu,
    a: &'a Tensor,
    first: FirstFactor,
    rows: &'a mut [E],
) -> Left<'a, E> {
    let FirstFactor {
        m, k, transposed, ..
    } = first;
    let data = a.as_slice::<E>();
    let stride = k.next_multiple_of(E::GROUP);
    if rows.is_empty() {
        return Left::new(data, stride);
    }
    if transposed {
        let target = RowsMut::new(&mut *rows, stride);
        cpu.pool.for_rows(m, PANEL, target, |range, part| {
            let from = &data[range.start.min(data.len())..];
            transpose_rows(cpu.tier, from, m, (k, range.len()), part, stride);
        });
    } else {
        for (target, row) in rows
            .chunks_exact_mut(stride)
            .zip(data.chunks_exact(k.max(1)))
        {
            target[..k].copy_from_slice(row);
            target[k..].fill(E::default());
        }
    }
    Left::new(rows, stride)
}
