//! Matrix products on the CPU.
//!
//! The second factor is read in packed panels of 64 columns (`panels`), the
//! first row by row; `kernel` and its neighbours multiply a few rows with one
//! panel in registers. A task is one panel and a block of rows, so that a
//! piece of the panel stays in the second-level cache while the rows go by.

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
pub(super) mod kernel;
pub(super) mod panels;
mod portable;
pub(super) mod transpose;

use std::ops::Range;

use half::bf16;

#[cfg(target_arch = "x86_64")]
pub(crate) use self::amx::products_in_amx_registers;
use self::kernel::{Factor, Kernel, PANEL, Tile, VECTOR};
use self::panels::{Matrix, Source, packed_len, panel_width, transpose_rows};
use super::Cpu;
use super::scratch;
use super::simd::for_each_tier;
use super::split::RowsMut;
use crate::backend::{FirstFactor, PackedWeight, Product, Storage};
use crate::dtype::Element;
use crate::error::Result;
use crate::host::held_bytes;
use crate::ops::{FrozenWeight, K_BLOCK, Packing, Weight};
use crate::tensor::with_element;
use crate::{DType, Tensor, Tier};

/// Most rows of a task.
const ROW_BLOCK: usize = 240;
/// Bytes of a stretch of memory that is long enough to be read at full speed.
const LONG_STRETCH: usize = 1 << 20;

/// Bytes of a packed `[out, input]` weight.
pub(super) fn packed_bytes(out: usize, input: usize, dtype: DType, packing: Packing) -> usize {
    with_element!(dtype, E => {
        let forward = packed_len::<E>(input, out);
        let backward = packed_len::<E>(out, input);
        let held = |elements: usize| held_bytes(elements.saturating_mul(size_of::<E>()));
        match packing {
            Packing::Rows => held(out.saturating_mul(input)),
            Packing::Forward => held(forward),
            Packing::Both => held(forward).saturating_add(held(backward)),
        }
    })
}

pub(super) fn pack(cpu: &Cpu, weight: &Tensor, packing: Packing) -> Result<PackedWeight> {
    with_element!(weight.dtype(), E => {
        let (out, input) = weight.rows_by_width();
        let values = weight.as_slice::<E>();
        let panels = |source, k, n| -> Result<Option<Storage>> {
            let len = packed_len::<E>(k, n);
            let mut storage = cpu.weight_memory(len.saturating_mul(size_of::<E>()))?;
            let matrix = Matrix { source, k, n };
            matrix.pack_all(cpu, storage.host_mut().slice_mut(len));
            Ok(Some(storage))
        };
        let mut packed = PackedWeight::default();
        if packing == Packing::Rows {
            let mut storage = cpu.weight_memory(size_of_val(values))?;
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

fn frozen_source<E: Factor>(weight: &FrozenWeight, transposed: bool) -> Source<'_, E> {
    let (out, input) = (weight.out_features(), weight.in_features());
    let packed = weight.packed();
    let forward_len = packed_len::<E>(input, out);
    let backward_len = packed_len::<E>(out, input);
    let rows = packed
        .rows
        .as_ref()
        .map(|s| s.host().slice::<E>(out * input));
    let forward = packed
        .forward
        .as_ref()
        .map(|s| s.host().slice::<E>(forward_len));
    let backward = packed
        .backward
        .as_ref()
        .map(|s| s.host().slice::<E>(backward_len));
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
                for (group, values) in row.chunks_mut(E::GROUP).enumerate() {
                    let cell = (group * width + id % PANEL) * E::GROUP;
                    for (value, stored) in values.iter_mut().zip(&cells[cell..]) {
                        *value = stored.to_f32();
                    }
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

pub(super) fn matmul(
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

/// The first factor as rows with a whole number of groups.
struct Left<'a, E> {
    data: &'a [E],
    stride: usize,
}

fn run<E: Factor, O: Element>(
    cpu: &Cpu,
    product: &Product<'_>,
    workspace: Option<&mut Storage>,
    out: &mut Tensor,
) {
    let &Product {
        m,
        k,
        n,
        ref epilogue,
        ..
    } = product;
    let b = matrix_of::<E>(product.b.weight, product.b.transposed, k, n);
    let (first, low_rank_first) = product.first_factors();
    let copies = copied_elements(first) + low_rank_first.map_or(0, copied_elements);
    let space = workspace.map_or(&mut [][..], |w| w.host_mut().slice_mut::<E>(copies));
    let (a_space, u_space) = space.split_at_mut(copied_elements(first));
    let a = left(cpu, product.a, first, a_space);
    let low_rank = match (&epilogue.low_rank, low_rank_first) {
        (Some(term), Some(first)) if first.k > 0 => {
            let u = left(cpu, term.u, first, u_space);
            let b = matrix_of::<E>(term.b, term.transposed, first.k, n);
            Some((u, b))
        }
        _ => None,
    };
    let finish = Finish {
        scale: epilogue.scale,
        bias: epilogue.bias.map(Tensor::as_slice),
        low_rank_scale: epilogue.low_rank.map_or(0.0, |term| term.scale),
        low_rank_row_scales: epilogue.low_rank.and_then(|term| term.row_scales),
        accumulate: epilogue.accumulate,
    };
    let task = Task {
        tier: cpu.tier,
        kernel: E::kernel(cpu.tier),
        a,
        b,
        low_rank,
        finish,
        out: RowsMut::new(out.as_mut_slice::<O>(), n),
    };
    let threads = cpu.pool.threads();
    let tile_rows = task.kernel.rows;
    let row_block = row_block(m, tile_rows, b.panels(), threads);
    let row_blocks = m.div_ceil(row_block);
    let panels = match m <= tile_rows {
        true => panels_of_few_rows::<E>((k, b.panels()), threads),
        false => 1,
    };
    cpu.pool
        .run(b.panels().div_ceil(panels) * row_blocks, |index| {
            let first = index % row_blocks * row_block;
            let panel = index / row_blocks * panels;
            for panel in panel..(panel + panels).min(b.panels()) {
                task.run(panel, first..(first + row_block).min(m));
            }
        });
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

/// What the tasks of one product share.
struct Task<'a, E, O> {
    tier: Tier,
    kernel: Kernel<E>,
    a: Left<'a, E>,
    b: Matrix<'a, E>,
    low_rank: Option<(Left<'a, E>, Matrix<'a, E>)>,
    finish: Finish<'a>,
    out: RowsMut<'a, O>,
}

impl<E: Factor, O: Element> Task<'_, E, O> {
    /// Computes one panel's columns of the rows in `range`.
    fn run(&self, panel: usize, range: Range<usize>) {
        let (columns, width) = panel_width(panel, self.b.n);
        let rank = self
            .low_rank
            .as_ref()
            .map_or(0, |(_, b)| b.k.next_multiple_of(E::GROUP));
        let piece_len = if self.b.is_packed() {
            0
        } else {
            K_BLOCK.min(self.b.k + 1) * width
        };
        let rows = range.len();
        // Tiles of nearly equal height use the registers better than full ones
        // with a small rest.
        let tiles = rows.div_ceil(self.kernel.rows);
        let blocks = self.b.k.div_ceil(K_BLOCK).max(1);
        scratch::with((rows + self.kernel.rows) * width, |sums: &mut [f32]| {
            scratch::with(piece_len + rank * width, |space: &mut [E]| {
                let (sums, extra) = sums.split_at_mut(rows * width);
                let (space, extra_space) = space.split_at_mut(piece_len);
                let extra_piece = self
                    .low_rank
                    .as_ref()
                    .map(|(u, b)| (u, b.piece(self.tier, panel, (0, b.k), extra_space)));
                for block in 0..blocks {
                    let (k0, k1) = (block * K_BLOCK, ((block + 1) * K_BLOCK).min(self.b.k));
                    let piece = self.b.piece(self.tier, panel, (k0, k1), space);
                    for tile in 0..tiles {
                        let row = tile * rows / tiles;
                        let height = (tile + 1) * rows / tiles - row;
                        let first = range.start + row;
                        let sums = &mut sums[row * width..(row + height) * width];
                        // The next piece lies behind this one.
                        let next = piece
                            .as_ptr_range()
                            .end
                            .wrapping_add(tile * piece.len() / 4);
                        let ahead = if tile < 4 && tiles > 1 {
                            next
                        } else {
                            std::ptr::null()
                        };
                        self.tile(&self.a, (first, height), (k0, k1), piece, sums, ahead);
                        if block + 1 < blocks {
                            continue;
                        }
                        let mut extra = &mut extra[..height * width];
                        match extra_piece {
                            Some((u, piece)) => self.extra(u, (first, height), piece, width, extra),
                            None => extra = &mut [],
                        }
                        let start = panel * PANEL;
                        let place = (first, height, start, columns);
                        finish_rows(
                            self.tier,
                            &self.finish,
                            sums,
                            extra,
                            width,
                            &self.out,
                            place,
                        );
                    }
                }
            });
        });
    }

    /// The low-rank term's `u · b` for one tile.
    fn extra(
        &self,
        u: &Left<'_, E>,
        rows: (usize, usize),
        piece: &[E],
        width: usize,
        sums: &mut [f32],
    ) {
        let rank = piece.len() / width;
        for k0 in (0..rank).step_by(K_BLOCK) {
            let k1 = (k0 + K_BLOCK).min(rank);
            self.tile(
                u,
                rows,
                (k0, k1),
                &piece[k0 * width..k1 * width],
                sums,
                std::ptr::null(),
            );
        }
    }

    /// One kernel call: adds the part of the sum from `k0` to `k1`.
    fn tile(
        &self,
        a: &Left<'_, E>,
        (first, height): (usize, usize),
        (k0, k1): (usize, usize),
        piece: &[E],
        sums: &mut [f32],
        prefetch: *const E,
    ) {
        let width = sums.len() / height;
        let groups = (k1 - k0).div_ceil(E::GROUP);
        assert!((first + height) * a.stride <= a.data.len() && k1 <= a.stride);
        assert!(groups * E::GROUP * width <= piece.len());
        // SAFETY: a device gets only tiers that its processor can run; the rows
        // of `a`, `piece` and `sums` are long enough, as just checked (a stride
        // holds whole groups).
        unsafe {
            (self.kernel.run)(&Tile {
                rows: height,
                vectors: width / VECTOR,
                groups,
                a: a.data.as_ptr().add(first * a.stride + k0),
                a_stride: a.stride,
                panel: piece.as_ptr(),
                c: sums.as_mut_ptr(),
                c_stride: width,
                add: k0 > 0,
                prefetch,
            });
        }
    }
}

/// Bytes of the copy that [`left`] makes.
pub(super) fn workspace_bytes(first: FirstFactor) -> usize {
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
        return Left { data, stride };
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
    Left { data: rows, stride }
}

/// What happens to a row of sums before it is stored.
struct Finish<'a> {
    scale: f32,
    bias: Option<&'a [f32]>,
    low_rank_scale: f32,
    low_rank_row_scales: Option<&'a [f32]>,
    accumulate: bool,
}

for_each_tier! {
    /// Stores the rows of a tile: `height` rows from `first` on, `columns`
    /// columns from `start` on.
    fn finish_rows<O: Element>(
        finish: &Finish<'_>,
        sums: &[f32],
        extra: &[f32],
        width: usize,
        out: &RowsMut<'_, O>,
        place: (usize, usize, usize, usize),
    ) {
        let (first, height, start, columns) = place;
        let plain = finish.scale == 1.0 && extra.is_empty() && finish.bias.is_none();
        for row in 0..height {
            let sums = &sums[row * width..][..columns];
            // SAFETY: each task has its own rows and columns of `out`.
            let out = unsafe { out.cells(first + row, start..start + columns) };
            if plain && !finish.accumulate {
                for (out, sum) in out.iter_mut().zip(sums) {
                    *out = O::from_f32(*sum);
                }
                continue;
            }
            let mut values = [0.0f32; PANEL];
            for (value, sum) in values.iter_mut().zip(sums) {
                *value = sum * finish.scale;
            }
            if !extra.is_empty() {
                let scale = finish
                    .low_rank_row_scales
                    .map_or(finish.low_rank_scale, |scales| scales[first + row]);
                for (value, extra) in values.iter_mut().zip(&extra[row * width..][..columns]) {
                    *value += extra * scale;
                }
            }
            if let Some(bias) = finish.bias {
                for (value, bias) in values.iter_mut().zip(&bias[start..start + columns]) {
                    *value += bias;
                }
            }
            if finish.accumulate {
                for (value, out) in values.iter_mut().zip(&*out) {
                    *value += out.to_f32();
                }
            }
            for (out, value) in out.iter_mut().zip(&values) {
                *out = O::from_f32(*value);
            }
        }
    }
}

const _: () = assert!(K_BLOCK.is_multiple_of(<bf16 as Factor>::GROUP));
