//! The register-tile kernels: everything else in this folder feeds them.
//!
//! A kernel multiplies some rows of A with one panel of B that
//! is up to four vectors of 16 columns wide. In a panel, the values that one
//! step of the sum needs lie side by side: `[k][column]` in f32, and
//! `[k / 2][column][2]` in bf16, whose instruction takes `k` in pairs.

use half::bf16;

use super::compressed::{Compressed, Piece};
use super::panels::Matrix;
use super::portable;
use crate::Tier;
use crate::cpu::Cpu;
use crate::cpu::simd::for_each_tier;
use crate::dtype::Element;
use crate::error::Result;

/// Rows of A that a kernel of vectors works on at a time: 6 × 4 sums, 4 values
/// of B and one of A fill the 32 registers of AVX-512.
const VECTOR_ROWS: usize = 6;
/// The most rows of a tile with a compressed panel.
pub(super) const COMPRESSED_ROWS: usize = VECTOR_ROWS;
/// Columns in one vector.
pub(in crate::cpu) const VECTOR: usize = 16;
/// Columns of a full panel.
pub(in crate::cpu) const PANEL: usize = 4 * VECTOR;

/// What one kernel call computes:
/// `c[r][j] (+)= Σ_g a[r][g] · panel[g][j]` for `r < rows`, `j < 16 · vectors`,
/// where `g` runs over `groups` groups of `E::GROUP` consecutive `k`.
#[derive(Clone, Copy)]
pub(in crate::cpu) struct Tile<E> {
    pub(in crate::cpu) rows: usize,
    pub(in crate::cpu) vectors: usize,
    pub(in crate::cpu) groups: usize,
    /// Row `r` starts at `a + r * a_stride` (in elements).
    pub(in crate::cpu) a: *const E,
    pub(in crate::cpu) a_stride: usize,
    pub(in crate::cpu) panel: *const E,
    /// Row `r` starts at `c + r * c_stride`.
    pub(in crate::cpu) c: *mut f32,
    pub(in crate::cpu) c_stride: usize,
    /// Add to `c` instead of overwriting it. The sum is added as a whole, but for AMX, which
    /// goes on summing from `c`.
    pub(in crate::cpu) add: bool,
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    pub(in crate::cpu) ahead: Ahead,
}

/// Memory that will be read soon, which a kernel may ask for while it computes:
/// the line at `from`, and with each group one that is `step` bytes further.
#[derive(Clone, Copy)]
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
pub(in crate::cpu) struct Ahead {
    /// Null for nothing.
    pub(in crate::cpu) from: *const u8,
    pub(in crate::cpu) step: usize,
    /// Whether the panel itself is asked for, a little further on.
    pub(in crate::cpu) own: bool,
}

impl Ahead {
    /// Asks for nothing.
    pub(in crate::cpu) const NONE: Self = Self {
        from: std::ptr::null(),
        step: 0,
        own: false,
    };

    /// Asks for the panel itself.
    pub(in crate::cpu) const OWN: Self = Self {
        own: true,
        ..Self::NONE
    };
}

/// A kernel of one tier.
#[derive(Clone, Copy)]
pub(in crate::cpu) struct Kernel<E> {
    /// The most rows of a tile.
    pub(in crate::cpu) rows: usize,
    /// Computes a tile.
    ///
    /// # Safety
    /// The processor can run the kernel's tier; the tile has 1 to `rows` rows and
    /// 1 to 4 vectors; `a`, `panel` and `c` are valid for it; nothing else touches `c`.
    pub(in crate::cpu) run: unsafe fn(&Tile<E>),
}

/// An element type that products are computed in.
pub(in crate::cpu) trait Factor: Element {
    /// How many consecutive `k` lie side by side in a panel.
    const GROUP: usize;
    /// The kernel of a tier.
    fn kernel(tier: Tier) -> Kernel<Self>;

    /// How products of many rows and columns are computed where the tier has no
    /// instruction for this type: a piece of the panel is widened once for all
    /// tiles of a task, and rows once for all panels.
    fn widening(tier: Tier) -> Option<Widening<Self>>;

    /// Compresses the panels of a matrix, where that can be done and gains something.
    ///
    /// # Errors
    /// `OutOfMemory`.
    fn compressed(cpu: &Cpu, matrix: &Matrix<'_, Self>) -> Result<Option<Compressed>>;

    /// The numbers of a compressed piece.
    fn unpack(tier: Tier, piece: Piece<'_>, numbers: &mut [Self]);

    /// The kernel that reads compressed panels as they are.
    fn compressed_kernel(tier: Tier) -> Option<CompressedKernel<Self>>;
}

/// Computes a tile as [`Kernel::run`] does, with a compressed piece in place of the
/// tile's panel.
///
/// # Safety
/// As for [`Kernel::run`]; the piece has the tile's groups, and is as wide as a full panel.
pub(in crate::cpu) type CompressedKernel<E> = unsafe fn(&Tile<E>, Piece<'_>);

/// A detour over f32, whose sums have the same bits as [`Factor::kernel`]'s.
#[derive(Clone, Copy)]
pub(in crate::cpu) struct Widening<E> {
    pub(in crate::cpu) kernel: Kernel<f32>,
    /// Widens rows of whole groups.
    pub(in crate::cpu) row: fn(Tier, &[E], &mut [f32]),
    /// Widens a piece of a panel; the number is its width.
    pub(in crate::cpu) piece: fn(Tier, &[E], usize, &mut [f32]),
    /// The same from a compressed piece.
    pub(in crate::cpu) compressed: fn(Tier, Piece<'_>, &mut [f32]),
}

impl Factor for f32 {
    const GROUP: usize = 1;

    fn kernel(tier: Tier) -> Kernel<Self> {
        let run = match tier {
            #[cfg(target_arch = "x86_64")]
            Tier::Avx512 | Tier::Avx512Bf16 | Tier::AmxBf16 => super::avx512::f32_tile,
            #[cfg(target_arch = "x86_64")]
            Tier::Avx2 => super::avx2::f32_tile,
            _ => portable::f32_tile,
        };
        Kernel {
            rows: VECTOR_ROWS,
            run,
        }
    }

    fn widening(_: Tier) -> Option<Widening<Self>> {
        None
    }

    fn compressed(_: &Cpu, _: &Matrix<'_, Self>) -> Result<Option<Compressed>> {
        Ok(None)
    }

    fn unpack(_: Tier, _: Piece<'_>, _: &mut [Self]) {
        unreachable!("only bf16 is compressed")
    }

    fn compressed_kernel(_: Tier) -> Option<CompressedKernel<Self>> {
        None
    }
}

impl Factor for bf16 {
    const GROUP: usize = 2;

    fn kernel(tier: Tier) -> Kernel<Self> {
        let run = match tier {
            #[cfg(target_arch = "x86_64")]
            Tier::AmxBf16 => {
                return Kernel {
                    rows: super::amx::ROWS,
                    run: super::amx::bf16_tile,
                };
            }
            #[cfg(target_arch = "x86_64")]
            Tier::Avx512Bf16 => super::avx512::bf16_tile,
            #[cfg(target_arch = "x86_64")]
            Tier::Avx512 => super::avx512::bf16_widening_tile,
            #[cfg(target_arch = "x86_64")]
            Tier::Avx2 => super::avx2::bf16_tile,
            _ => portable::bf16_tile,
        };
        Kernel {
            rows: VECTOR_ROWS,
            run,
        }
    }
    fn widening(tier: Tier) -> Option<Widening<Self>> {
        matches!(tier, Tier::Avx2 | Tier::Avx512).then(|| Widening {
            kernel: f32::kernel(tier),
            row: widen_row,
            piece: widen_piece,
            compressed: |tier, piece, wide| piece.unpack_widened(tier, wide),
        })
    }

    fn compressed(cpu: &Cpu, matrix: &Matrix<'_, Self>) -> Result<Option<Compressed>> {
        match Self::compressed_kernel(cpu.tier) {
            Some(_) => Compressed::new(cpu, matrix),
            None => Ok(None),
        }
    }

    fn unpack(tier: Tier, piece: Piece<'_>, numbers: &mut [Self]) {
        piece.unpack(tier, numbers);
    }

    fn compressed_kernel(tier: Tier) -> Option<CompressedKernel<Self>> {
        match tier {
            #[cfg(target_arch = "x86_64")]
            Tier::Avx512 => Some(super::avx512::bf16_widening_compressed_tile),
            #[cfg(target_arch = "x86_64")]
            Tier::Avx512Bf16 => Some(super::avx512::bf16_compressed_tile),
            _ => None,
        }
    }
}

for_each_tier! {
    /// Widens pairs; the odd one comes first, as it does in the sums of bf16.
    fn widen_row(from: &[bf16], to: &mut [f32]) {
        let (from, _) = from.as_chunks::<2>();
        let (to, _) = to.as_chunks_mut::<2>();
        for (to, [even, odd]) in to.iter_mut().zip(from) {
            *to = [Element::to_f32(*odd), Element::to_f32(*even)];
        }
    }

    /// Widens rows of `width` pairs, each to a row of the odd ones and a row of
    /// the even ones.
    pub(super) fn widen_piece(from: &[bf16], width: usize, to: &mut [f32]) {
        for (from, to) in from.chunks_exact(2 * width).zip(to.chunks_exact_mut(2 * width)) {
            let (pairs, _) = from.as_chunks::<2>();
            let (odds, evens) = to.split_at_mut(width);
            for ((odd, even), pair) in odds.iter_mut().zip(evens).zip(pairs) {
                *odd = Element::to_f32(pair[1]);
                *even = Element::to_f32(pair[0]);
            }
        }
    }
}

/// Calls `$tile::<ROWS, VECTORS>` with the tile's sizes as constants.
macro_rules! with_constant_sizes {
    ($tile:ident, $argument:expr) => {
        with_constant_sizes!(@rows $tile, $argument, 1 2 3 4 5 6)
    };
    (@rows $tile:ident, $argument:expr, $($rows:literal)*) => {
        match ($argument.rows, $argument.vectors) {
            $(
                ($rows, 1) => $tile::<$rows, 1>($argument),
                ($rows, 2) => $tile::<$rows, 2>($argument),
                ($rows, 3) => $tile::<$rows, 3>($argument),
                ($rows, 4) => $tile::<$rows, 4>($argument),
            )*
            (rows, vectors) => unreachable!("a tile of {rows} rows and {vectors} vectors"),
        }
    };
}
pub(super) use with_constant_sizes;
