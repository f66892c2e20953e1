//! Attention, one query at a time.

use super::write;
use crate::Tensor;
use crate::backend::{AttentionBackward, Qkv};
use crate::ops::{AttentionConfig, Sequence};

/// The sizes and inputs of one call.
struct Problem {
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    heads: usize,
    kv_heads: usize,
    dim: usize,
    config: AttentionConfig,
}

impl Problem {
    fn new(qkv: Qkv<'_>, config: &AttentionConfig) -> Self {
        let &[_, heads, dim] = qkv.q.shape() else {
            unreachable!("checked: [T, H, D]")
        };
        Self {
            q: qkv.q.to_f32_vec(),
            k: qkv.k.to_f32_vec(),
            v: qkv.v.to_f32_vec(),
            heads,
            kv_heads: qkv.k.shape()[qkv.k.shape().len() - 2],
            dim,
            config: *config,
        }
    }

    /// Where the vector of a query head starts.
    fn query(&self, token: usize, head: usize) -> usize {
        (token * self.heads + head) * self.dim
    }

    /// Where the vector of the key and value that a query head reads starts.
    fn key(&self, row: usize, head: usize) -> usize {
        (row * self.kv_heads + head / (self.heads / self.kv_heads)) * self.dim
    }

    fn dot(&self, a: &[f32], a_start: usize, b: &[f32], b_start: usize) -> f32 {
        (0..self.dim).map(|d| a[a_start + d] * b[b_start + d]).sum()
    }

    /// The rows of keys that the `index`th query of a sequence attends to.
    fn visible_rows(&self, sequence: &Sequence, index: usize) -> Vec<usize> {
        let visible = self.config.visible(sequence.position + index);
        let keys = sequence
            .keys
            .iter()
            .flat_map(|span| (0..span.len).map(move |i| (span.position + i, span.row + i)));
        keys.filter(|(position, _)| visible.contains(position))
            .map(|(_, row)| row)
            .collect()
    }

    fn scores(&self, rows: &[usize], query: usize, head: usize) -> Vec<f32> {
        rows.iter()
            .map(|&row| self.config.scale * self.dot(&self.q, query, &self.k, self.key(row, head)))
            .collect()
    }
}

/// `(out, logsumexp)`
pub(super) fn forward(
    qkv: Qkv<'_>,
    sequences: &[Sequence],
    config: &AttentionConfig,
) -> (Vec<f32>, Vec<f32>) {
    let p = Problem::new(qkv, config);
    let mut out = vec![0.0; p.q.len()];
    let mut logsumexp = vec![0.0; p.q.len() / p.dim];
    for sequence in sequences {
        for (index, token) in sequence.queries.clone().enumerate() {
            let rows = p.visible_rows(sequence, index);
            for head in 0..p.heads {
                let query = p.query(token, head);
                let scores = p.scores(&rows, query, head);
                let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let sum: f32 = scores.iter().map(|score| (score - max).exp()).sum();
                for (&row, score) in rows.iter().zip(&scores) {
                    let weight = (score - max).exp() / sum;
                    let value = p.key(row, head);
                    for d in 0..p.dim {
                        out[query + d] += weight * p.v[value + d];
                    }
                }
                logsumexp[query / p.dim] = max + sum.ln();
            }
        }
    }
    (out, logsumexp)
}

/// With `p = exp(score − logsumexp)`: `d_v += p · d_o`,
/// `d_score = p · (d_o·v − d_o·o)`, `d_q += scale · d_score · k`,
/// `d_k += scale · d_score · q`.
pub(super) fn backward(
    args: AttentionBackward<'_>,
    sequences: &[Sequence],
    config: &AttentionConfig,
) {
    let p = Problem::new(args.qkv, config);
    let (out, d_out) = (args.out.to_f32_vec(), args.d_out.to_f32_vec());
    let logsumexp = args.logsumexp.to_f32_vec();
    let mut d_q = args.d_q.to_f32_vec();
    let mut d_k = args.d_k.to_f32_vec();
    let mut d_v = args.d_v.to_f32_vec();
    for sequence in sequences {
        for (index, token) in sequence.queries.clone().enumerate() {
            let rows = p.visible_rows(sequence, index);
            for head in 0..p.heads {
                let query = p.query(token, head);
                let delta = p.dot(&d_out, query, &out, query);
                let scores = p.scores(&rows, query, head);
                for (&row, score) in rows.iter().zip(&scores) {
                    let key = p.key(row, head);
                    let weight = (score - logsumexp[query / p.dim]).exp();
                    let d_weight = p.dot(&d_out, query, &p.v, key);
                    let d_score = p.config.scale * weight * (d_weight - delta);
                    for d in 0..p.dim {
                        d_v[key + d] += weight * d_out[query + d];
                        d_q[query + d] += d_score * p.k[key + d];
                        d_k[key + d] += d_score * p.q[query + d];
                    }
                }
            }
        }
    }
    let outputs: [(&mut Tensor, &[f32]); 3] =
        [(args.d_q, &d_q), (args.d_k, &d_k), (args.d_v, &d_v)];
    for (tensor, values) in outputs {
        write(tensor, values);
    }
}
