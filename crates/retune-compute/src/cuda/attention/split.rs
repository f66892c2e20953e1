//! Few rows and many keys: the keys shared out, and what comes of it merged.

use super::tables::{Plan, RowTile};
use super::{Name, Problem, TILE, WARPS};
use crate::cuda::SCRATCH_BYTES;
use crate::cuda::kernels::Args;
use crate::ops::Sequence;

/// Keys whose partial results are merged into a row's totals.
const CHUNK: usize = 256;
/// Blocks that keep a device busy: about two for each of its processors.
/// Below that, the chunks of a row's keys get a block each. That changes no
/// bit of the result.
const FULL_GRID: usize = 264;

/// A forward pass with few rows and many keys, as in decoding: the chunks of
/// the keys, and what merges them.
pub(super) struct Split {
    pub(super) pieces: Vec<RowTile>,
    pub(super) merges: Vec<RowTile>,
    /// Packed rows of partial results, of all heads.
    pub(super) partial_rows: usize,
}

impl Split {
    /// `None` if it does not pay or the partial results are too many.
    pub(super) fn new(
        problem: &Problem<'_>,
        sequences: &[Sequence],
        tiles: &[RowTile],
    ) -> Option<Self> {
        if tiles.len() * problem.kv_heads >= FULL_GRID {
            return None;
        }
        let mut split = Self {
            pieces: Vec::new(),
            merges: Vec::new(),
            partial_rows: 0,
        };
        for tile in tiles {
            let sequence = &sequences[tile.sequence];
            let position = |row: usize| sequence.position + row / problem.group;
            let first = problem.config.visible(position(tile.first)).start;
            let end = problem
                .config
                .visible(position(tile.first + tile.rows - 1))
                .end;
            let length = sequence.keys.last().map_or(0, |s| s.position + s.len);
            // A tile of keys belongs to the chunk that it begins in.
            let chunks = first.saturating_sub(TILE - 1) / CHUNK..end.min(length).div_ceil(CHUNK);
            split.merges.push(RowTile {
                chunk: chunks.len(),
                partial: split.partial_rows,
                ..*tile
            });
            for chunk in chunks {
                split.pieces.push(RowTile {
                    chunk,
                    partial: split.partial_rows,
                    ..*tile
                });
                split.partial_rows += tile.rows * problem.kv_heads;
            }
        }
        let pays = split.pieces.len() > tiles.len();
        (pays && split.bytes(problem) <= SCRATCH_BYTES).then_some(split)
    }

    /// Each row has its sums, and a maximum and a sum of weights.
    pub(super) fn bytes(&self, problem: &Problem<'_>) -> usize {
        self.partial_rows * (problem.padded_dim + 2) * size_of::<f32>()
    }

    pub(super) fn run(&self, problem: &Problem<'_>, mut plan: Plan, out: u64) {
        let cuda = problem.cuda;
        let first_piece = plan.add(self.pieces.iter().flat_map(RowTile::words));
        let first_merge = plan.add(self.merges.iter().flat_map(RowTile::words));
        let plan = plan.upload(cuda);
        let sums = cuda.scratch(self.bytes(problem));
        let sums_bytes = self.partial_rows * problem.padded_dim * size_of::<f32>();
        let running = sums + sums_bytes as u64;
        let args = problem
            .inputs()
            .address(sums)
            .address(running)
            .address(plan.sequences())
            .address(plan.spans())
            .address(plan.words(first_piece));
        let args = problem.sizes(args).int(problem.window);
        let args = args.float(problem.config.scale);
        let blocks = self.pieces.len() * problem.kv_heads;
        problem.launch(Name::ForwardSplit, blocks, problem.forward_bytes(), args);
        let args = Args::new()
            .address(sums)
            .address(running)
            .address(out)
            .address(plan.sequences())
            .address(plan.words(first_merge));
        // One warp a row.
        let blocks = self.merges.len() * problem.kv_heads * (TILE / WARPS);
        problem.launch(Name::Merge, blocks, 0, problem.sizes(args));
    }
}
