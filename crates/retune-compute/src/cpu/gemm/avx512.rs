//! Kernels for AVX-512, with and without AVX512-BF16.

#![expect(
    clippy::needless_range_loop,
    reason = "rows, vectors and registers are counted alike, as on paper"
)]

use std::arch::x86_64::*;

use half::bf16;

use super::compressed::{GROUP_BYTES, NUMBERS, Piece};
#[cfg(doc)]
use super::kernel::CompressedKernel;
use super::kernel::{Ahead, Tile, VECTOR, with_constant_sizes};

/// How far before it is read a line is asked for, in bytes.
const FAR: usize = 3072;

/// Calls `$tile::<ROWS>` with the tile's rows as a constant.
macro_rules! compressed_by_rows {
    ($tile:ident, $argument:expr, $piece:expr) => {
        match $argument.rows {
            1 => $tile::<1>($argument, $piece),
            2 => $tile::<2>($argument, $piece),
            3 => $tile::<3>($argument, $piece),
            4 => $tile::<4>($argument, $piece),
            5 => $tile::<5>($argument, $piece),
            6 => $tile::<6>($argument, $piece),
            rows => unreachable!("a tile of {rows} rows"),
        }
    };
}

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
            prefetch_own::<VECTORS>(tile.ahead, panel.cast());
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
        let mut sums = [[_mm512_setzero_ps(); VECTORS]; ROWS];
        for group in 0..tile.groups {
            let panel = tile.panel.add(group * VECTORS * 2 * VECTOR);
            prefetch_own::<VECTORS>(tile.ahead, panel.cast());
            // Vector by vector, as there are registers for no more.
            for vector in 0..VECTORS {
                let pairs = _mm512_loadu_si512(panel.add(vector * 2 * VECTOR).cast());
                for row in 0..ROWS {
                    let a = pair(tile, row, group);
                    let sum = _mm512_fmadd_ps(odd(a), odd(pairs), sums[row][vector]);
                    sums[row][vector] = _mm512_fmadd_ps(even(a), even(pairs), sum);
                }
            }
        }
        store(tile, &sums);
    }
}

/// # Safety
/// As for [`CompressedKernel`], with AVX512-BF16.
pub(super) unsafe fn bf16_compressed_tile(tile: &Tile<bf16>, piece: Piece<'_>) {
    // SAFETY: passed on to the caller.
    unsafe { compressed_by_rows!(bf16_compressed_rows, tile, piece) }
}

/// # Safety
/// As for [`CompressedKernel`], with AVX-512.
pub(super) unsafe fn bf16_widening_compressed_tile(tile: &Tile<bf16>, piece: Piece<'_>) {
    // SAFETY: passed on to the caller.
    unsafe { compressed_by_rows!(bf16_widening_compressed_rows, tile, piece) }
}

/// Defines a kernel for compressed panels from what it does with a group: four registers
/// of pairs.
macro_rules! compressed_rows {
    ($(#[$attribute:meta])* $name:ident, $features:literal, $multiply:ident) => {
        $(#[$attribute])*
        #[target_feature(enable = $features)]
        unsafe fn $name<const ROWS: usize>(tile: &Tile<bf16>, piece: Piece<'_>) {
            // SAFETY: the caller's tile is valid for all reads and writes below, and an
            // exception has the numbers of a group.
            unsafe {
                let table = table(piece.table);
                let bytes = piece.bytes.as_ptr();
                let mut sums = [[_mm512_setzero_ps(); 4]; ROWS];
                let (mut group, mut index) = (0, 0);
                loop {
                    let exception = piece.exception(index);
                    let end = exception.map_or(tile.groups, |(group, _)| group);
                    while group < end {
                        let bytes = bytes.add(group * GROUP_BYTES);
                        prefetch_own::<{ GROUP_BYTES / 64 }>(tile.ahead, bytes);
                        let pairs = pairs(bytes, table);
                        $multiply(tile, group, &pairs, &mut sums);
                        group += 1;
                    }
                    let Some((_, numbers)) = exception else {
                        break;
                    };
                    let numbers: *const bf16 = numbers.as_ptr();
                    let pairs = std::array::from_fn(|vector| {
                        _mm512_loadu_si512(numbers.add(vector * 2 * VECTOR).cast())
                    });
                    $multiply(tile, group, &pairs, &mut sums);
                    (group, index) = (group + 1, index + 1);
                }
                store(tile, &sums);
            }
        }
    };
}

compressed_rows! {
    /// # Safety
    /// As for [`bf16_compressed_tile`].
    bf16_compressed_rows, "avx512f,avx512bw,avx512bf16", multiply_pairs
}

compressed_rows! {
    /// # Safety
    /// As for [`bf16_widening_compressed_tile`].
    bf16_widening_compressed_rows, "avx512f,avx512bw", multiply_widened
}

/// # Safety
/// As for [`bf16_compressed_tile`]; `group` is one of the tile's.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn multiply_pairs<const ROWS: usize>(
    tile: &Tile<bf16>,
    group: usize,
    pairs: &[__m512i; 4],
    sums: &mut [[__m512; 4]; ROWS],
) {
    for row in 0..ROWS {
        // SAFETY: the caller's tile is valid for this read; any 512 bits are a `__m512bh`.
        unsafe {
            let a = tile.a.add(row * tile.a_stride + 2 * group);
            let a = _mm512_set1_epi32(a.cast::<i32>().read_unaligned());
            let a = std::mem::transmute::<__m512i, __m512bh>(a);
            for vector in 0..4 {
                let b = std::mem::transmute::<__m512i, __m512bh>(pairs[vector]);
                sums[row][vector] = _mm512_dpbf16_ps(sums[row][vector], a, b);
            }
        }
    }
}

/// # Safety
/// As for [`bf16_widening_compressed_tile`]; `group` is one of the tile's.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn multiply_widened<const ROWS: usize>(
    tile: &Tile<bf16>,
    group: usize,
    pairs: &[__m512i; 4],
    sums: &mut [[__m512; 4]; ROWS],
) {
    for row in 0..ROWS {
        // SAFETY: passed on to the caller.
        let a = unsafe { pair(tile, row, group) };
        for vector in 0..4 {
            let sum = _mm512_fmadd_ps(odd(a), odd(pairs[vector]), sums[row][vector]);
            sums[row][vector] = _mm512_fmadd_ps(even(a), even(pairs[vector]), sum);
        }
    }
}

/// A row's pair of a group, in each place of a register.
///
/// # Safety
/// As for [`bf16_widening_tile`]; `row` and `group` are some of the tile's.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn pair(tile: &Tile<bf16>, row: usize, group: usize) -> __m512i {
    // SAFETY: the caller's tile is valid for this read.
    unsafe {
        let a = tile.a.add(row * tile.a_stride + 2 * group);
        _mm512_set1_epi32(a.cast::<i32>().read_unaligned())
    }
}

/// The second ones of pairs, widened.
#[inline]
#[target_feature(enable = "avx512f")]
fn odd(pairs: __m512i) -> __m512 {
    let upper = _mm512_set1_epi32(0xffff_0000_u32 as i32);
    _mm512_castsi512_ps(_mm512_and_si512(pairs, upper))
}

/// The first ones of pairs, widened.
#[inline]
#[target_feature(enable = "avx512f")]
fn even(pairs: __m512i) -> __m512 {
    _mm512_castsi512_ps(_mm512_slli_epi32::<16>(pairs))
}

/// A table for each quarter of a register.
#[inline]
#[target_feature(enable = "avx512f")]
fn table(table: &[u8; 16]) -> __m512i {
    // SAFETY: sixteen bytes are read; the instruction asks for no alignment.
    _mm512_broadcast_i32x4(unsafe { _mm_loadu_si128(table.as_ptr().cast()) })
}

/// The numbers of a compressed group.
///
/// # Safety
/// `bytes` is valid for reading [`GROUP_BYTES`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn pairs(bytes: *const u8, table: __m512i) -> [__m512i; 4] {
    let code = _mm512_set1_epi8(0x0f);
    // SAFETY: passed on to the caller.
    let [first, second, codes] =
        unsafe { [0, 64, 128].map(|at| _mm512_loadu_si512(bytes.add(at).cast())) };
    let upper = |codes| _mm512_shuffle_epi8(table, _mm512_and_si512(codes, code));
    let first_upper = upper(codes);
    let second_upper = upper(_mm512_srli_epi16::<4>(codes));
    [
        _mm512_unpacklo_epi8(first, first_upper),
        _mm512_unpackhi_epi8(first, first_upper),
        _mm512_unpacklo_epi8(second, second_upper),
        _mm512_unpackhi_epi8(second, second_upper),
    ]
}

/// Compresses a group: [`pairs`] backwards. False if `codes` lacks an upper byte.
///
/// # Safety
/// The processor has AVX-512.
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) unsafe fn compress(
    numbers: &[bf16; NUMBERS],
    codes: &[u8; 16],
    target: &mut [u8; GROUP_BYTES],
) -> bool {
    let lower_byte = _mm512_set1_epi16(0x00ff);
    let mut found = [0_u64; 2];
    let mut all = [_mm512_setzero_si512(); 2];
    // SAFETY: a group has four registers of numbers, and a target three of bytes.
    unsafe {
        let numbers: *const bf16 = numbers.as_ptr();
        let target = target.as_mut_ptr();
        for half in 0..2 {
            let [first, second] = [0, 1].map(|register| {
                let at = (2 * half + register) * 2 * VECTOR;
                _mm512_loadu_si512(numbers.add(at).cast())
            });
            let lower = [first, second].map(|pairs| _mm512_and_si512(pairs, lower_byte));
            let upper = [first, second].map(|pairs| _mm512_srli_epi16::<8>(pairs));
            let upper = _mm512_packus_epi16(upper[0], upper[1]);
            for (code, &byte) in (0..).zip(codes) {
                let same = _mm512_cmpeq_epi8_mask(upper, _mm512_set1_epi8(byte as i8));
                all[half] = _mm512_mask_mov_epi8(all[half], same, _mm512_set1_epi8(code));
                found[half] |= same;
            }
            let lower = _mm512_packus_epi16(lower[0], lower[1]);
            _mm512_storeu_si512(target.add(64 * half).cast(), lower);
        }
        let codes = _mm512_or_si512(all[0], _mm512_slli_epi16::<4>(all[1]));
        _mm512_storeu_si512(target.add(128).cast(), codes);
    }
    found == [u64::MAX; 2]
}

/// The numbers of compressed groups.
///
/// # Safety
/// The processor has AVX-512.
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) unsafe fn unpack(
    groups: &[[u8; GROUP_BYTES]],
    codes: &[u8; 16],
    targets: &mut [[bf16; NUMBERS]],
) {
    let table = table(codes);
    for (bytes, target) in groups.iter().zip(targets) {
        // SAFETY: a group has its bytes, and a target room for four registers.
        unsafe {
            let target = target.as_mut_ptr();
            for (vector, pairs) in pairs(bytes.as_ptr(), table).into_iter().enumerate() {
                _mm512_storeu_si512(target.add(vector * 2 * VECTOR).cast(), pairs);
            }
        }
    }
}

/// The numbers of compressed groups, widened: the odd ones of a group's pairs, then the
/// even ones.
///
/// # Safety
/// The processor has AVX-512.
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) unsafe fn unpack_widened(
    groups: &[[u8; GROUP_BYTES]],
    codes: &[u8; 16],
    targets: &mut [[f32; NUMBERS]],
) {
    let table = table(codes);
    for (bytes, target) in groups.iter().zip(targets) {
        // SAFETY: a group has its bytes, and a target room for eight registers.
        unsafe {
            let target = target.as_mut_ptr();
            for (vector, pairs) in pairs(bytes.as_ptr(), table).into_iter().enumerate() {
                let target = target.add(vector * VECTOR);
                _mm512_storeu_ps(target, odd(pairs));
                _mm512_storeu_ps(target.add(NUMBERS / 2), even(pairs));
            }
        }
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

/// Asks for the lines that lie [`FAR`] bytes behind `at`, if they are wanted.
#[inline]
#[target_feature(enable = "avx512f")]
fn prefetch_own<const LINES: usize>(ahead: Ahead, at: *const u8) {
    if ahead.own {
        for line in 0..LINES {
            let line = at.wrapping_add(FAR + 64 * line);
            #[allow(unused_unsafe, reason = "newer compilers take it for safe")]
            // SAFETY: a hint without effect on memory.
            unsafe {
                _mm_prefetch::<_MM_HINT_T0>(line.cast())
            };
        }
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
