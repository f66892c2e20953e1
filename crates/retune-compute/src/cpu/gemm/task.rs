//! A task: the columns of one panel, of a block of rows.

use std::ops::Range;

use super::compressed::{Compressed, Piece};
use super::few_rows::FewRows;
use super::finish::{Finish, Sums, store};
use super::kernel::{Ahead, CompressedKernel, Factor, Kernel, PANEL, VECTOR, Widening};
use super::panels::{Matrix, Source, panel_width};
use crate::Tier;
use crate::cpu::scratch;
use crate::cpu::split::RowsMut;
use crate::dtype::Element;
use crate::ops::K_BLOCK;

/// Tiles of a product of few rows, for which it does not pay to bring a piece of the panel
/// into another form first.
pub(super) const FEW_TILES: usize = 2;
/// Columns of a product for which it does not pay to bring the rows into another form.
const NARROW: usize = 3 * VECTOR;
/// Bytes of a line of the caches.
const LINE: usize = 64;

/// A first factor as rows with a whole number of groups.
pub(super) struct Left<'a, E> {
    data: &'a [E],
    stride: usize,
}

impl<'a, E: Factor> Left<'a, E> {
    pub(super) fn new(data: &'a [E], stride: usize) -> Self {
        Self { data, stride }
    }

    /// A block of some rows, whose groups are those of rows of `G`.
    fn part<G: Factor>(&self, rows: &Range<usize>, block: &Block) -> FewRows<'_, E> {
        assert!(block.k0 <= block.k1 && block.k1 <= self.stride);
        FewRows {
            data: &self.data[rows.start * self.stride + block.k0..rows.end * self.stride],
            stride: self.stride,
            rows: rows.len(),
            groups: block.groups::<G>() * G::GROUP / E::GROUP,
        }
    }

    /// Copies some rows, widened.
    pub(super) fn widen(
        &self,
        (tier, widening): (Tier, Widening<E>),
        rows: Range<usize>,
        to: &mut [f32],
    ) {
        let from = &self.data[rows.start * self.stride..rows.end * self.stride];
        (widening.row)(tier, from, to);
    }
}

/// A part of the sums: the terms `k0..k1`. Each is summed from zero, and added to those
/// before it.
struct Block {
    k0: usize,
    k1: usize,
}

impl Block {
    /// The blocks of sums over `k` terms; a single empty one if there are none.
    fn all(k: usize) -> impl Iterator<Item = Self> {
        (0..k.div_ceil(K_BLOCK).max(1)).map(move |block| Self {
            k0: block * K_BLOCK,
            k1: ((block + 1) * K_BLOCK).min(k),
        })
    }

    fn groups<E: Factor>(&self) -> usize {
        (self.k1 - self.k0).div_ceil(E::GROUP)
    }
}

/// Rows of a first factor, widened, from the row `first` on.
pub(super) struct WideRows<'a> {
    pub(super) first: usize,
    pub(super) rows: Left<'a, f32>,
}

/// What a task computes.
pub(super) struct Place<'a> {
    /// Its rows among others, where the product is computed of widened factors.
    pub(super) wide: Option<&'a WideRows<'a>>,
    pub(super) panel: usize,
    pub(super) rows: Range<usize>,
    /// The panel that this thread most likely reads next.
    pub(super) next: usize,
}

/// What the tasks of one product share.
pub(super) struct Task<'a, E, O> {
    tier: Tier,
    kernel: Kernel<E>,
    widening: Option<Widening<E>>,
    compressed: Option<(CompressedKernel<E>, &'a Compressed)>,
    a: Left<'a, E>,
    b: Matrix<'a, E>,
    low_rank: Option<(Left<'a, E>, Matrix<'a, E>)>,
    finish: Finish<'a>,
    out: RowsMut<'a, O>,
}

/// A piece of a panel in the form that a kernel reads.
enum Factors<'a, E> {
    Plain(&'a [E]),
    Wide(Kernel<f32>, &'a [f32]),
    Compressed(CompressedKernel<E>, Piece<'a>),
}

/// A task's working memory in f32.
struct Floats<'a> {
    /// A row of the panel's width for each row of the task.
    sums: &'a mut [f32],
    /// The low-rank term's, of one tile.
    low_rank: &'a mut [f32],
    /// A piece of the panel, widened.
    piece: &'a mut [f32],
}

impl<'a, E: Factor, O: Element> Task<'a, E, O> {
    /// Of the product of `m` rows.
    pub(super) fn new(
        tier: Tier,
        m: usize,
        (a, b): (Left<'a, E>, Matrix<'a, E>),
        low_rank: Option<(Left<'a, E>, Matrix<'a, E>)>,
        finish: Finish<'a>,
        out: RowsMut<'a, O>,
    ) -> Self {
        let kernel = E::kernel(tier);
        let few = m <= FEW_TILES * kernel.rows;
        let compressed = match b.source {
            Source::Compressed(panels) if few => {
                E::compressed_kernel(tier).map(|kernel| (kernel, panels))
            }
            _ => None,
        };
        Self {
            tier,
            kernel,
            widening: E::widening(tier).filter(|_| !few && b.n > NARROW),
            compressed,
            a,
            b,
            low_rank,
            finish,
            out,
        }
    }

    /// The most rows of a tile.
    pub(super) fn tile_rows(&self) -> usize {
        self.kernel.rows
    }

    /// How rows are widened that [`Self::run`] wants widened, and the rows.
    pub(super) fn widening(&self) -> Option<(Widening<E>, &Left<'a, E>)> {
        self.widening.map(|widening| (widening, &self.a))
    }

    /// Computes one panel's columns of some rows.
    pub(super) fn run(&self, place: Place<'_>) {
        let (_, width) = panel_width(place.panel, self.b.n);
        let rank = self
            .low_rank
            .as_ref()
            .map_or(0, |(_, b)| b.k.next_multiple_of(E::GROUP));
        let depth = K_BLOCK.min(self.b.k.next_multiple_of(E::GROUP));
        let needs_no_space = self.b.is_packed()
            || matches!(self.b.source, Source::Compressed(_))
                && (self.compressed.is_some() || self.widening.is_some());
        let piece = if needs_no_space { 0 } else { depth * width };
        let wide_piece = self.widening.map_or(0, |_| depth * width);
        let sums = place.rows.len() * width;
        let low_rank = self.kernel.rows * width;
        scratch::with(piece + rank * width, |space: &mut [E]| {
            scratch::with(sums + low_rank + wide_piece, |floats: &mut [f32]| {
                let (sums, floats) = floats.split_at_mut(sums);
                let (low_rank, wide_piece) = floats.split_at_mut(low_rank);
                let floats = Floats {
                    sums,
                    low_rank,
                    piece: wide_piece,
                };
                self.run_in(&place, space.split_at_mut(piece), floats);
            });
        });
    }

    /// The same in working memory: for a piece of the panel and for the low-rank term's
    /// second factor, and in f32.
    fn run_in(
        &self,
        place: &Place<'_>,
        (space, low_rank_space): (&mut [E], &mut [E]),
        floats: Floats<'_>,
    ) {
        let (columns, width) = panel_width(place.panel, self.b.n);
        let low_rank = self
            .low_rank
            .as_ref()
            .map(|(u, b)| (u, b.piece(self.tier, place.panel, (0, b.k), low_rank_space)));
        // Tiles of nearly equal height use the registers better than full ones
        // with a small rest.
        let count = place.rows.len();
        let tiles = count.div_ceil(self.kernel.rows);
        for block in Block::all(self.b.k) {
            let is_last = block.k1 == self.b.k;
            let piece = self.piece(place.panel, &block, space, floats.piece);
            let reading = Reading {
                tier: self.tier,
                memory: match is_last {
                    true => self.b.read_at(place.next, 0),
                    false => self.b.read_at(place.panel, block.k1),
                },
                tiles,
                groups: match self.widening {
                    Some(_) => block.groups::<E>() * E::GROUP,
                    None => block.groups::<E>(),
                },
            };
            for tile in 0..tiles {
                let own = tile * count / tiles..(tile + 1) * count / tiles;
                let rows = place.rows.start + own.start..place.rows.start + own.end;
                if is_last && tiles > FEW_TILES {
                    self.ask_for_results(&rows, place.panel * PANEL, columns);
                }
                let sums = &mut floats.sums[own.start * width..own.end * width];
                let how = (block.k0 > 0, reading.share_of(tile));
                self.multiply(place.wide, &rows, &block, &piece, sums, how);
                if !is_last {
                    continue;
                }
                let mut term = &mut floats.low_rank[..sums.len()];
                match low_rank {
                    Some((u, piece)) => self.low_rank_term(u, &rows, piece, term),
                    None => term = &mut [],
                }
                let sums = Sums {
                    values: sums,
                    low_rank: term,
                    width,
                    first: (rows.start, place.panel * PANEL),
                    columns,
                };
                store(self.tier, &self.finish, sums, &self.out);
            }
        }
    }

    /// Asks for the memory that the results of some rows go to, while their sums are
    /// computed. Measured on Intel's processors without bf16, and done there alone.
    fn ask_for_results(&self, rows: &Range<usize>, start: usize, columns: usize) {
        #[cfg(target_arch = "x86_64")]
        if self.tier == Tier::Avx512 && !self.finish.transposed {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            for row in rows.clone() {
                // SAFETY: each task has its own rows and columns of `out`.
                let cells = unsafe { self.out.cells(row, start..start + columns) };
                for line in cells.chunks(LINE / size_of::<O>()) {
                    #[allow(unused_unsafe, reason = "newer compilers take it for safe")]
                    // SAFETY: a hint without effect on memory.
                    unsafe {
                        _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast())
                    };
                }
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = (rows, start, columns);
    }

    /// A block's piece of a panel in the form that this product reads.
    fn piece<'s>(
        &'s self,
        panel: usize,
        block: &Block,
        space: &'s mut [E],
        wide: &'s mut [f32],
    ) -> Factors<'s, E> {
        let (tier, range) = (self.tier, (block.k0, block.k1));
        let (first, groups) = (block.k0 / E::GROUP, block.groups::<E>());
        let compressed = |panels: &'s Compressed| panels.piece(panel, (first, first + groups));
        if let Some((kernel, panels)) = self.compressed {
            return Factors::Compressed(kernel, compressed(panels));
        }
        let Some(widening) = self.widening else {
            return Factors::Plain(self.b.piece(tier, panel, range, space));
        };
        let (_, width) = panel_width(panel, self.b.n);
        let wide = &mut wide[..groups * E::GROUP * width];
        match self.b.source {
            Source::Compressed(panels) => (widening.compressed)(tier, compressed(panels), wide),
            _ => {
                let piece = self.b.piece(tier, panel, range, space);
                (widening.piece)(tier, piece, width, wide);
            }
        }
        Factors::Wide(widening.kernel, wide)
    }

    /// Adds a block's part of the sums of one tile.
    fn multiply(
        &self,
        wide: Option<&WideRows<'_>>,
        rows: &Range<usize>,
        block: &Block,
        piece: &Factors<'_, E>,
        sums: &mut [f32],
        how: (bool, Ahead),
    ) {
        let a = || self.a.part::<E>(rows, block);
        match piece {
            Factors::Plain(piece) => a().times(self.kernel, piece, sums, how),
            Factors::Compressed(kernel, piece) => a().times_compressed(*kernel, *piece, sums, how),
            Factors::Wide(kernel, piece) => {
                let wide = wide.expect("a product of widened factors has its rows widened");
                let rows = rows.start - wide.first..rows.end - wide.first;
                let a = wide.rows.part::<E>(&rows, block);
                a.times(*kernel, piece, sums, how);
            }
        }
    }

    /// The low-rank term's `u · b` for one tile.
    fn low_rank_term(&self, u: &Left<'_, E>, rows: &Range<usize>, piece: &[E], sums: &mut [f32]) {
        let width = sums.len() / rows.len();
        for block in Block::all(piece.len() / width) {
            let piece = &piece[block.k0 * width..block.k1 * width];
            let how = (block.k0 > 0, Ahead::NONE);
            u.part::<E>(rows, &block)
                .times(self.kernel, piece, sums, how);
        }
    }
}

/// The reading of memory while the tiles before it are computed. Each tile asks
/// for its share: all at once, they would keep the tile's own reads waiting.
struct Reading {
    tier: Tier,
    memory: Option<(*const u8, usize)>,
    tiles: usize,
    /// Groups that a tile is computed in.
    groups: usize,
}

impl Reading {
    fn share_of(&self, tile: usize) -> Ahead {
        match self.memory {
            // Few tiles read memory as fast as it comes, the first of them. Intel's processors
            // without bf16 gain by asking a little before, others lose.
            _ if self.tiles <= FEW_TILES && self.tier == Tier::Avx512 => match tile {
                0 => Ahead::OWN,
                _ => Ahead::NONE,
            },
            _ if self.tiles <= 1 => Ahead::NONE,
            Some((from, bytes)) if self.groups > 0 => {
                let step = bytes.div_ceil(self.tiles * self.groups).min(LINE);
                Ahead {
                    from: from.wrapping_add(tile * self.groups * step),
                    step,
                    own: false,
                }
            }
            _ => Ahead::NONE,
        }
    }
}
