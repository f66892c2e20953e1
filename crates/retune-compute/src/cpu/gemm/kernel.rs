//! The register-tile kernels: everything else in this folder feeds them.
//!
//! A kernel multiplies some rows of A with one panel of B that
//! is up to four vectors of 16 columns wide. In a panel, the values that one
//! step of the sum needs lie side by side: `[k][column]` in f32, and
//! `[k / 2][column][2]` in bf16, whose instruction takes `k` in pairs.

use half::bf16;

use super::portable;
use crate::Tier;
use crate::dtype::Element;

/// Rows of A that a kernel of vectors works on at a time: 6 × 4 sums, 4 values
/// of B and one of A fill the 32 registers of AVX-512.
const VECTOR_ROWS: usize = 6;
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
    /// Add to `c` instead of overwriting it.
    pub(in crate::cpu) add: bool,
    /// Memory that will be read soon, one cache line per group; null for none.
    pub(in crate::cpu) prefetch: *const E,
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
