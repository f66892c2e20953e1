//! Attention on the CPU, in tiles of 64 keys by 64 query rows.
//!
//! The query heads that share a key/value head are stacked: row `r` of a
//! sequence is token `r / group`, head `r % group` of the group. Scores are
//! computed transposed, keys by query rows, with the kernels of the matrix
//! products: then keys and values are read where they lie, and what happens to
//! a query row (its maximum, its sum) is one lane of vector code.
//!
//! Key tiles are counted from the start of each span of keys, and every query
//! row meets them in order. So its result does not depend on which other rows
//! are computed with it.

mod apart;
mod backward;
mod forward;

pub(super) use self::backward::backward;
pub(super) use self::forward::forward;

use std::ops::Range;

use super::gemm::few_rows::FewRows;
use super::gemm::kernel::{Factor, Kernel, PANEL};
use super::gemm::panels::pack_columns;
use super::simd::for_each_tier;
use crate::Tier;
use crate::backend::Qkv;
use crate::ops::{AttentionConfig, KeySpan, Sequence};

/// Keys of a tile, and most query rows of a block.
const TILE: usize = PANEL;

/// The inputs of one call.
struct Problem<'a, E> {
    tier: Tier,
    kernel: Kernel<E>,
    q: &'a [E],
    k: &'a [E],
    v: &'a [E],
    heads: usize,
    kv_heads: usize,
    /// Query heads per key/value head.
    group: usize,
    dim: usize,
    config: AttentionConfig,
}

impl<'a, E: Factor> Problem<'a, E> {
    fn new(tier: Tier, qkv: Qkv<'a>, config: &AttentionConfig) -> Self {
        let &[_, heads, dim] = qkv.q.shape() else {
            unreachable!("checked: [T, H, D]")
        };
        let kv_heads = qkv.k.shape()[qkv.k.shape().len() - 2];
        Self {
            tier,
            kernel: E::kernel(tier),
            q: qkv.q.as_slice(),
            k: qkv.k.as_slice(),
            v: qkv.v.as_slice(),
            heads,
            kv_heads,
            group: heads / kv_heads,
            dim,
            config: *config,
        }
    }

    /// The blocks of a sequence's query rows.
    fn blocks(&self, sequence: &Sequence) -> impl Iterator<Item = Range<usize>> + use<E> {
        let rows = sequence.queries.len() * self.group;
        (0..rows)
            .step_by(TILE)
            .map(move |start| start..(start + TILE).min(rows))
    }

    /// Token (counted from the start of the tensor) and head of a query row.
    fn token_and_head(&self, sequence: &Sequence, kv_head: usize, row: usize) -> (usize, usize) {
        (
            sequence.queries.start + row / self.group,
            kv_head * self.group + row % self.group,
        )
    }

    /// Copies a block of query rows out of a `[T, H, D]` tensor.
    fn copy_rows(
        &self,
        from: &[E],
        sequence: &Sequence,
        kv_head: usize,
        block: &Range<usize>,
        to: &mut [E],
    ) {
        for (row, to) in block.clone().zip(to.chunks_exact_mut(self.dim)) {
            let (token, head) = self.token_and_head(sequence, kv_head, row);
            to.copy_from_slice(&from[(token * self.heads + head) * self.dim..][..self.dim]);
        }
    }

    /// Packs a block of copied query rows as the panel of a product with keys.
    fn pack_transposed(&self, rows: &[E], count: usize, width: usize, panel: &mut [E]) {
        pack_columns(self.tier, rows, self.dim, (self.dim, count), width, panel);
    }

    /// The tiles of a sequence's keys that some row of the block attends to.
    fn tiles<'s>(
        &self,
        sequence: &'s Sequence,
        block: &Range<usize>,
    ) -> impl Iterator<Item = KeySpan> + use<'s, E> {
        let first = self
            .config
            .visible(sequence.position + block.start / self.group);
        let last = self
            .config
            .visible(sequence.position + (block.end - 1) / self.group);
        sequence
            .keys
            .iter()
            .flat_map(|span| key_tiles(*span))
            .filter(move |tile| tile.position < last.end && tile.position + tile.len > first.start)
    }

    /// For each row of the block, the keys of `tile` that it attends to.
    /// `None` if every row attends to all of them.
    fn mask(&self, sequence: &Sequence, block: &Range<usize>, tile: KeySpan) -> Option<Mask> {
        let mut mask = Mask {
            first: [0; TILE],
            end: [tile.len as i32; TILE],
        };
        let mut any = false;
        let inside = |position: usize| position.saturating_sub(tile.position).min(tile.len) as i32;
        for (lane, row) in block.clone().enumerate() {
            let visible = self.config.visible(sequence.position + row / self.group);
            mask.first[lane] = inside(visible.start);
            mask.end[lane] = inside(visible.end);
            any |= mask.first[lane] > 0 || mask.end[lane] < tile.len as i32;
        }
        any.then_some(mask)
    }

    /// `scores[key][row] = Σ_d keys[key][d] · panel[d][row]` for the keys or
    /// values of a tile.
    fn product_with_tile(
        &self,
        data: &[E],
        tile: KeySpan,
        kv_head: usize,
        (panel, width): (&[E], usize),
        scores: &mut [f32],
    ) {
        let stride = self.kv_heads * self.dim;
        let a = &data[tile.row * stride + kv_head * self.dim..];
        let product = FewRows {
            rows: tile.len,
            groups: self.dim / E::GROUP,
            data: a,
            stride,
        };
        product.times_in_tiles(self.kernel, panel, width, scores, false);
    }
}

/// The tiles of a span, counted from its start.
fn key_tiles(span: KeySpan) -> impl Iterator<Item = KeySpan> {
    (0..span.len).step_by(TILE).map(move |start| KeySpan {
        row: span.row + start,
        len: TILE.min(span.len - start),
        position: span.position + start,
    })
}

/// The first visible key, and the one after the last, per lane.
struct Mask {
    first: [i32; TILE],
    end: [i32; TILE],
}

impl Mask {
    /// Whether query row `lane` attends to key `key` of the tile.
    fn sees(&self, key: usize, lane: usize) -> bool {
        (self.first[lane]..self.end[lane]).contains(&(key as i32))
    }
}

/// Cuts `len` elements, rounded up to whole cache lines, off the front.
fn carve<'a, T>(space: &mut &'a mut [T], len: usize) -> &'a mut [T] {
    let line = 64 / size_of::<T>();
    let (front, rest) = std::mem::take(space).split_at_mut(len.next_multiple_of(line));
    *space = rest;
    &mut front[..len]
}

for_each_tier! {
    /// Puts two neighbouring rows of f32 side by side as the panel of a
    /// product, rounded to `E`; `scores` is `[keys][width]`.
    fn pack_scores<E: Factor>(scores: &[f32], keys: usize, width: usize, panel: &mut [E]) {
        if E::GROUP == 1 {
            for (to, from) in panel.iter_mut().zip(&scores[..keys * width]) {
                *to = E::from_f32(*from);
            }
            return;
        }
        for (group, to) in panel.chunks_exact_mut(2 * width).take(keys.div_ceil(2)).enumerate() {
            let (pairs, _) = to.as_chunks_mut::<2>();
            let even = &scores[2 * group * width..][..width];
            if 2 * group + 1 < keys {
                let odd = &scores[(2 * group + 1) * width..][..width];
                for ((pair, even), odd) in pairs.iter_mut().zip(even).zip(odd) {
                    *pair = [E::from_f32(*even), E::from_f32(*odd)];
                }
            } else {
                for (pair, even) in pairs.iter_mut().zip(even) {
                    *pair = [E::from_f32(*even), E::default()];
                }
            }
        }
    }

    /// Scales scores, and hides those outside the mask.
    fn scale_and_mask(scores: &mut [f32], width: usize, scale: f32, mask: Option<&Mask>) {
        for (key, row) in scores.chunks_exact_mut(width).enumerate() {
            match mask {
                None => row.iter_mut().for_each(|score| *score *= scale),
                Some(mask) => {
                    let key = key as i32;
                    for ((score, &first), &end) in row.iter_mut().zip(&mask.first).zip(&mask.end) {
                        let hidden = (key < first) | (key >= end);
                        *score = if hidden { f32::NEG_INFINITY } else { *score * scale };
                    }
                }
            }
        }
    }
}
