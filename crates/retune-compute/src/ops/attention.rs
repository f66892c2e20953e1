//! Attention over packed sequences and over a key/value cache.
//!
//! Memory is linear in the number of tokens: of the scores, only one row's
//! `logsumexp` is kept, and the backward pass computes the rest again.
//! Query head `h` reads key/value head `h / (H / KV)`.

use super::check::Check;
use super::segments::{KeySpan, Segments, Sequence};
use crate::backend::{AttentionBackward, Qkv};
use crate::error::Result;
use crate::{DType, Tensor};

/// The largest head size.
pub(super) const MAX_HEAD_DIM: usize = 256;

/// Which keys a query attends to, and how scores are scaled.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttentionConfig {
    /// The factor of the scores, usually `1 / sqrt(D)`.
    pub scale: f32,
    /// Whether a query attends only to itself and what came before.
    pub causal: bool,
    /// How many keys, the query's own included, a causal query sees at most.
    pub sliding_window: Option<usize>,
}

impl AttentionConfig {
    /// Causal attention with the scale `1 / sqrt(head_dim)`.
    pub fn causal(head_dim: usize) -> Self {
        Self {
            scale: 1.0 / (head_dim as f32).sqrt(),
            causal: true,
            sliding_window: None,
        }
    }

    /// Attention to all of a sequence, with the scale `1 / sqrt(head_dim)`.
    pub fn bidirectional(head_dim: usize) -> Self {
        Self {
            causal: false,
            ..Self::causal(head_dim)
        }
    }

    /// The same, limited to a sliding window of `window` keys.
    pub fn with_sliding_window(self, window: Option<usize>) -> Self {
        Self {
            sliding_window: window,
            ..self
        }
    }

    /// The positions of keys that a query at `position` attends to.
    pub(crate) fn visible(&self, position: usize) -> std::ops::Range<usize> {
        if !self.causal {
            return 0..usize::MAX;
        }
        let first = self
            .sliding_window
            .map_or(0, |window| (position + 1).saturating_sub(window));
        first..position + 1
    }
}

/// What [`attention_forward`] returns.
#[derive(Debug)]
pub struct AttentionOutput {
    /// `[T, H, D]`, of the type of `q`.
    pub out: Tensor,
    /// `ln Σ exp(score)` of each query row, `[T, H]`, f32; the backward pass
    /// wants it.
    pub logsumexp: Tensor,
}

/// One sequence of a batch that reads a key/value cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachedSequence {
    /// How many query rows this sequence has in the call; they are its last
    /// tokens.
    pub queries: usize,
    /// How many tokens of keys and values it has, those of the queries
    /// included.
    pub length: usize,
    /// The cache blocks that hold them, in order.
    pub blocks: Vec<u32>,
}

/// `out = softmax(scale · q·kᵀ + mask) · v` within each segment.
///
/// # Shapes
/// `q`: `[T, H, D]`; `k`, `v`: `[T, KV, D]`, all f32 or all bf16, `H` a multiple
/// of `KV`, `D` even and at most 256; `segments` of `T` tokens.
/// # Errors
/// `ShapeMismatch`, `DTypeMismatch`, `DeviceMismatch`; `InvalidArgument` for a
/// window of 0 or without causality, or a scale that is not finite.
/// # Reference
/// Dao et al. 2022, arXiv:2205.14135
pub fn attention_forward(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    segments: &Segments,
    config: &AttentionConfig,
) -> Result<AttentionOutput> {
    let check = Check::new("attention_forward");
    let qkv = check_packed(check, Qkv { q, k, v }, segments, config)?;
    let [tokens, heads, _] = check.heads("q", q)?;
    let mut out = Tensor::empty(q.device(), q.shape(), q.dtype())?;
    let mut logsumexp = Tensor::empty(q.device(), &[tokens, heads], DType::F32)?;
    if q.is_empty() {
        return Ok(AttentionOutput { out, logsumexp });
    }
    let sequences = segments.sequences();
    q.device()
        .backend()
        .attention_forward(qkv, &sequences, config, &mut out, Some(&mut logsumexp));
    Ok(AttentionOutput { out, logsumexp })
}

/// The gradients `(d_q, d_k, d_v)` of [`attention_forward`]. Those of a shared
/// prefix's keys and values are summed over all segments.
///
/// # Shapes
/// `d_out`: `[T, H, D]`, of the type of `q`; `forward`: what the forward pass
/// returned for the same arguments; returned: like `q`, `k`, `v`, f32.
/// # Errors
/// As for [`attention_forward`].
pub fn attention_backward(
    d_out: &Tensor,
    [q, k, v]: [&Tensor; 3],
    forward: &AttentionOutput,
    segments: &Segments,
    config: &AttentionConfig,
) -> Result<(Tensor, Tensor, Tensor)> {
    let check = Check::new("attention_backward");
    let qkv = check_packed(check, Qkv { q, k, v }, segments, config)?;
    let [tokens, heads, _] = check.heads("q", q)?;
    let AttentionOutput { out, logsumexp } = forward;
    check.devices(
        q,
        &[
            ("d_out", d_out),
            ("forward.out", out),
            ("forward.logsumexp", logsumexp),
        ],
    )?;
    for (name, tensor) in [("d_out", d_out), ("forward.out", out)] {
        check.dtype(name, tensor, q.dtype())?;
        check.shape(name, tensor, q.shape())?;
    }
    check.dtype("forward.logsumexp", logsumexp, DType::F32)?;
    check.shape("forward.logsumexp", logsumexp, &[tokens, heads])?;
    let mut d_q = Tensor::zeros(q.device(), q.shape(), DType::F32)?;
    let mut d_k = Tensor::zeros(q.device(), k.shape(), DType::F32)?;
    let mut d_v = Tensor::zeros(q.device(), v.shape(), DType::F32)?;
    if q.is_empty() {
        return Ok((d_q, d_k, d_v));
    }
    let args = AttentionBackward {
        qkv,
        out,
        logsumexp,
        d_out,
        d_q: &mut d_q,
        d_k: &mut d_k,
        d_v: &mut d_v,
    };
    q.device()
        .backend()
        .attention_backward(args, &segments.sequences(), config);
    Ok((d_q, d_k, d_v))
}

/// Attention of new query rows against a cache of keys and values that is
/// made of blocks, for prefill in chunks and for decoding alike.
///
/// With blocks of 64 rows (or a multiple), a query's result has the same bytes
/// as in [`attention_forward`] over its whole sequence.
///
/// # Shapes
/// `q`: `[T, H, D]`, the queries of all sequences one after the other;
/// `k_cache`, `v_cache`: `[blocks, rows per block, KV, D]`; returned: like `q`.
/// # Errors
/// `IndexOutOfRange` if a block is not in the cache; `InvalidArgument` if a
/// sequence has more queries than tokens or too few blocks; `ShapeMismatch`,
/// `DTypeMismatch`, `DeviceMismatch`.
pub fn attention_cached(
    q: &Tensor,
    k_cache: &Tensor,
    v_cache: &Tensor,
    sequences: &[CachedSequence],
    config: &AttentionConfig,
) -> Result<Tensor> {
    let check = Check::new("attention_cached");
    let &[block_count, block_rows, kv_heads, kv_dim] = k_cache.shape() else {
        let expected = "[blocks, rows per block, KV, D]".into();
        return Err(check.wrong_shape("k_cache", k_cache, expected));
    };
    check.shape("v_cache", v_cache, k_cache.shape())?;
    let qkv = Qkv {
        q,
        k: k_cache,
        v: v_cache,
    };
    check_heads(
        check,
        qkv,
        ["k_cache", "v_cache"],
        [kv_heads, kv_dim],
        config,
    )?;
    let all = |rows: usize, s: &CachedSequence| rows.saturating_add(s.queries);
    let queries = sequences.iter().fold(0, all);
    let [tokens, ..] = check.heads("q", q)?;
    if queries != tokens {
        let expected = format!("[{queries}, H, D] to fit `sequences`");
        return Err(check.wrong_shape("q", q, expected));
    }
    let mut plan = Vec::with_capacity(sequences.len());
    let mut row = 0;
    for (index, sequence) in sequences.iter().enumerate() {
        check.indices("sequences.blocks", &sequence.blocks, block_count)?;
        if sequence.queries > sequence.length {
            let length = sequence.length;
            let expected = format!("at most the {length} tokens of sequence {index}");
            return Err(check.invalid("sequences.queries", sequence.queries, expected));
        }
        if sequence.blocks.len().saturating_mul(block_rows) < sequence.length {
            let expected = format!(
                "enough blocks of {block_rows} rows for the {} tokens of sequence {index}",
                sequence.length
            );
            return Err(check.invalid("sequences.blocks", sequence.blocks.len(), expected));
        }
        let keys = sequence
            .blocks
            .iter()
            .enumerate()
            .map(|(index, &block)| KeySpan {
                row: block as usize * block_rows,
                len: block_rows.min(sequence.length.saturating_sub(index * block_rows)),
                position: index * block_rows,
            });
        plan.push(Sequence {
            queries: row..row + sequence.queries,
            position: sequence.length - sequence.queries,
            keys: keys.filter(|span| span.len > 0).collect(),
        });
        row += sequence.queries;
    }
    let mut out = Tensor::empty(q.device(), q.shape(), q.dtype())?;
    if q.is_empty() {
        return Ok(out);
    }
    q.device()
        .backend()
        .attention_forward(qkv, &plan, config, &mut out, None);
    Ok(out)
}

fn check_packed<'a>(
    check: Check,
    qkv: Qkv<'a>,
    segments: &Segments,
    config: &AttentionConfig,
) -> Result<Qkv<'a>> {
    let [tokens, kv_heads, kv_dim] = check.heads("k", qkv.k)?;
    check.shape("v", qkv.v, qkv.k.shape())?;
    check_heads(check, qkv, ["k", "v"], [kv_heads, kv_dim], config)?;
    let [query_tokens, ..] = check.heads("q", qkv.q)?;
    for (name, tensor, found) in [("q", qkv.q, query_tokens), ("k", qkv.k, tokens)] {
        if found != segments.tokens() {
            let expected = format!("[{}, heads, D] to fit `segments`", segments.tokens());
            return Err(check.wrong_shape(name, tensor, expected));
        }
    }
    Ok(qkv)
}

fn check_heads(
    check: Check,
    Qkv { q, k, v }: Qkv<'_>,
    [k_name, v_name]: [&'static str; 2],
    [kv_heads, kv_dim]: [usize; 2],
    config: &AttentionConfig,
) -> Result<()> {
    let [_, heads, head_dim] = check.heads("q", q)?;
    check.devices(q, &[(k_name, k), (v_name, v)])?;
    check.dtype(k_name, k, q.dtype())?;
    check.dtype(v_name, v, q.dtype())?;
    if head_dim == 0 || head_dim > MAX_HEAD_DIM || !head_dim.is_multiple_of(2) {
        return Err(check.wrong_shape(
            "q",
            q,
            format!("[T, H, D] with an even D of at most {MAX_HEAD_DIM}"),
        ));
    }
    if kv_dim != head_dim || kv_heads == 0 || !heads.is_multiple_of(kv_heads) {
        let expected = format!("heads of size {head_dim}, their number dividing {heads}");
        return Err(check.wrong_shape(k_name, k, expected));
    }
    check.number("config.scale", config.scale, |_| true, "a finite number")?;
    match config.sliding_window {
        Some(0) => Err(check.invalid("config.sliding_window", 0, "at least 1")),
        Some(window) if !config.causal => Err(check.invalid(
            "config.sliding_window",
            window,
            "none for bidirectional attention",
        )),
        _ => Ok(()),
    }
}
