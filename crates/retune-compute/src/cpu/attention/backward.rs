//! The backward pass. The scores are computed again, tile by tile.
//!
//! With `P = softmax(S)`, `S = scale · q·kᵀ`: `dv = Pᵀ·do`, `dP = do·vᵀ`,
//! `dS = scale · P ∘ (dP − δ)` with `δ = rowsum(do ∘ o)`, `dq = dS·k`,
//! `dk = dSᵀ·q`.
//!
//! The gradient of a key is a sum over the blocks of query rows that attend to
//! it, that of a query row one over the tiles of keys. Both sums run in one
//! fixed order, however the pairs of blocks and tiles are shared out:
//! - if there are sequences and heads enough, a task is one of each and
//!   computes every pair once, for both gradients;
//! - else each pair is computed twice, by a task for the queries and a task
//!   for the keys.
//!
//! Keys of a shared prefix get the rest of their gradient in a second round,
//! from the queries of all other sequences in order.

use std::ops::Range;

use super::super::Cpu;
use super::super::elementwise::{add_slice, cast_slice};
use super::super::gemm::few_rows::FewRows;
use super::super::gemm::kernel::{Factor, PANEL, VECTOR};
use super::super::gemm::panels::{pack_rows, panel_width, transpose_rows};
use super::super::gemm::transpose::transpose_floats;
use super::super::math::exp;
use super::super::scratch;
use super::super::simd::{for_each_tier, sum_of_pairs};
use super::super::split::RowsMut;
use super::apart::{Apart, add_to_sums_over_keys, add_to_sums_over_lanes, set_apart};
use super::{Mask, Problem, TILE, carve, key_tiles, pack_scores, scale_and_mask};
use crate::backend::AttentionBackward;
use crate::ops::{AttentionConfig, KeySpan, Sequence};
use crate::tensor::with_element;

/// What belongs to the backward pass alone.
struct Gradients<'a, E> {
    problem: Problem<'a, E>,
    out: &'a [E],
    d_out: &'a [E],
    logsumexp: &'a [f32],
    /// `[T·H][D]`.
    d_q: RowsMut<'a, f32>,
    /// `[T·KV][D]`.
    d_k: RowsMut<'a, f32>,
    d_v: RowsMut<'a, f32>,
}

pub(in crate::cpu) fn backward(
    cpu: &Cpu,
    args: AttentionBackward<'_>,
    sequences: &[Sequence],
    config: &AttentionConfig,
) {
    with_element!(args.qkv.q.dtype(), E => {
        let problem = Problem::<E>::new(cpu.tier, args.qkv, config);
        let (dim, kv_heads) = (problem.dim, problem.kv_heads);
        let gradients = Gradients {
            problem,
            out: args.out.as_slice(),
            d_out: args.d_out.as_slice(),
            logsumexp: args.logsumexp.as_slice(),
            d_q: RowsMut::new(args.d_q.as_mut_slice::<f32>(), dim),
            d_k: RowsMut::new(args.d_k.as_mut_slice::<f32>(), dim),
            d_v: RowsMut::new(args.d_v.as_mut_slice::<f32>(), dim),
        };
        let shared_out = sequences.len() * kv_heads >= cpu.pool.threads();
        if shared_out {
            cpu.pool.run(sequences.len() * kv_heads, |task| {
                let sequence = &sequences[task / kv_heads];
                let own = |tile: KeySpan| sequence.queries.contains(&tile.row);
                for block in gradients.problem.blocks(sequence) {
                    gradients.block(sequence, task % kv_heads, &block, true, None, own);
                }
            });
        } else {
            let blocks: Vec<_> = sequences
                .iter()
                .flat_map(|s| gradients.problem.blocks(s).map(move |block| (s, block)))
                .collect();
            cpu.pool.run(blocks.len() * kv_heads, |task| {
                let (sequence, block) = &blocks[task / kv_heads];
                gradients.block(sequence, task % kv_heads, block, true, None, |_| false);
            });
        }
        // Only the keys of the first sequence can have other readers.
        let shares = |s: &&Sequence| s.keys.first().is_some_and(|k| !s.queries.contains(&k.row));
        let others: Vec<&Sequence> = sequences.iter().filter(shares).collect();
        let mut tiles = Vec::new();
        for (index, owner) in sequences.iter().enumerate() {
            let own = (!shared_out).then_some(owner);
            let others = if index == 0 { &others[..] } else { &[] };
            let span = owner.keys.last().filter(|span| owner.queries.contains(&span.row));
            if own.is_some() || !others.is_empty() {
                let key_tiles = span.into_iter().flat_map(|span| key_tiles(*span));
                tiles.extend(key_tiles.map(|tile| (tile, own, others)));
            }
        }
        cpu.pool.run(tiles.len() * kv_heads, |task| {
            let (tile, own, others) = &tiles[task / kv_heads];
            for sequence in own.iter().chain(*others) {
                for block in gradients.problem.blocks(sequence) {
                    gradients.block(sequence, task % kv_heads, &block, false, Some(*tile), |_| true);
                }
            }
        });
    });
}

impl<E: Factor> Gradients<'_, E> {
    /// One block of query rows against the tiles of its keys, or against
    /// `only` one of them. Adds the queries' gradient if `queries` says so, and
    /// the gradients of those tiles' keys for which `keys` does.
    fn block(
        &self,
        sequence: &Sequence,
        kv_head: usize,
        block: &Range<usize>,
        queries: bool,
        only: Option<KeySpan>,
        keys: impl Fn(KeySpan) -> bool,
    ) {
        let p = &self.problem;
        let wanted = |tile: &KeySpan| only.is_none_or(|only| only == *tile);
        let mut tiles = p.tiles(sequence, block).filter(wanted).peekable();
        if tiles.peek().is_none() {
            return;
        }
        Space::with(block.len(), p.dim, |mut space: Space<'_, E>| {
            self.prepare(sequence, kv_head, block, &mut space);
            let statistics = self.row_statistics(sequence, kv_head, block);
            for tile in tiles {
                let mask = p.mask(sequence, block, tile);
                let mask = mask.as_ref();
                self.weights_of_tile(kv_head, tile, mask, &statistics, &mut space);
                if keys(tile) {
                    self.add_tile_to_keys(kv_head, tile, mask, &mut space);
                }
                if queries {
                    self.add_tile_to_queries(kv_head, tile, mask, &mut space);
                }
            }
            if queries {
                self.store_queries(sequence, kv_head, block, &mut space);
            }
        });
    }

    /// Packs the rows of `q` and of the gradient for the products to come.
    fn prepare(
        &self,
        sequence: &Sequence,
        kv_head: usize,
        block: &Range<usize>,
        space: &mut Space<'_, E>,
    ) {
        let p = &self.problem;
        let (count, width) = (space.count, space.width);
        let rows = [
            (
                p.q,
                &mut *space.q_transposed,
                &mut *space.q_panels,
                &mut space.q_apart,
            ),
            (
                self.d_out,
                &mut *space.d_transposed,
                &mut *space.d_panels,
                &mut space.d_apart,
            ),
        ];
        for (from, transposed, panels, apart) in rows {
            p.copy_rows(from, sequence, kv_head, block, space.rows);
            p.pack_transposed(space.rows, count, width, transposed);
            *apart = set_apart(p.tier, space.rows, (count, p.dim), p.dim);
            pack_all_columns(p, space.rows, count, panels);
        }
        space.d_q.fill(0.0);
    }

    /// `P` and `dS` of one tile, to `scores` and `slopes`.
    fn weights_of_tile(
        &self,
        kv_head: usize,
        tile: KeySpan,
        mask: Option<&Mask>,
        (logsumexp, delta): &([f32; TILE], [f32; TILE]),
        space: &mut Space<'_, E>,
    ) {
        let (p, width) = (&self.problem, space.width);
        let q = (&*space.q_transposed, width);
        p.product_with_tile(p.k, tile, kv_head, q, space.scores);
        let d_out = (&*space.d_transposed, width);
        p.product_with_tile(p.v, tile, kv_head, d_out, space.slopes);
        let (scores, slopes) = space.of_tile(tile);
        let scale = p.config.scale;
        scale_and_mask(p.tier, scores, width, scale, mask);
        weights_and_slopes(p.tier, scores, slopes, width, scale, logsumexp, delta);
    }

    /// `dv += Pᵀ·do` and `dk += dSᵀ·q` for the keys of one tile.
    fn add_tile_to_keys(
        &self,
        kv_head: usize,
        tile: KeySpan,
        mask: Option<&Mask>,
        space: &mut Space<'_, E>,
    ) {
        let p = &self.problem;
        let width = space.width;
        let sums = [
            (&*space.scores, &*space.d_panels, &space.d_apart, &self.d_v),
            (&*space.slopes, &*space.q_panels, &space.q_apart, &self.d_k),
        ];
        for (factors, panels, apart, target) in sums {
            cast_slice(p.tier, &factors[..tile.len * width], space.rounded);
            let left = FewRows {
                rows: tile.len,
                groups: space.count.div_ceil(E::GROUP),
                data: &*space.rounded,
                stride: width,
            };
            let depth = left.groups * E::GROUP;
            for panel in 0..p.dim.div_ceil(PANEL) {
                let (columns, panel_width) = panel_width(panel, p.dim);
                let start = panel * PANEL;
                let product = &mut space.product[..tile.len * panel_width];
                left.times_in_tiles(
                    p.kernel,
                    &panels[start * depth..],
                    panel_width,
                    product,
                    false,
                );
                let of_panel = (start, panel_width);
                add_to_sums_over_lanes(apart, factors, mask, (tile.len, width), of_panel, product);
                for (key, values) in product.chunks_exact(panel_width).enumerate() {
                    let row = (tile.row + key) * p.kv_heads + kv_head;
                    // SAFETY: only one task at a time adds to the keys of a tile.
                    let cells = unsafe { target.cells(row, start..start + columns) };
                    add_slice(p.tier, &values[..columns], cells);
                }
            }
        }
    }

    /// `dqᵀ += kᵀ·dSᵀ` for the queries of the block.
    fn add_tile_to_queries(
        &self,
        kv_head: usize,
        tile: KeySpan,
        mask: Option<&Mask>,
        space: &mut Space<'_, E>,
    ) {
        let (p, width) = (&self.problem, space.width);
        let slopes = &space.slopes[..tile.len * width];
        pack_scores(p.tier, slopes, tile.len, width, space.paired);
        let stride = p.kv_heads * p.dim;
        let from = &p.k[tile.row * stride + kv_head * p.dim..];
        transpose_rows(
            p.tier,
            from,
            stride,
            (tile.len, p.dim),
            space.k_transposed,
            TILE,
        );
        let apart = match mask {
            Some(_) => set_apart(p.tier, space.k_transposed, (p.dim, tile.len), TILE),
            None => Vec::new(),
        };
        let keys = FewRows {
            rows: p.dim,
            groups: tile.len.div_ceil(E::GROUP),
            data: &*space.k_transposed,
            stride: TILE,
        };
        keys.times_in_tiles(p.kernel, space.paired, width, space.d_q, true);
        if let Some(mask) = mask {
            add_to_sums_over_keys(&apart, slopes, mask, (space.count, width), space.d_q);
        }
    }

    fn store_queries(
        &self,
        sequence: &Sequence,
        kv_head: usize,
        block: &Range<usize>,
        space: &mut Space<'_, E>,
    ) {
        let p = &self.problem;
        let shape = (p.dim, space.count);
        transpose_floats(p.tier, shape, space.d_q, space.width, space.turned, p.dim);
        for (row, values) in block.clone().zip(space.turned.chunks_exact(p.dim)) {
            let (token, head) = p.token_and_head(sequence, kv_head, row);
            // SAFETY: only one task adds to the queries of this block.
            let cells = unsafe { self.d_q.cells(token * p.heads + head, 0..p.dim) };
            add_slice(p.tier, values, cells);
        }
    }

    /// `logsumexp` and `δ` of a block's rows, one lane each.
    fn row_statistics(
        &self,
        sequence: &Sequence,
        kv_head: usize,
        block: &Range<usize>,
    ) -> ([f32; TILE], [f32; TILE]) {
        let p = &self.problem;
        let (mut logsumexp, mut delta) = ([0.0; TILE], [0.0; TILE]);
        for (lane, row) in block.clone().enumerate() {
            let (token, head) = p.token_and_head(sequence, kv_head, row);
            let index = token * p.heads + head;
            let cells = index * p.dim..(index + 1) * p.dim;
            logsumexp[lane] = self.logsumexp[index];
            delta[lane] = dot(p.tier, &self.out[cells.clone()], &self.d_out[cells]);
        }
        (logsumexp, delta)
    }
}

/// What one block of `count` query rows is worked on in; `width` is `count`
/// rounded up to vectors.
struct Space<'s, E> {
    count: usize,
    width: usize,
    /// `[count][D]`.
    rows: &'s mut [E],
    /// `[D][width]`, packed: `q`, and the gradient of the output.
    q_transposed: &'s mut [E],
    d_transposed: &'s mut [E],
    /// `[count][D]` in panels, of the same two.
    q_panels: &'s mut [E],
    d_panels: &'s mut [E],
    /// What is not finite in the panels of the two, and missing there.
    q_apart: Vec<Apart>,
    d_apart: Vec<Apart>,
    /// `[keys][width]`: `P` or `dS`, rounded.
    rounded: &'s mut [E],
    /// `[keys][width]` in groups of keys: `dS`.
    paired: &'s mut [E],
    /// `[D][keys]`.
    k_transposed: &'s mut [E],
    /// `[keys][width]`: `S`, then `P`.
    scores: &'s mut [f32],
    /// `[keys][width]`: `dP`, then `dS`.
    slopes: &'s mut [f32],
    /// `[D][width]`.
    d_q: &'s mut [f32],
    /// `[count][D]`.
    turned: &'s mut [f32],
    /// `[keys][PANEL]`.
    product: &'s mut [f32],
}

impl<E: Factor> Space<'_, E> {
    fn with(count: usize, dim: usize, body: impl FnOnce(Space<'_, E>)) {
        let width = count.next_multiple_of(VECTOR);
        let padded = dim.next_multiple_of(VECTOR);
        // Each part begins on a cache line.
        const LINES: usize = 512;
        let elements =
            count * dim + 2 * width * (dim + padded) + 2 * TILE * width + TILE * dim + LINES;
        let values = 2 * TILE * width + 2 * dim * width + TILE * PANEL + LINES;
        scratch::with(elements, |mut space: &mut [E]| {
            scratch::with(values, |mut floats: &mut [f32]| {
                body(Space {
                    count,
                    width,
                    rows: carve(&mut space, count * dim),
                    q_transposed: carve(&mut space, width * dim),
                    d_transposed: carve(&mut space, width * dim),
                    q_panels: carve(&mut space, width * padded),
                    d_panels: carve(&mut space, width * padded),
                    q_apart: Vec::new(),
                    d_apart: Vec::new(),
                    rounded: carve(&mut space, TILE * width),
                    paired: carve(&mut space, TILE * width),
                    k_transposed: carve(&mut space, TILE * dim),
                    scores: carve(&mut floats, TILE * width),
                    slopes: carve(&mut floats, TILE * width),
                    d_q: carve(&mut floats, dim * width),
                    turned: carve(&mut floats, dim * width),
                    product: carve(&mut floats, TILE * PANEL),
                });
            });
        });
    }

    /// `scores` and `slopes` of the keys that a tile has.
    fn of_tile(&mut self, tile: KeySpan) -> (&mut [f32], &mut [f32]) {
        let len = tile.len * self.width;
        (&mut self.scores[..len], &mut self.slopes[..len])
    }
}

/// Packs a block of copied query rows as the panels of a product that sums
/// over these rows.
fn pack_all_columns<E: Factor>(p: &Problem<'_, E>, rows: &[E], count: usize, panels: &mut [E]) {
    let depth = count.next_multiple_of(E::GROUP);
    for panel in 0..p.dim.div_ceil(PANEL) {
        let (columns, width) = panel_width(panel, p.dim);
        let start = panel * PANEL;
        let target = &mut panels[start * depth..][..width * depth];
        pack_rows(
            p.tier,
            &rows[start..],
            p.dim,
            (count, columns),
            width,
            target,
        );
    }
}

for_each_tier! {
    fn dot<E: Factor>(a: &[E], b: &[E]) -> f32 {
        sum_of_pairs(a, b, |a, b| a.to_f32() * b.to_f32())
    }

    /// `scores` become `P`, and `slopes`, which hold `dP`, become `dS`.
    fn weights_and_slopes(
        scores: &mut [f32], slopes: &mut [f32], width: usize, scale: f32,
        logsumexp: &[f32; TILE], delta: &[f32; TILE],
    ) {
        for (scores, slopes) in scores.chunks_exact_mut(width).zip(slopes.chunks_exact_mut(width)) {
            let lanes = logsumexp.iter().zip(delta);
            for ((score, slope), (logsumexp, delta)) in scores.iter_mut().zip(slopes).zip(lanes) {
                let hidden = *score == f32::NEG_INFINITY;
                let weight = exp::<FUSED>(*score - logsumexp);
                let seen = weight * (*slope - delta) * scale;
                // Also where a row's own numbers are not finite.
                *score = if hidden { 0.0 } else { weight };
                *slope = if hidden { 0.0 } else { seen };
            }
        }
    }
}
