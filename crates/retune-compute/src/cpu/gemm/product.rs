//! Products: how their work is cut into tasks, and what a task does.

use std::ops::Range;

use super::frozen_source;
use super::kernel::{Ahead, Factor, Kernel, PANEL, Tile, VECTOR, Widening};
use super::panels::{Matrix, Source, panel_width, transpose_rows};
use crate::backend::{FirstFactor, Product, Storage};
use crate::cpu::Cpu;
use crate::cpu::scratch;
use crate::cpu::simd::for_each_tier;
use crate::cpu::split::RowsMut;
use crate::dtype::Element;
use crate::ops::{Epilogue, K_BLOCK, Weight};
use crate::tensor::with_element;
use crate::{Tensor, Tier};

/// Most rows of a task.
const ROW_BLOCK: usize = 240;
/// Bytes of a line of the caches.
const LINE: usize = 64;
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

/// `aᵀ·b` with a narrow `b` is computed as `(bᵀ·a)ᵀ`, so that the narrow one is
/// transposed and not the other: the gradient of LoRA's second factor. Returns
/// `b` in that case.
fn flipped<'a>(product: &Product<'a>) -> Option<&'a Tensor> {
    let Epilogue { bias, low_rank, .. } = product.epilogue;
    match product.b.weight {
        Weight::Dense(b)
            if product.a_transposed
                && !product.b.transposed
                && product.n <= PANEL.min(product.m)
                && bias.is_none()
                && low_rank.is_none() =>
        {
            Some(b)
        }
        _ => None,
    }
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
    let (first, low_rank_first) = product.first_factors();
    let copies = copied_elements(first) + low_rank_first.map_or(0, copied_elements);
    let space = workspace.map_or(&mut [][..], |w| w.host_mut().slice_mut::<E>(copies));
    let (a_space, u_space) = space.split_at_mut(copied_elements(first));
    let epilogue = &product.epilogue;
    let k = product.k;
    let flipped = flipped(product);
    let (m, n) = match flipped {
        None => (product.m, product.n),
        Some(_) => (product.n, product.m),
    };
    let (a, b) = match flipped {
        None => (
            left(cpu, product.a, first, a_space),
            matrix_of::<E>(product.b.weight, product.b.transposed, k, n),
        ),
        Some(b) => (
            left(cpu, b, FirstFactor { m, ..first }, a_space),
            matrix_of::<E>(product.a.into(), false, k, n),
        ),
    };
    let low_rank = match (&epilogue.low_rank, low_rank_first) {
        (Some(term), Some(first)) if first.k > 0 => {
            let u = left(cpu, term.u, first, u_space);
            let b = matrix_of::<E>(term.b, term.transposed, first.k, n);
            Some((u, b))
        }
        _ => None,
    };
    let finish = Finish {
        flipped: flipped.is_some(),
        scale: epilogue.scale,
        bias: epilogue.bias.map(Tensor::as_slice),
        low_rank_scale: epilogue.low_rank.map_or(0.0, |term| term.scale),
        low_rank_row_scales: epilogue.low_rank.and_then(|term| term.row_scales),
        accumulate: epilogue.accumulate,
    };
    let kernel = E::kernel(cpu.tier);
    let task = Task {
        tier: cpu.tier,
        kernel,
        widening: E::widening(cpu.tier).filter(|_| m > kernel.rows),
        a,
        b,
        low_rank,
        finish,
        out: RowsMut::new(out.as_mut_slice::<O>(), product.n),
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
            // What this thread most likely does next.
            let next = (index + threads) / row_blocks * panels;
            for panel in panel..(panel + panels).min(b.panels()) {
                task.run((panel, next), first..(first + row_block).min(m));
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
    widening: Option<Widening<E>>,
    a: Left<'a, E>,
    b: Matrix<'a, E>,
    low_rank: Option<(Left<'a, E>, Matrix<'a, E>)>,
    finish: Finish<'a>,
    out: RowsMut<'a, O>,
}

impl<E: Factor, O: Element> Task<'_, E, O> {
    /// Computes one panel's columns of the rows in `range`, and asks for the
    /// memory of `next`, the panel behind it.
    fn run(&self, (panel, next): (usize, usize), range: Range<usize>) {
        let (columns, width) = panel_width(panel, self.b.n);
        let rank = self
            .low_rank
            .as_ref()
            .map_or(0, |(_, b)| b.k.next_multiple_of(E::GROUP));
        let depth = K_BLOCK.min(self.b.k + 1);
        let piece_len = if self.b.is_packed() { 0 } else { depth * width };
        let wide_len = self.widening.map_or(0, |_| depth * width);
        let wide_rows = self.widening.map_or(0, |w| w.kernel.rows * depth);
        let rows = range.len();
        // Tiles of nearly equal height use the registers better than full ones
        // with a small rest.
        let tiles = rows.div_ceil(self.kernel.rows);
        let blocks = self.b.k.div_ceil(K_BLOCK).max(1);
        let floats = (rows + self.kernel.rows) * width + wide_len + wide_rows;
        scratch::with(floats, |floats: &mut [f32]| {
            scratch::with(piece_len + rank * width, |space: &mut [E]| {
                let (sums, floats) = floats.split_at_mut(rows * width);
                let (extra, floats) = floats.split_at_mut(self.kernel.rows * width);
                let (wide_piece, wide_rows) = floats.split_at_mut(wide_len);
                let (space, extra_space) = space.split_at_mut(piece_len);
                let extra_piece = self
                    .low_rank
                    .as_ref()
                    .map(|(u, b)| (u, b.piece(self.tier, panel, (0, b.k), extra_space)));
                for block in 0..blocks {
                    let (k0, k1) = (block * K_BLOCK, ((block + 1) * K_BLOCK).min(self.b.k));
                    let piece = self.b.piece(self.tier, panel, (k0, k1), space);
                    let behind = match block + 1 < blocks {
                        true => self.b.packed_at(panel, k1),
                        false => self.b.packed_at(next, 0),
                    };
                    let groups = (k1 - k0).div_ceil(E::GROUP);
                    let wide = self.widening.map(|widening| {
                        let len = groups * E::GROUP * width;
                        let wide_piece = &mut wide_piece[..len];
                        (widening.piece)(self.tier, &piece[..len], width, wide_piece);
                        (widening, &*wide_piece)
                    });
                    let reading = Reading {
                        from: behind.filter(|_| tiles > 1),
                        bytes: size_of_val(piece),
                        tiles,
                        groups: wide.map_or(groups, |_| groups * E::GROUP),
                    };
                    for tile in 0..tiles {
                        let row = tile * rows / tiles;
                        let height = (tile + 1) * rows / tiles - row;
                        let first = range.start + row;
                        let sums = &mut sums[row * width..(row + height) * width];
                        let ahead = reading.share_of(tile);
                        let add = block > 0;
                        match wide {
                            None => {
                                let a = self.a.part((first, height), (k0, k1));
                                run_tile(self.kernel, a, piece, sums, add, ahead);
                            }
                            Some((widening, piece)) => {
                                let depth = groups * E::GROUP;
                                let wide = &mut wide_rows[..height * depth];
                                for (row, wide) in wide.chunks_exact_mut(depth).enumerate() {
                                    let row = &self.a.row(first + row)[k0..][..depth];
                                    (widening.row)(self.tier, row, wide);
                                }
                                let a = Left {
                                    data: wide,
                                    stride: depth,
                                };
                                let a = a.part((0, height), (0, depth));
                                run_tile(widening.kernel, a, piece, sums, add, ahead);
                            }
                        }
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
            let piece = &piece[k0 * width..k1 * width];
            let u = u.part(rows, (k0, k1));
            run_tile(self.kernel, u, piece, sums, k0 > 0, Ahead::NONE);
        }
    }
}

/// Some rows of a first factor, and the part of the sum that is wanted of them.
struct LeftPart<'a, E> {
    data: &'a [E],
    stride: usize,
    rows: usize,
    groups: usize,
}

impl<E: Factor> Left<'_, E> {
    fn row(&self, row: usize) -> &[E] {
        &self.data[row * self.stride..][..self.stride]
    }

    fn part(&self, (first, rows): (usize, usize), (k0, k1): (usize, usize)) -> LeftPart<'_, E> {
        assert!(k0 <= k1 && k1 <= self.stride);
        let end = (first + rows) * self.stride;
        LeftPart {
            data: &self.data[first * self.stride + k0..end],
            stride: self.stride,
            rows,
            groups: (k1 - k0).div_ceil(E::GROUP),
        }
    }
}

/// One kernel call.
fn run_tile<E: Factor>(
    kernel: Kernel<E>,
    a: LeftPart<'_, E>,
    piece: &[E],
    sums: &mut [f32],
    add: bool,
    ahead: Ahead,
) {
    let width = sums.len() / a.rows;
    let depth = a.groups * E::GROUP;
    assert!((1..=kernel.rows).contains(&a.rows) && width.is_multiple_of(VECTOR) && width <= PANEL);
    assert!((a.rows - 1) * a.stride + depth <= a.data.len());
    assert!(depth * width <= piece.len() && a.rows * width <= sums.len());
    // SAFETY: a device gets only tiers that its processor can run; all three
    // operands are long enough, as just checked.
    unsafe {
        (kernel.run)(&Tile {
            rows: a.rows,
            vectors: width / VECTOR,
            groups: a.groups,
            a: a.data.as_ptr(),
            a_stride: a.stride,
            panel: piece.as_ptr(),
            c: sums.as_mut_ptr(),
            c_stride: width,
            add,
            ahead,
        });
    }
}

/// The reading of a piece while the tiles before it are computed. Each tile asks
/// for its share: all at once, they would keep the tile's own reads waiting.
struct Reading<E> {
    from: Option<*const E>,
    bytes: usize,
    tiles: usize,
    /// Groups that a tile is computed in.
    groups: usize,
}

impl<E> Reading<E> {
    fn share_of(&self, tile: usize) -> Ahead {
        let Some(from) = self.from else {
            return Ahead::NONE;
        };
        let step = self.bytes.div_ceil(self.tiles * self.groups).min(LINE);
        Ahead {
            from: from.cast::<u8>().wrapping_add(tile * self.groups * step),
            step,
        }
    }
}

/// Bytes of the copy that [`left`] makes.
pub(in crate::cpu) fn workspace_bytes(first: FirstFactor) -> usize {
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
    /// Whether `out` is transposed, see [`flipped`].
    flipped: bool,
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
        if finish.flipped {
            for column in 0..columns {
                // SAFETY: each task has its own rows and columns of `out`.
                let out = unsafe { out.cells(start + column, first..first + height) };
                for (row, out) in out.iter_mut().enumerate() {
                    let mut value = sums[row * width + column] * finish.scale;
                    if finish.accumulate {
                        value += out.to_f32();
                    }
                    *out = O::from_f32(value);
                }
            }
            return;
        }
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
