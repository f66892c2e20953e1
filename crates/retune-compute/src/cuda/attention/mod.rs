//! Launches the attention kernels: which rows and keys each block of threads
//! works on.
//!
//! bf16 with common head sizes goes to the tensor cores, everything else to
//! plain arithmetic. See `kernels/attention.cu`.

mod split;
mod tables;

use std::collections::HashMap;

use self::split::Split;
use self::tables::{KeyTiles, PartTile, Plan, ReadTile, RowTile};
use super::kernels::{Args, Source};
use super::{Cuda, SCRATCH_BYTES};
use crate::backend::{AttentionBackward, Qkv};
use crate::ops::{AttentionConfig, KeySpan, Sequence};
use crate::{DType, Tensor};

/// Threads of a block, in every kernel.
const THREADS: u32 = 128;
const WARPS: usize = THREADS as usize / 32;

/// Keys of a tile, and packed rows of one, on the tensor cores.
const TILE: usize = 64;

/// Packed rows, or keys, that a plain kernel holds, and rows that it streams.
const PLAIN_HELD: usize = 16;
const PLAIN_STREAMED: usize = 32;

/// Packed rows that one block streams past a tile of keys, about.
const READ_AT_ONCE: usize = 2048;
/// Blocks that add up the parts of a tile's sums.
const PART_BLOCKS: usize = 32;

/// Scales whose product with a score that is masked, an infinity, is one too.
const TENSOR_CORE_SCALES: std::ops::RangeInclusive<f32> = 1e-30..=1e30;

pub(super) fn forward(
    cuda: &Cuda,
    qkv: Qkv<'_>,
    sequences: &[Sequence],
    config: &AttentionConfig,
    out: &mut Tensor,
    logsumexp: Option<&mut Tensor>,
) {
    let problem = Problem::new(cuda, qkv, config);
    let mut plan = Plan::new(sequences);
    let tiles = problem.row_tiles(sequences);
    if tiles.is_empty() {
        return;
    }
    let out = cuda.address(out);
    if logsumexp.is_none()
        && problem.tensor_cores
        && let Some(split) = Split::new(&problem, sequences, &tiles)
    {
        return split.run(&problem, plan, out);
    }
    let logsumexp = logsumexp.map_or(0, |tensor| cuda.address(tensor));
    let first_tile = plan.add(tiles.iter().flat_map(RowTile::words));
    let plan = plan.upload(cuda);
    let args = problem
        .inputs()
        .address(out)
        .address(logsumexp)
        .address(plan.sequences())
        .address(plan.spans())
        .address(plan.words(first_tile));
    let args = problem.sizes(args).int(problem.window).float(config.scale);
    let blocks = tiles.len() * problem.kv_heads;
    problem.launch(Name::Forward, blocks, problem.forward_bytes(), args);
}

pub(super) fn backward(
    cuda: &Cuda,
    args: AttentionBackward<'_>,
    sequences: &[Sequence],
    config: &AttentionConfig,
) {
    let problem = Problem::new(cuda, args.qkv, config);
    let mut plan = Plan::new(sequences);
    let row_tiles = problem.row_tiles(sequences);
    if row_tiles.is_empty() {
        return;
    }
    let keys = problem.key_tiles(sequences);
    let first_row_tile = plan.add(row_tiles.iter().flat_map(RowTile::words));
    let first_reader = plan.add(keys.readers.iter().copied());
    let first_key_tile = plan.add(keys.tiles.iter().flat_map(ReadTile::words));
    let first_part = plan.add(keys.parts.iter().flat_map(PartTile::words));
    let plan = plan.upload(cuda);

    let [out, logsumexp, d_out] =
        [args.out, args.logsumexp, args.d_out].map(|tensor| cuda.address(tensor));
    let [d_q, d_k, d_v] = [args.d_q, args.d_k, args.d_v].map(|tensor| cuda.address(tensor));
    let tokens = args.qkv.q.shape()[0];
    let shared_bytes = problem.backward_bytes();
    let rows = tokens * problem.heads;
    let args = Args::new()
        .address(out)
        .address(d_out)
        .address(d_q)
        .long(rows)
        .int(problem.dim as i32);
    problem.launch(Name::Delta, rows.div_ceil(WARPS), 0, args);

    let inputs = || {
        let args = problem.inputs().address(d_out).address(logsumexp);
        args.address(d_q)
    };
    let settings = |args: Args| {
        let args = problem.sizes(args).int(problem.window);
        args.float(config.scale)
    };
    let partial_k = cuda.scratch(keys.bytes(&problem));
    let partial_v = partial_k + (keys.bytes(&problem) / 2) as u64;
    let args = inputs()
        .address(d_k)
        .address(d_v)
        .address(partial_k)
        .address(partial_v)
        .address(plan.sequences())
        .address(plan.words(first_reader))
        .address(plan.words(first_key_tile));
    let blocks = keys.tiles.len() * problem.kv_heads;
    problem.launch(Name::BackwardKv, blocks, shared_bytes, settings(args));
    let args = Args::new()
        .address(partial_k)
        .address(partial_v)
        .address(d_k)
        .address(d_v)
        .address(plan.words(first_part))
        .int((problem.kv_heads * problem.dim) as i32);
    problem.launch(Name::AddParts, keys.parts.len() * PART_BLOCKS, 0, args);
    // Last: until then d_q holds what the kernel before reads.
    let args = inputs()
        .address(plan.sequences())
        .address(plan.spans())
        .address(plan.words(first_row_tile));
    let blocks = row_tiles.len() * problem.kv_heads;
    problem.launch(Name::BackwardQ, blocks, shared_bytes, settings(args));
}

/// Which kernel; each has a version per kind of arithmetic.
#[derive(Clone, Copy)]
enum Name {
    Forward,
    ForwardSplit,
    Merge,
    Delta,
    BackwardQ,
    BackwardKv,
    AddParts,
}

/// The sizes and inputs of one call.
struct Problem<'a> {
    cuda: &'a Cuda,
    qkv: Qkv<'a>,
    config: AttentionConfig,
    heads: usize,
    kv_heads: usize,
    /// Query heads per key/value head.
    group: usize,
    dim: usize,
    /// The same, rounded up to what the kernels are compiled for.
    padded_dim: usize,
    tensor_cores: bool,
    /// How many keys a query sees at most; 0 if all.
    window: i32,
}

impl<'a> Problem<'a> {
    fn new(cuda: &'a Cuda, qkv: Qkv<'a>, config: &AttentionConfig) -> Self {
        let &[_, heads, dim] = qkv.q.shape() else {
            unreachable!("checked: [T, H, D]")
        };
        let kv_heads = qkv.k.shape()[qkv.k.shape().len() - 2];
        let tensor_cores = qkv.q.dtype() == DType::BF16
            && (32..=128).contains(&dim)
            && dim.is_multiple_of(8)
            && TENSOR_CORE_SCALES.contains(&config.scale);
        let window = match config.sliding_window {
            _ if !config.causal => 0,
            None => i32::MAX,
            Some(window) => i32::try_from(window).unwrap_or(i32::MAX),
        };
        Self {
            cuda,
            qkv,
            config: *config,
            heads,
            kv_heads,
            group: heads / kv_heads,
            dim,
            padded_dim: dim.next_multiple_of(if tensor_cores { 16 } else { 32 }),
            tensor_cores,
            window,
        }
    }

    /// Packed rows, or keys, that a block holds.
    fn held(&self) -> usize {
        if self.tensor_cores { TILE } else { PLAIN_HELD }
    }

    /// The tiles of each sequence's packed rows. The later a row, the more
    /// keys it may see, and the blocks with most work go first.
    fn row_tiles(&self, sequences: &[Sequence]) -> Vec<RowTile> {
        let mut tiles = Vec::new();
        for (index, sequence) in sequences.iter().enumerate() {
            let rows = sequence.queries.len() * self.group;
            tiles.extend((0..rows).step_by(self.held()).rev().map(|first| RowTile {
                sequence: index,
                first,
                rows: self.held().min(rows - first),
                chunk: 0,
                partial: 0,
            }));
        }
        tiles
    }

    /// The tiles of all keys that a sequence with queries lists, and the lists
    /// of sequences that read them. Spans are the same or have no row in
    /// common, as they come from `Segments`.
    fn key_tiles(&self, sequences: &[Sequence]) -> KeyTiles {
        let mut places: HashMap<usize, usize> = HashMap::new();
        let mut spans: Vec<(KeySpan, Vec<u32>)> = Vec::new();
        for (index, sequence) in sequences.iter().enumerate() {
            if sequence.queries.is_empty() {
                continue;
            }
            for &span in &sequence.keys {
                let place = *places.entry(span.row).or_insert(spans.len());
                if place == spans.len() {
                    spans.push((span, Vec::new()));
                }
                debug_assert_eq!(spans[place].0, span);
                spans[place].1.push(index as u32);
            }
        }
        let shared = KeyTiles::new(self, &spans, sequences, READ_AT_ONCE);
        match shared.bytes(self) <= SCRATCH_BYTES {
            true => shared,
            false => KeyTiles::new(self, &spans, sequences, usize::MAX),
        }
    }

    fn inputs(&self) -> Args {
        let Qkv { q, k, v } = self.qkv;
        [q, k, v].into_iter().fold(Args::new(), |args, tensor| {
            args.address(self.cuda.address(tensor))
        })
    }

    fn sizes(&self, args: Args) -> Args {
        args.int(self.heads as i32)
            .int(self.kv_heads as i32)
            .int(self.dim as i32)
    }

    fn forward_bytes(&self) -> usize {
        if self.tensor_cores {
            // Queries, and twice a tile of keys and values.
            5 * TILE * self.row_bytes()
        } else {
            (PLAIN_HELD * self.padded_dim + 2 * PLAIN_STREAMED * (self.padded_dim + 4)) * 4
        }
    }

    fn backward_bytes(&self) -> usize {
        if self.tensor_cores {
            // What is held, two tensors of it, and twice what is streamed.
            let streamed = if self.padded_dim <= 64 { 64 } else { 32 };
            (2 * TILE + 4 * streamed) * self.row_bytes()
        } else {
            (2 * PLAIN_HELD * self.padded_dim + 2 * PLAIN_STREAMED * (self.padded_dim + 4)) * 4
        }
    }

    /// Bytes of a row of bf16 in shared memory.
    fn row_bytes(&self) -> usize {
        (self.padded_dim + 8) * 2
    }

    fn launch(&self, name: Name, blocks: usize, shared_bytes: usize, args: Args) {
        let dtype = self.qkv.q.dtype();
        let name = match (name, self.tensor_cores, dtype) {
            (Name::Delta, _, DType::F32) => "attention_delta_f32",
            (Name::Delta, _, DType::BF16) => "attention_delta_bf16",
            (Name::ForwardSplit, ..) => "attention_forward_split_mma",
            (Name::Merge, ..) => "attention_merge_mma",
            (Name::AddParts, ..) => "attention_add_parts",
            (Name::Forward, true, _) => "attention_forward_mma",
            (Name::BackwardQ, true, _) => "attention_backward_q_mma",
            (Name::BackwardKv, true, _) => "attention_backward_kv_mma",
            (Name::Forward, false, DType::F32) => "attention_forward_f32",
            (Name::BackwardQ, false, DType::F32) => "attention_backward_q_f32",
            (Name::BackwardKv, false, DType::F32) => "attention_backward_kv_f32",
            (Name::Forward, false, DType::BF16) => "attention_forward_bf16",
            (Name::BackwardQ, false, DType::BF16) => "attention_backward_q_bf16",
            (Name::BackwardKv, false, DType::BF16) => "attention_backward_kv_bf16",
        };
        let head_dim = self.padded_dim as u32;
        let source = Source::Attention { head_dim };
        self.cuda.launch(
            source.kernel(name),
            [blocks as u32, 1, 1],
            THREADS,
            shared_bytes as u32,
            args,
        );
    }
}
