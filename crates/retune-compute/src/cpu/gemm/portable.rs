//! Kernels in plain Rust.

use half::bf16;

use super::kernel::{Tile, VECTOR, with_constant_sizes};
use crate::cpu::simd::{PORTABLE_IS_FUSED, multiply_add};
use crate::dtype::Element;

/// # Safety
/// As for [`super::kernel::Kernel`].
pub(super) unsafe fn f32_tile(tile: &Tile<f32>) {
    // SAFETY: passed on to the caller.
    unsafe { with_constant_sizes!(f32_rows, tile) }
}

/// # Safety
/// As for [`super::kernel::Kernel`].
pub(super) unsafe fn bf16_tile(tile: &Tile<bf16>) {
    // SAFETY: passed on to the caller.
    unsafe { with_constant_sizes!(bf16_rows, tile) }
}

unsafe fn f32_rows<const ROWS: usize, const VECTORS: usize>(tile: &Tile<f32>) {
    for vector in 0..VECTORS {
        let mut sums = [[0.0f32; VECTOR]; ROWS];
        for k in 0..tile.groups {
            // SAFETY: the caller's tile is valid for these reads.
            let b = unsafe {
                &*tile
                    .panel
                    .add((k * VECTORS + vector) * VECTOR)
                    .cast::<[f32; VECTOR]>()
            };
            for (row, sums) in sums.iter_mut().enumerate() {
                // SAFETY: as above.
                let a = unsafe { *tile.a.add(row * tile.a_stride + k) };
                for (sum, b) in sums.iter_mut().zip(b) {
                    *sum = multiply_add::<PORTABLE_IS_FUSED>(a, *b, *sum);
                }
            }
        }
        // SAFETY: passed on to the caller.
        unsafe { store(tile, vector, &sums) }
    }
}

unsafe fn bf16_rows<const ROWS: usize, const VECTORS: usize>(tile: &Tile<bf16>) {
    for vector in 0..VECTORS {
        let mut sums = [[0.0f32; VECTOR]; ROWS];
        for group in 0..tile.groups {
            // SAFETY: the caller's tile is valid for these reads.
            let b = unsafe {
                &*tile
                    .panel
                    .add((group * VECTORS + vector) * 2 * VECTOR)
                    .cast::<[[bf16; 2]; VECTOR]>()
            };
            for (row, sums) in sums.iter_mut().enumerate() {
                // SAFETY: as above; the alignment of `bf16` is all that is asked.
                let [even, odd] = unsafe {
                    *tile
                        .a
                        .add(row * tile.a_stride + 2 * group)
                        .cast::<[bf16; 2]>()
                };
                for (sum, b) in sums.iter_mut().zip(b) {
                    // A product of two bf16 is exact in f32, so this equals a
                    // fused multiply-add. The odd one is first, as in `vdpbf16ps`.
                    *sum += odd.to_f32() * Element::to_f32(b[1]);
                    *sum += even.to_f32() * Element::to_f32(b[0]);
                }
            }
        }
        // SAFETY: passed on to the caller.
        unsafe { store(tile, vector, &sums) }
    }
}

/// # Safety
/// As for [`super::kernel::Kernel`].
unsafe fn store<E, const ROWS: usize>(tile: &Tile<E>, vector: usize, sums: &[[f32; VECTOR]; ROWS]) {
    for (row, sums) in sums.iter().enumerate() {
        // SAFETY: the caller's tile is valid for these writes, and nothing
        // else touches them.
        let c = unsafe {
            &mut *tile
                .c
                .add(row * tile.c_stride + vector * VECTOR)
                .cast::<[f32; VECTOR]>()
        };
        for (c, sum) in c.iter_mut().zip(sums) {
            *c = if tile.add { *c + sum } else { *sum };
        }
    }
}
