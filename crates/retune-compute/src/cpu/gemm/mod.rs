//! Matrix products on the CPU.
//!
//! The second factor is read in packed panels of 64 columns (`panels`), the
//! first row by row; `kernel` and its neighbours multiply six rows with one
//! panel in registers. A task is one panel and a block of rows, so that a
//! piece of the panel stays in the second-level cache while the rows go by.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
pub(super) mod kernel;
pub(super) mod panels;
mod portable;
pub(super) mod transpose;

use half::bf16;

use self::kernel::{Factor, MAX_ROWS, PANEL, Tile, VECTOR};
use self::panels::{Matrix, Source, packed_len, panel_width, transpose_rows};
use super::Cpu;
use super::scratch;
use super::simd::for_each_tier;
use super::split::RowsMut;
use crate::backend::{PackedWeight, Product, Storage};
use crate::dtype::Element;
use crate::error::Result;
use crate::ops::{FrozenWeight, LowRank, Packing, Weight};
use crate::tensor::with_element;
use crate::{DType, Tensor};

/// Values of `k` that one chain of multiply-adds takes. Part of what a
/// product means: see [`crate::ops`]'s `matmul`.
pub(crate) const K_BLOCK: usize = 512;
/// Most rows of a task.
const ROW_BLOCK: usize = 240;

/// Bytes of a packed `[out, input]` weight.
pub(super) fn packed_bytes(out: usize, input: usize, dtype: DType, packing: Packing) -> usize {
    with_element!(dtype, E => {
        let forward = packed_len::<E>(input, out);
        let backward = packed_len::<E>(out, input);
        let elements = match packing {
            Packing::Rows => out * input,
            Packing::Forward => forward,
            Packing::Both => forward + backward,
        };
        elements * size_of::<E>()
    })
}

pub(super) fn pack(cpu: &Cpu, weight: &Tensor, packing: Packing) -> Result<PackedWeight> {
    with_element!(weight.dtype(), E => {
        let (out, input) = weight.rows_by_width();
        let values = weight.as_slice::<E>();
        let panels = |source, k, n| -> Result<Option<Storage>> {
            let len = packed_len::<E>(k, n);
            let mut storage = cpu.host_memory(len * size_of::<E>())?;
            let matrix = Matrix { source, k, n };
            matrix.pack_all(cpu, storage.host_mut().slice_mut(len));
            Ok(Some(storage))
        };
        let mut packed = PackedWeight::default();
        if packing == Packing::Rows {
            let mut storage = cpu.host_memory(size_of_val(values))?;
            storage.host_mut().slice_mut(values.len()).copy_from_slice(values);
            packed.rows = Some(storage);
        } else {
            packed.forward = panels(Source::Columns(values), input, out)?;
        }
        if packing == Packing::Both {
            packed.backward = panels(Source::Rows(values), out, input)?;
        }
        Ok(packed)
    })
}

/// The second factor as a `[k, n]` matrix, in the best form there is.
fn matrix_of<'a, E: Factor>(weight: Weight<'a>, transposed: bool, k: usize, n: usize) -> Matrix<'a, E> {
    let source = match weight {
        Weight::Trained(tensor) if transposed => Source::Columns(tensor.as_slice()),
        Weight::Trained(tensor) => Source::Rows(tensor.as_slice()),
        Weight::Frozen(weight) => frozen_source(weight, transposed),
    };
    Matrix { source, k, n }
}

fn frozen_source<E: Factor>(weight: &FrozenWeight, transposed: bool) -> Source<'_, E> {
    let (out, input) = (weight.out_features(), weight.in_features());
    let packed = weight.packed();
    let forward_len = packed_len::<E>(input, out);
    let backward_len = packed_len::<E>(out, input);
    let rows = packed.rows.as_ref().map(|s| s.host().slice::<E>(out * input));
    let forward = packed.forward.as_ref().map(|s| s.host().slice::<E>(forward_len));
    let backward = packed.backward.as_ref().map(|s| s.host().slice::<E>(backward_len));
    match (transposed, rows, forward, backward) {
        (true, _, Some(panels), _) | (false, _, _, Some(panels)) => Source::Panels(panels),
        (false, _, Some(panels), None) => Source::PanelsOfTransposed(panels),
        (true, Some(rows), None, _) => Source::Columns(rows),
        (false, Some(rows), None, None) => Source::Rows(rows),
        _ => unreachable!("a frozen weight is kept in some form"),
    }
}

/// Copies row `id` of a frozen weight, widened to f32.
pub(super) fn read_row(weight: &FrozenWeight, id: usize, row: &mut [f32]) {
    with_element!(weight.dtype(), E => {
        match frozen_source::<E>(weight, true) {
            Source::Panels(panels) => {
                let k = weight.in_features().next_multiple_of(E::GROUP);
                let panel = id / PANEL;
                let (_, width) = panel_width(panel, weight.out_features());
                let cells = &panels[panel * PANEL * k..];
                for (index, value) in row.iter_mut().enumerate() {
                    let (group, within) = (index / E::GROUP, index % E::GROUP);
                    let cell = (group * width + id % PANEL) * E::GROUP + within;
                    *value = cells[cell].to_f32();
                }
            }
            Source::Columns(rows) => {
                let start = id * row.len();
                for (value, stored) in row.iter_mut().zip(&rows[start..]) {
                    *value = stored.to_f32();
                }
            }
            Source::Rows(_) | Source::PanelsOfTransposed(_) => {
                unreachable!("the forward form is asked for")
            }
        }
    });
}

pub(super) fn matmul(cpu: &Cpu, product: &Product<'_>, out: &mut Tensor) -> Result<()> {
    with_element!(product.a.dtype(), E => {
        with_element!(out.dtype(), O => run::<E, O>(cpu, product, out))
    })
}

/// The first factor as rows with a whole number of groups.
struct Left<'a, E> {
    data: &'a [E],
    stride: usize,
}

fn run<E: Factor, O: Element>(cpu: &Cpu, product: &Product<'_>, out: &mut Tensor) -> Result<()> {
    let &Product { m, k, n, ref epilogue, .. } = product;
    let b = matrix_of::<E>(product.b.weight, product.b.transposed, k, n);
    let mut a_copy = None;
    let a = left(cpu, product.a, product.a_transposed, (m, k), &mut a_copy)?;
    let mut u_copy = None;
    let low_rank = match &epilogue.low_rank {
        None => None,
        Some(LowRank { u, b, transposed, scale }) => {
            let rank = u.rows_by_width().1;
            let u = left(cpu, u, false, (m, rank), &mut u_copy)?;
            let b = matrix_of::<E>(Weight::Trained(b), *transposed, rank, n);
            (rank > 0).then_some((u, b, *scale))
        }
    };
    let finish = Finish {
        scale: epilogue.scale,
        bias: epilogue.bias.map(Tensor::as_slice),
        low_rank_scale: low_rank.as_ref().map_or(0.0, |(.., scale)| *scale),
        accumulate: epilogue.accumulate,
    };
    let row_block = row_block(m, b.panels(), cpu.pool.threads());
    let row_blocks = m.div_ceil(row_block);
    let out = RowsMut::new(out.as_mut_slice::<O>(), n);
    cpu.pool.run(b.panels() * row_blocks, |task| {
        let panel = task / row_blocks;
        let first = task % row_blocks * row_block;
        let rows = row_block.min(m - first);
        let (columns, width) = panel_width(panel, n);
        scratch::with(rows * width, |sums: &mut [f32]| {
            multiply(cpu, &a, &b, panel, (first, rows), sums);
            let mut store = |extra: &[f32]| {
                for row in 0..rows {
                    let extra = extra.get(row * width..).unwrap_or(&[]);
                    let start = panel * PANEL;
                    // SAFETY: each task has its own rows and columns of `out`.
                    let cells = unsafe { out.cells(first + row, start..start + columns) };
                    finish.row(cpu.tier, start, &sums[row * width..], extra, cells);
                }
            };
            match &low_rank {
                None => store(&[]),
                Some((u, b, _)) => scratch::with(rows * width, |extra: &mut [f32]| {
                    multiply(cpu, u, b, panel, (first, rows), extra);
                    store(extra);
                }),
            }
        });
    });
    Ok(())
}

/// Rows per task: all of them if there are panels enough to share, else so
/// many that each thread gets several tasks.
fn row_block(m: usize, panels: usize, threads: usize) -> usize {
    let wanted = (4 * threads).div_ceil(panels).max(m.div_ceil(ROW_BLOCK));
    let wanted = wanted.min(m.div_ceil(4 * MAX_ROWS)).max(1);
    m.div_ceil(wanted).next_multiple_of(MAX_ROWS)
}

/// `sums[rows][width] = a[first..first + rows] · panel`.
fn multiply<E: Factor>(
    cpu: &Cpu,
    a: &Left<'_, E>,
    b: &Matrix<'_, E>,
    panel: usize,
    (first, rows): (usize, usize),
    sums: &mut [f32],
) {
    let kernel = E::kernel(cpu.tier);
    let (_, width) = panel_width(panel, b.n);
    // Tiles of nearly equal height use the registers better than full ones
    // with a small rest.
    let tiles = rows.div_ceil(MAX_ROWS);
    let space = if b.is_packed() { 0 } else { K_BLOCK.min(b.k + 1) * width };
    assert!(first * a.stride + rows * a.stride <= a.data.len() && rows * width <= sums.len());
    scratch::with(space, |space: &mut [E]| {
        for k0 in (0..b.k.max(1)).step_by(K_BLOCK) {
            let k1 = (k0 + K_BLOCK).min(b.k);
            let piece = b.piece(cpu.tier, panel, (k0, k1), space);
            for tile in 0..tiles {
                let row = tile * rows / tiles;
                let height = (tile + 1) * rows / tiles - row;
                // SAFETY: a device gets only tiers that its processor can run;
                // `a` has `first + rows` rows of at least `k` elements rounded
                // up to groups, `sums` has `rows` rows of `width`, as checked
                // above; the piece has that many groups.
                unsafe {
                    kernel(&Tile {
                        rows: height,
                        vectors: width / VECTOR,
                        groups: (k1 - k0).div_ceil(E::GROUP),
                        a: a.data.as_ptr().add((first + row) * a.stride + k0),
                        a_stride: a.stride,
                        panel: piece.as_ptr(),
                        c: sums.as_mut_ptr().add(row * width),
                        c_stride: width,
                        add: k0 > 0,
                        prefetch: std::ptr::null(),
                    });
                }
            }
        }
    });
}

/// The first factor in the form that kernels read: as it is, or copied if it
/// is transposed or its rows do not hold whole groups.
fn left<'a, E: Factor>(
    cpu: &Cpu,
    a: &'a Tensor,
    transposed: bool,
    (m, k): (usize, usize),
    copy: &'a mut Option<Storage>,
) -> Result<Left<'a, E>> {
    let data = a.as_slice::<E>();
    let stride = k.next_multiple_of(E::GROUP);
    if !transposed && stride == k {
        return Ok(Left { data, stride });
    }
    let storage = copy.insert(cpu.host_memory(m * stride * size_of::<E>())?);
    let rows: &mut [E] = storage.host_mut().slice_mut(m * stride);
    if transposed {
        let target = RowsMut::new(rows, stride);
        cpu.pool.for_rows(m, PANEL, target, |range, part| {
            let from = &data[range.start.min(data.len())..];
            transpose_rows(cpu.tier, from, m, (k, range.len()), part, stride);
        });
    } else {
        for (target, row) in rows.chunks_exact_mut(stride).zip(data.chunks_exact(k.max(1))) {
            target[..k].copy_from_slice(row);
            target[k..].fill(E::default());
        }
    }
    Ok(Left { data: storage.host().slice(m * stride), stride })
}

/// What happens to a row of sums before it is stored.
struct Finish<'a> {
    scale: f32,
    bias: Option<&'a [f32]>,
    low_rank_scale: f32,
    accumulate: bool,
}

impl Finish<'_> {
    fn row<O: Element>(&self, tier: crate::Tier, start: usize, sums: &[f32], extra: &[f32], out: &mut [O]) {
        let columns = out.len();
        let bias = self.bias.map_or(&[][..], |bias| &bias[start..start + columns]);
        let extra = if extra.is_empty() { extra } else { &extra[..columns] };
        let factors = [self.scale, self.low_rank_scale];
        finish_row(tier, factors, &sums[..columns], extra, bias, self.accumulate, out);
    }
}

for_each_tier! {
    fn finish_row<O: Element>(
        factors: [f32; 2],
        sums: &[f32],
        extra: &[f32],
        bias: &[f32],
        accumulate: bool,
        out: &mut [O],
    ) {
        let [scale, extra_scale] = factors;
        let plain = scale == 1.0 && extra.is_empty();
        if plain && bias.is_empty() && !accumulate {
            for (out, sum) in out.iter_mut().zip(sums) {
                *out = O::from_f32(*sum);
            }
            return;
        }
        let mut row = [0.0f32; PANEL];
        for (value, sum) in row.iter_mut().zip(sums) {
            *value = sum * scale;
        }
        for (value, extra) in row.iter_mut().zip(extra) {
            *value += extra * extra_scale;
        }
        for (value, bias) in row.iter_mut().zip(bias) {
            *value += bias;
        }
        if accumulate {
            for (value, out) in row.iter_mut().zip(&*out) {
                *value += out.to_f32();
            }
        }
        for (out, value) in out.iter_mut().zip(&row) {
            *out = O::from_f32(*value);
        }
    }
}

const _: () = assert!(K_BLOCK.is_multiple_of(<bf16 as Factor>::GROUP));
