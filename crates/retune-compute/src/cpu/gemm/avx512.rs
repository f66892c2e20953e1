//! Kernels for AVX-512, with and without AVX512-BF16.

#![expect(
    clippy::needless_range_loop,
    reason = "rows, vectors and registers are counted alike, as on paper"
)]

use std::arch::x86_64::*;

use half::bf16;

use super::kernel::{Tile, VECTOR, with_constant_sizes};

/// # Safety
/// As for [`super::kernel::Kernel`], with AVX-512.
pub(super) unsafe fn f32_tile(tile: &Tile<f32>) {
    // SAFETY: passed on to the caller.
    unsafe { with_constant_sizes!(f32_rows, tile) }
}

/// # Safety
/// As for [`super::kernel::Kernel`], with AVX512-BF16.
pub(super) unsafe fn bf16_tile(tile: &Tile<bf16>) {
    // SAFETY: passed on to the caller.
    unsafe { with_constant_sizes!(bf16_rows, tile) }
}

/// # Safety
/// As for [`super::kernel::Kernel`], with AVX-512.
pub(super) unsafe fn bf16_widening_tile(tile: &Tile<bf16>) {
    // SAFETY: passed on to the caller.
    unsafe { with_constant_sizes!(bf16_widening_rows, tile) }
}

/// # Safety
/// As for [`f32_tile`].
#[target_feature(enable = "avx512f")]
unsafe fn f32_rows<const ROWS: usize, const VECTORS: usize>(tile: &Tile<f32>) {
    // SAFETY: the caller's tile is valid for all reads and writes below.
    unsafe {
        let mut sums = [[_mm512_setzero_ps(); VECTORS]; ROWS];
        for k in 0..tile.groups {
            let panel = tile.panel.add(k * VECTORS * VECTOR);
            prefetch(tile, k);
            let mut b = [_mm512_setzero_ps(); VECTORS];
            for (vector, b) in b.iter_mut().enumerate() {
                *b = _mm512_loadu_ps(panel.add(vector * VECTOR));
            }
            for row in 0..ROWS {
                let a = _mm512_set1_ps(*tile.a.add(row * tile.a_stride + k));
                for vector in 0..VECTORS {
                    sums[row][vector] = _mm512_fmadd_ps(a, b[vector], sums[row][vector]);
                }
            }
        }
        store(tile, &sums);
    }
}

/// # Safety
/// As for [`bf16_tile`].
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn bf16_rows<const ROWS: usize, const VECTORS: usize>(tile: &Tile<bf16>) {
    // SAFETY: the caller's tile is valid for all reads and writes below.
    // Any 512 bits are a `__m512bh`.
    unsafe {
        let mut sums = [[_mm512_setzero_ps(); VECTORS]; ROWS];
        for group in 0..tile.groups {
            let panel = tile.panel.add(group * VECTORS * 2 * VECTOR);
            prefetch(tile, group);
            let mut b = [_mm512_setzero_si512(); VECTORS];
            for (vector, b) in b.iter_mut().enumerate() {
                *b = _mm512_loadu_si512(panel.add(vector * 2 * VECTOR).cast());
            }
            for row in 0..ROWS {
                let a = tile.a.add(row * tile.a_stride + 2 * group);
                let a = _mm512_set1_epi32(a.cast::<i32>().read_unaligned());
                let a = std::mem::transmute::<__m512i, __m512bh>(a);
                for vector in 0..VECTORS {
                    let b = std::mem::transmute::<__m512i, __m512bh>(b[vector]);
                    sums[row][vector] = _mm512_dpbf16_ps(sums[row][vector], a, b);
                }
            }
        }
        store(tile, &sums);
    }
}

/// # Safety
/// As for [`bf16_widening_tile`].
#[target_feature(enable = "avx512f")]
unsafe fn bf16_widening_rows<const ROWS: usize, const VECTORS: usize>(tile: &Tile<bf16>) {
    // SAFETY: the caller's tile is valid for all reads and writes below.
    unsafe {
        let upper = _mm512_set1_epi32(0xffff_0000_u32 as i32);
        let mut sums = [[_mm512_setzero_ps(); VECTORS]; ROWS];
        for group in 0..tile.groups {
            let panel = tile.panel.add(group * VECTORS * 2 * VECTOR);
            for vector in 0..VECTORS {
                let pairs = _mm512_loadu_si512(panel.add(vector * 2 * VECTOR).cast());
                let odd = _mm512_castsi512_ps(_mm512_and_si512(pairs, upper));
                let even = _mm512_castsi512_ps(_mm512_slli_epi32::<16>(pairs));
                for row in 0..ROWS {
                    let a = tile.a.add(row * tile.a_stride + 2 * group);
                    let pair = a.cast::<u32>().read_unaligned();
                    let a_odd = _mm512_set1_ps(f32::from_bits(pair & 0xffff_0000));
                    let a_even = _mm512_set1_ps(f32::from_bits(pair << 16));
                    let sum = _mm512_fmadd_ps(a_odd, odd, sums[row][vector]);
                    sums[row][vector] = _mm512_fmadd_ps(a_even, even, sum);
                }
            }
        }
        store(tile, &sums);
    }
}

/// Asks for one line of the memory that will be read next. Prefetching never
/// faults, wherever it points.
#[inline]
#[target_feature(enable = "avx512f")]
fn prefetch<E>(tile: &Tile<E>, group: usize) {
    if !tile.ahead.from.is_null() {
        let line = tile.ahead.from.wrapping_add(group * tile.ahead.step);
        #[allow(unused_unsafe, reason = "newer compilers take it for safe")]
        // SAFETY: a hint without effect on memory.
        unsafe {
            _mm_prefetch::<_MM_HINT_T1>(line.cast())
        };
    }
}

/// # Safety
/// As for [`f32_tile`].
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn store<E, const ROWS: usize, const VECTORS: usize>(
    tile: &Tile<E>,
    sums: &[[__m512; VECTORS]; ROWS],
) {
    for (row, sums) in sums.iter().enumerate() {
        for (vector, &sum) in sums.iter().enumerate() {
            // SAFETY: the caller's tile is valid for these writes.
            unsafe {
                let c = tile.c.add(row * tile.c_stride + vector * VECTOR);
                let sum = if tile.add {
                    _mm512_add_ps(_mm512_loadu_ps(c), sum)
                } else {
                    sum
                };
                _mm512_storeu_ps(c, sum);
            }
        }
    }
}
