//! Moving rows: embedding lookup, gathering, scattering.

use super::Cpu;
use super::elementwise::{add_slice, cast_slice};
use super::gemm;
use super::split::{RowsMut, rows_per_task};
use crate::dtype::Element;
use crate::ops::Weight;
use crate::tensor::with_element;
use crate::{Tensor, Tier};

/// Columns of a task that adds rows up.
const COLUMNS: usize = 512;

pub(super) fn embedding_forward(cpu: &Cpu, table: Weight<'_>, ids: &[u32], y: &mut Tensor) {
    let width = y.rows_by_width().1;
    match table {
        Weight::Dense(table) => with_element!(table.dtype(), X => with_element!(y.dtype(), Y => {
            gather_as::<X, Y>(cpu, table.as_slice(), ids, width, y.as_mut_slice());
        })),
        Weight::Frozen(weight) => with_element!(y.dtype(), Y => {
            let y = RowsMut::new(y.as_mut_slice::<Y>(), width);
            cpu.pool.for_rows(ids.len(), rows_per_task(width), y, |rows, y| {
                let mut row = vec![0.0f32; width];
                for (y, &id) in y.chunks_exact_mut(width.max(1)).zip(&ids[rows]) {
                    gemm::read_row(weight, id as usize, &mut row);
                    cast_slice(cpu.tier, &row, y);
                }
            });
        }),
    }
}

pub(super) fn gather(cpu: &Cpu, x: &Tensor, rows: &[u32], y: &mut Tensor) {
    let width = x.rows_by_width().1;
    with_element!(x.dtype(), X => {
        gather_as::<X, X>(cpu, x.as_slice(), rows, width, y.as_mut_slice());
    });
}

fn gather_as<X: Element, Y: Element>(cpu: &Cpu, x: &[X], rows: &[u32], width: usize, y: &mut [Y]) {
    if width == 0 {
        return;
    }
    let y = RowsMut::new(y, width);
    cpu.pool
        .for_rows(rows.len(), rows_per_task(width), y, |range, y| {
            for (y, &row) in y.chunks_exact_mut(width).zip(&rows[range]) {
                cast_slice(cpu.tier, &x[row as usize * width..][..width], y);
            }
        });
}

/// `y[rows[i]] = x[i]`, or `+=`. Tasks take columns, so that rows that occur
/// twice are met in order.
pub(super) fn scatter(cpu: &Cpu, x: &Tensor, rows: &[u32], y: &mut Tensor, accumulate: bool) {
    let width = x.rows_by_width().1;
    if width == 0 {
        return;
    }
    with_element!(x.dtype(), X => {
        let x = x.as_slice::<X>();
        if accumulate {
            scatter_as(cpu, x, rows, width, y.as_mut_slice::<f32>(), add_slice);
        } else {
            scatter_as(cpu, x, rows, width, y.as_mut_slice::<X>(), cast_slice::<X, X>);
        }
    });
}

fn scatter_as<X: Element, Y: Element>(
    cpu: &Cpu,
    x: &[X],
    rows: &[u32],
    width: usize,
    y: &mut [Y],
    write: fn(Tier, &[X], &mut [Y]),
) {
    if rows.is_empty() {
        return;
    }
    let y = RowsMut::new(y, width);
    cpu.pool.run(width.div_ceil(COLUMNS), |task| {
        let columns = task * COLUMNS..((task + 1) * COLUMNS).min(width);
        for (x, &row) in x.chunks_exact(width).zip(rows) {
            // SAFETY: each task has its own columns.
            let cells = unsafe { y.cells(row as usize, columns.clone()) };
            write(cpu.tier, &x[columns.clone()], cells);
        }
    });
}

/// The column of each row's first largest number; `None` for a row in which a number
/// is not finite.
pub(super) fn argmax(x: &Tensor) -> Vec<Option<u32>> {
    let (rows, width) = x.rows_by_width();
    with_element!(x.dtype(), E => {
        let values = x.as_slice::<E>();
        let row = |row: usize| row_argmax(&values[row * width..(row + 1) * width]);
        (0..rows).map(row).collect()
    })
}

fn row_argmax<E: Element>(row: &[E]) -> Option<u32> {
    let (mut best, mut largest, mut finite) = (None, f32::NEG_INFINITY, true);
    for (column, value) in row.iter().enumerate() {
        let value = value.to_f32();
        finite &= value.is_finite();
        if value > largest {
            (best, largest) = (Some(column as u32), value);
        }
    }
    best.filter(|_| finite)
}
