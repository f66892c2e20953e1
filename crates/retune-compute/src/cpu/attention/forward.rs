//! The forward pass, and attention against a cache.

use std::ops::Range;

use super::super::Cpu;
use super::super::elementwise::cast_slice;
use super::super::gemm::few_rows::FewRows;
use super::super::gemm::kernel::{Factor, VECTOR};
use super::super::gemm::panels::transpose_rows;
use super::super::gemm::transpose::transpose_floats;
use super::super::math::exp;
use super::super::scratch;
use super::super::simd::for_each_tier;
use super::super::split::RowsMut;
use super::apart::{add_to_sums_over_keys, set_apart};
use super::{Problem, TILE, carve, pack_scores, scale_and_mask};
use crate::Tensor;
use crate::backend::Qkv;
use crate::ops::{AttentionConfig, Sequence};
use crate::tensor::with_element;

pub(in crate::cpu) fn forward(
    cpu: &Cpu,
    qkv: Qkv<'_>,
    sequences: &[Sequence],
    config: &AttentionConfig,
    out: &mut Tensor,
    logsumexp: Option<&mut Tensor>,
) {
    with_element!(qkv.q.dtype(), E => {
        let problem = Problem::<E>::new(cpu.tier, qkv, config);
        let mut tasks = Vec::new();
        for sequence in sequences {
            for kv_head in 0..problem.kv_heads {
                tasks.extend(problem.blocks(sequence).map(|block| (sequence, kv_head, block)));
            }
        }
        let out = RowsMut::new(out.as_mut_slice::<E>(), problem.dim);
        let logsumexp = logsumexp.map(|t| RowsMut::new(t.as_mut_slice::<f32>(), 1));
        cpu.pool.run(tasks.len(), |task| {
            let (sequence, kv_head, block) = &tasks[task];
            problem.attend(sequence, *kv_head, block, &out, logsumexp.as_ref());
        });
    });
}

/// The running softmax of a block of query rows, one lane each.
struct Running {
    max: [f32; TILE],
    sum: [f32; TILE],
    /// By how much the sums so far shrink when a larger maximum comes.
    shrink: [f32; TILE],
}

impl<E: Factor> Problem<'_, E> {
    /// One block of query rows against all keys that it attends to.
    fn attend(
        &self,
        sequence: &Sequence,
        kv_head: usize,
        block: &Range<usize>,
        out: &RowsMut<'_, E>,
        logsumexp: Option<&RowsMut<'_, f32>>,
    ) {
        let (dim, count) = (self.dim, block.len());
        let width = count.next_multiple_of(VECTOR);
        let elements = 2 * TILE * dim + width * dim + TILE * width + 4 * TILE;
        scratch::with(elements, |mut space: &mut [E]| {
            scratch::with(
                TILE * width + 2 * dim * width + 4 * TILE,
                |mut floats: &mut [f32]| {
                    let rows = carve(&mut space, count * dim);
                    let panel = carve(&mut space, width * dim);
                    let values = carve(&mut space, TILE * dim);
                    let weights = carve(&mut space, TILE * width);
                    let scores = carve(&mut floats, TILE * width);
                    let sums = carve(&mut floats, dim * width);
                    let turned = carve(&mut floats, dim * width);
                    self.copy_rows(self.q, sequence, kv_head, block, rows);
                    self.pack_transposed(rows, count, width, panel);
                    let mut running = Running {
                        max: [f32::NEG_INFINITY; TILE],
                        sum: [0.0; TILE],
                        shrink: [0.0; TILE],
                    };
                    sums.fill(0.0);
                    for tile in self.tiles(sequence, block) {
                        self.product_with_tile(self.k, tile, kv_head, (panel, width), scores);
                        let scores = &mut scores[..tile.len * width];
                        let mask = self.mask(sequence, block, tile);
                        scale_and_mask(self.tier, scores, width, self.config.scale, mask.as_ref());
                        softmax_tile(self.tier, scores, width, &mut running);
                        pack_scores(self.tier, scores, tile.len, width, weights);
                        shrink_rows(self.tier, sums, width, &running.shrink);
                        let stride = self.kv_heads * dim;
                        let from = &self.v[tile.row * stride + kv_head * dim..];
                        transpose_rows(self.tier, from, stride, (tile.len, dim), values, TILE);
                        let apart = match mask {
                            Some(_) => set_apart(self.tier, values, (dim, tile.len), TILE),
                            None => Vec::new(),
                        };
                        let groups = tile.len.div_ceil(E::GROUP);
                        let product = FewRows {
                            rows: dim,
                            groups,
                            data: values,
                            stride: TILE,
                        };
                        product.times_in_tiles(self.kernel, weights, width, sums, true);
                        if let Some(mask) = &mask {
                            let lanes = (count, width);
                            add_to_sums_over_keys(&apart, scores, mask, lanes, sums);
                        }
                    }
                    divide_rows(self.tier, sums, width, &running.sum);
                    transpose_floats(self.tier, (dim, count), sums, width, turned, dim);
                    for (lane, (row, values)) in
                        block.clone().zip(turned.chunks_exact(dim)).enumerate()
                    {
                        let (token, head) = self.token_and_head(sequence, kv_head, row);
                        // SAFETY: each task has its own tokens and heads.
                        let cells = unsafe { out.cells(token * self.heads + head, 0..dim) };
                        cast_slice(self.tier, values, cells);
                        if let Some(logsumexp) = logsumexp {
                            // SAFETY: as above.
                            let cell = unsafe { logsumexp.cells(token * self.heads + head, 0..1) };
                            cell[0] = running.max[lane] + running.sum[lane].ln();
                        }
                    }
                },
            )
        });
    }
}

for_each_tier! {
    /// Turns a tile's scores into weights relative to the running maximum.
    fn softmax_tile(scores: &mut [f32], width: usize, running: &mut Running) {
        let before = running.max;
        for row in scores.chunks_exact(width) {
            for (max, &score) in running.max.iter_mut().zip(row) {
                *max = if score > *max { score } else { *max };
            }
        }
        let mut base = [0.0f32; TILE];
        for lane in 0..TILE {
            // A row that has met no key yet has no finite maximum.
            let max = running.max[lane];
            base[lane] = if max == f32::NEG_INFINITY { 0.0 } else { max };
            running.shrink[lane] = exp::<FUSED>(before[lane] - base[lane]);
            running.sum[lane] *= running.shrink[lane];
        }
        // A sum of its own for each tile keeps long rows exact.
        let mut sums = [0.0f32; TILE];
        for row in scores.chunks_exact_mut(width) {
            for ((score, base), sum) in row.iter_mut().zip(&base).zip(&mut sums) {
                *score = exp::<FUSED>(*score - base);
                *sum += *score;
            }
        }
        for (total, sum) in running.sum.iter_mut().zip(sums) {
            *total += sum;
        }
    }

    fn shrink_rows(sums: &mut [f32], width: usize, shrink: &[f32; TILE]) {
        for row in sums.chunks_exact_mut(width) {
            for (sum, shrink) in row.iter_mut().zip(shrink) {
                *sum *= shrink;
            }
        }
    }

    fn divide_rows(sums: &mut [f32], width: usize, divisor: &[f32; TILE]) {
        for row in sums.chunks_exact_mut(width) {
            for (sum, divisor) in row.iter_mut().zip(divisor) {
                *sum /= divisor;
            }
        }
    }
}
