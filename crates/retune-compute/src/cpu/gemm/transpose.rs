//! Transposing matrices of 32-bit words, and pairing rows of 16-bit ones: the
//! two moves that packing is made of.

use crate::Tier;

/// Edge of the square blocks that fit the registers.
const BLOCK: usize = 16;

/// `to[c][r] = from[r][c]` for `r < rows`, `c < columns`; strides in words.
///
/// # Safety
/// `from` and `to` are valid for these accesses and do not overlap; neither
/// need be aligned. The processor can run `tier`.
pub(in crate::cpu) unsafe fn transpose_words(
    tier: Tier,
    (rows, columns): (usize, usize),
    from: *const u32,
    from_stride: usize,
    to: *mut u32,
    to_stride: usize,
) {
    for row in (0..rows).step_by(BLOCK) {
        for column in (0..columns).step_by(BLOCK) {
            let height = BLOCK.min(rows - row);
            let width = BLOCK.min(columns - column);
            // SAFETY: the block lies inside both matrices.
            unsafe {
                let from = from.add(row * from_stride + column);
                let to = to.add(column * to_stride + row);
                #[cfg(target_arch = "x86_64")]
                if tier >= Tier::Avx512 && height == BLOCK && width == BLOCK {
                    transpose_block(from, from_stride, to, to_stride);
                    continue;
                }
                for c in 0..width {
                    for r in 0..height {
                        let word = from.add(r * from_stride + c).read_unaligned();
                        to.add(c * to_stride + r).write_unaligned(word);
                    }
                }
            }
        }
    }
    let _ = tier;
}

/// `to[c][r] = from[r][c]` for matrices of f32.
pub(in crate::cpu) fn transpose_floats(
    tier: Tier,
    (rows, columns): (usize, usize),
    from: &[f32],
    from_stride: usize,
    to: &mut [f32],
    to_stride: usize,
) {
    if rows == 0 || columns == 0 {
        return;
    }
    assert!((rows - 1) * from_stride + columns <= from.len());
    assert!((columns - 1) * to_stride + rows <= to.len());
    // SAFETY: both matrices have room, as just checked.
    unsafe {
        let (from, to) = (from.as_ptr().cast(), to.as_mut_ptr().cast());
        transpose_words(tier, (rows, columns), from, from_stride, to, to_stride);
    }
}

/// One block of 16 × 16 words.
///
/// # Safety
/// The processor has AVX-512; both blocks are valid.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn transpose_block(from: *const u32, from_stride: usize, to: *mut u32, to_stride: usize) {
    use std::arch::x86_64::*;
    let mut x = [_mm512_setzero_si512(); BLOCK];
    let mut y = [_mm512_setzero_si512(); BLOCK];
    for (row, x) in x.iter_mut().enumerate() {
        // SAFETY: the caller's block is valid.
        *x = unsafe { _mm512_loadu_si512(from.add(row * from_stride).cast()) };
    }
    // Words of neighbouring rows, then pairs, then quarters of registers.
    for i in 0..8 {
        y[2 * i] = _mm512_unpacklo_epi32(x[2 * i], x[2 * i + 1]);
        y[2 * i + 1] = _mm512_unpackhi_epi32(x[2 * i], x[2 * i + 1]);
    }
    for i in 0..4 {
        x[4 * i] = _mm512_unpacklo_epi64(y[4 * i], y[4 * i + 2]);
        x[4 * i + 1] = _mm512_unpackhi_epi64(y[4 * i], y[4 * i + 2]);
        x[4 * i + 2] = _mm512_unpacklo_epi64(y[4 * i + 1], y[4 * i + 3]);
        x[4 * i + 3] = _mm512_unpackhi_epi64(y[4 * i + 1], y[4 * i + 3]);
    }
    for i in 0..4 {
        y[i] = _mm512_shuffle_i32x4::<0x88>(x[i], x[i + 4]);
        y[i + 4] = _mm512_shuffle_i32x4::<0xdd>(x[i], x[i + 4]);
        y[i + 8] = _mm512_shuffle_i32x4::<0x88>(x[i + 8], x[i + 12]);
        y[i + 12] = _mm512_shuffle_i32x4::<0xdd>(x[i + 8], x[i + 12]);
    }
    for i in 0..4 {
        let columns = [
            (i, _mm512_shuffle_i32x4::<0x88>(y[i], y[i + 8])),
            (i + 4, _mm512_shuffle_i32x4::<0x88>(y[i + 4], y[i + 12])),
            (i + 8, _mm512_shuffle_i32x4::<0xdd>(y[i], y[i + 8])),
            (i + 12, _mm512_shuffle_i32x4::<0xdd>(y[i + 4], y[i + 12])),
        ];
        for (column, values) in columns {
            // SAFETY: the caller's block is valid.
            unsafe { _mm512_storeu_si512(to.add(column * to_stride).cast(), values) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_lands_in_its_place() {
        for tier in Tier::available() {
            for (rows, columns) in [(1, 1), (16, 16), (5, 40), (33, 17), (48, 64)] {
                let from: Vec<u32> = (0..rows * (columns + 3)).map(|i| i as u32).collect();
                let mut to = vec![u32::MAX; columns * (rows + 2)];
                // SAFETY: both matrices have room for their strides.
                unsafe {
                    let (from, to) = (from.as_ptr(), to.as_mut_ptr());
                    transpose_words(tier, (rows, columns), from, columns + 3, to, rows + 2);
                }
                for r in 0..rows {
                    for c in 0..columns {
                        assert_eq!(to[c * (rows + 2) + r], from[r * (columns + 3) + c]);
                    }
                }
                assert!((0..columns).all(|c| to[c * (rows + 2) + rows] == u32::MAX));
            }
        }
    }
}
