//! Kernels for AVX2 with FMA. A vector of 16 columns is two registers.

#![expect(
    clippy::needless_range_loop,
    reason = "rows, vectors and registers are counted alike, as on paper"
)]

use std::arch::x86_64::*;

use half::bf16;

use super::kernel::{Tile, VECTOR, with_constant_sizes};

/// Columns in one register.
const HALF: usize = VECTOR / 2;

/// # Safety
/// As for [`super::kernel::Kernel`], with AVX2 and FMA.
pub(super) unsafe fn f32_tile(tile: &Tile<f32>) {
    // SAFETY: passed on to the caller.
    unsafe { with_constant_sizes!(f32_rows, tile) }
}

/// # Safety
/// As for [`super::kernel::Kernel`], with AVX2 and FMA.
pub(super) unsafe fn bf16_tile(tile: &Tile<bf16>) {
    // SAFETY: passed on to the caller.
    unsafe { with_constant_sizes!(bf16_rows, tile) }
}

/// # Safety
/// As for [`f32_tile`].
#[target_feature(enable = "avx2,fma")]
unsafe fn f32_rows<const ROWS: usize, const VECTORS: usize>(tile: &Tile<f32>) {
    // SAFETY: the caller's tile is valid for all reads and writes below.
    unsafe {
        for vector in 0..VECTORS {
            let mut sums = [[_mm256_setzero_ps(); 2]; ROWS];
            for k in 0..tile.groups {
                let panel = tile.panel.add((k * VECTORS + vector) * VECTOR);
                let b = [_mm256_loadu_ps(panel), _mm256_loadu_ps(panel.add(HALF))];
                for row in 0..ROWS {
                    let a = _mm256_broadcast_ss(&*tile.a.add(row * tile.a_stride + k));
                    for half in 0..2 {
                        sums[row][half] = _mm256_fmadd_ps(a, b[half], sums[row][half]);
                    }
                }
            }
            store(tile, vector, &sums);
        }
    }
}

/// # Safety
/// As for [`bf16_tile`].
#[target_feature(enable = "avx2,fma")]
unsafe fn bf16_rows<const ROWS: usize, const VECTORS: usize>(tile: &Tile<bf16>) {
    // SAFETY: the caller's tile is valid for all reads and writes below.
    unsafe {
        let upper = _mm256_set1_epi32(0xffff_0000_u32 as i32);
        for vector in 0..VECTORS {
            let mut sums = [[_mm256_setzero_ps(); 2]; ROWS];
            for group in 0..tile.groups {
                let panel = tile.panel.add((group * VECTORS + vector) * 2 * VECTOR);
                for half in 0..2 {
                    let pairs = _mm256_loadu_si256(panel.add(half * VECTOR).cast());
                    let odd = _mm256_castsi256_ps(_mm256_and_si256(pairs, upper));
                    let even = _mm256_castsi256_ps(_mm256_slli_epi32::<16>(pairs));
                    for row in 0..ROWS {
                        let a = tile.a.add(row * tile.a_stride + 2 * group);
                        let pair = a.cast::<u32>().read_unaligned();
                        let a_odd = _mm256_set1_ps(f32::from_bits(pair & 0xffff_0000));
                        let a_even = _mm256_set1_ps(f32::from_bits(pair << 16));
                        let sum = _mm256_fmadd_ps(a_odd, odd, sums[row][half]);
                        sums[row][half] = _mm256_fmadd_ps(a_even, even, sum);
                    }
                }
            }
            store(tile, vector, &sums);
        }
    }
}

/// # Safety
/// As for [`f32_tile`].
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn store<E, const ROWS: usize>(tile: &Tile<E>, vector: usize, sums: &[[__m256; 2]; ROWS]) {
    for (row, sums) in sums.iter().enumerate() {
        for (half, &sum) in sums.iter().enumerate() {
            // SAFETY: the caller's tile is valid for these writes.
            unsafe {
                let c = tile
                    .c
                    .add(row * tile.c_stride + vector * VECTOR + half * HALF);
                let sum = if tile.add {
                    _mm256_add_ps(_mm256_loadu_ps(c), sum)
                } else {
                    sum
                };
                _mm256_storeu_ps(c, sum);
            }
        }
    }
}
