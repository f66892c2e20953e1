//! The kernel for AMX-BF16: products of tiles of 16 rows.
//!
//! A tile register holds 16 rows of 64 bytes. Rows of A are read as they are,
//! 32 values each; 16 columns of a panel are read as 16 rows of pairs, which
//! is the form that panels have anyway. One instruction adds up all 32 steps
//! of the sum. Compilers have no stable functions for it, so this is assembly.

use std::arch::asm;

use half::bf16;

use super::kernel::{Tile, VECTOR};

/// Rows of A that the kernel works on at a time: two tiles, so that each tile
/// of B is used twice.
pub(super) const ROWS: usize = 2 * TILE_ROWS;
const TILE_ROWS: usize = 16;
/// Pairs of `k` in a tile, and the bytes of a tile's row.
const STEP: usize = 16;
const ROW_BYTES: usize = 64;

/// The form of the eight tile registers, as the processor reads it.
#[repr(C, align(64))]
struct Shapes {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

impl Shapes {
    /// Registers 0 to 3 hold sums, 4 and 5 rows of A, 6 and 7 columns of B.
    /// With one tile of rows, 5 holds columns of B too.
    fn of(rows: usize) -> Self {
        let upper = rows.min(TILE_ROWS) as u8;
        let lower = rows.saturating_sub(TILE_ROWS) as u8;
        let full = TILE_ROWS as u8;
        let heights = match lower {
            0 => [upper, upper, upper, upper, upper, full, full, full],
            _ => [upper, upper, lower, lower, upper, lower, full, full],
        };
        let mut shapes = Self {
            palette: 1,
            start_row: 0,
            reserved: [0; 14],
            row_bytes: [0; 16],
            rows: [0; 16],
        };
        shapes.rows[..8].copy_from_slice(&heights);
        shapes.row_bytes[..8].fill(ROW_BYTES as u16);
        shapes
    }
}

/// Where a block of up to 32 rows and some vectors of columns is; distances
/// between rows are in bytes.
#[derive(Clone, Copy)]
struct Block {
    a: *const bf16,
    a_bytes: usize,
    b: *const bf16,
    b_bytes: usize,
    c: *mut f32,
    c_bytes: usize,
    /// How many times 32 values are summed up; at least 1.
    steps: usize,
    add: bool,
}

/// # Safety
/// As for [`super::kernel::Kernel`], with AMX-BF16 and leave to use it.
pub(super) unsafe fn bf16_tile(tile: &Tile<bf16>) {
    let shapes = Shapes::of(tile.rows);
    // SAFETY: the caller's processor has the instruction, and `shapes` is of its form.
    unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const shapes, options(nostack, readonly)) };
    let steps = tile.groups / STEP;
    let rest = tile.groups % STEP;
    let width = tile.vectors * VECTOR;
    // SAFETY: the caller's tile is valid for all reads and writes of its blocks;
    // `multiply_rest` reads a copy of its own.
    unsafe {
        if steps > 0 {
            let block = Block {
                a: tile.a,
                a_bytes: tile.a_stride * size_of::<bf16>(),
                b: tile.panel,
                b_bytes: 2 * width * size_of::<bf16>(),
                c: tile.c,
                c_bytes: tile.c_stride * size_of::<f32>(),
                steps,
                add: tile.add,
            };
            multiply(block, tile.rows, tile.vectors);
        }
        if rest > 0 || steps == 0 {
            multiply_rest(tile, steps, rest);
        }
        asm!("tilerelease", options(nostack, nomem));
    }
}

/// Adds the last `rest` pairs of the sum, copied and filled up with zeros to a
/// whole step.
///
/// # Safety
/// As for [`bf16_tile`], with the registers shaped for `tile`.
unsafe fn multiply_rest(tile: &Tile<bf16>, steps: usize, rest: usize) {
    #[repr(align(64))]
    struct Aligned<const N: usize>([bf16; N]);
    let mut a = Aligned([bf16::ZERO; ROWS * 2 * STEP]);
    let mut b = Aligned([bf16::ZERO; STEP * 2 * 4 * VECTOR]);
    let width = tile.vectors * VECTOR;
    // SAFETY: rows of A and the panel have `steps * STEP + rest` groups, two
    // values each; `c` is the caller's.
    unsafe {
        let first = steps * 2 * STEP;
        for row in 0..tile.rows {
            let from = tile.a.add(row * tile.a_stride + first);
            let to = &mut a.0[row * 2 * STEP..][..2 * rest];
            to.copy_from_slice(std::slice::from_raw_parts(from, 2 * rest));
        }
        let from = std::slice::from_raw_parts(tile.panel.add(first * width), rest * 2 * width);
        b.0[..from.len()].copy_from_slice(from);
        let block = Block {
            a: a.0.as_ptr(),
            a_bytes: ROW_BYTES,
            b: b.0.as_ptr(),
            b_bytes: 2 * width * size_of::<bf16>(),
            c: tile.c,
            c_bytes: tile.c_stride * size_of::<f32>(),
            steps: 1,
            add: tile.add || steps > 0,
        };
        multiply(block, tile.rows, tile.vectors);
    }
}

/// # Safety
/// The registers are shaped for `rows`; the block's memory is valid for them
/// and `vectors`.
unsafe fn multiply(block: Block, rows: usize, vectors: usize) {
    // SAFETY: passed on to the caller; columns of a block stand side by side.
    unsafe {
        if rows <= TILE_ROWS {
            return match vectors {
                1 => one_by_one(block),
                2 => one_by_two(block),
                3 => one_by_three(block),
                _ => one_by_four(block),
            };
        }
        let right = Block {
            b: block.b.byte_add(2 * ROW_BYTES),
            c: block.c.byte_add(2 * ROW_BYTES),
            ..block
        };
        match vectors {
            1 => two_by_one(block),
            2 => two_by_two(block),
            3 => {
                two_by_two(block);
                two_by_one(right);
            }
            _ => {
                two_by_two(block);
                two_by_two(right);
            }
        }
    }
}

/// Defines a function for a block: which registers its sums and what of C they
/// are, and the loads and products of one step.
macro_rules! block {
    ($name:ident: sums { $($sum:literal at $place:literal),* } step { $($line:literal),* $(,)? }) => {
        /// # Safety
        /// As for [`multiply`].
        unsafe fn $name(block: Block) {
            let Block { a, a_bytes, b, b_bytes, c, c_bytes, steps, add } = block;
            // SAFETY: reads and writes what the caller says is valid, and
            // changes no registers but those that are named.
            unsafe {
                asm!(
                    // One tile of rows has no lower part.
                    "# {c_lower}",
                    "test {add:e}, {add:e}",
                    "jz 2f",
                    $(concat!("tileloadd tmm", $sum, ", [", $place, "]"),)*
                    "jmp 3f",
                    "2:",
                    $(concat!("tilezero tmm", $sum),)*
                    "3:",
                    $($line,)*
                    "add {a}, 64",
                    "add {a_lower}, 64",
                    "add {b}, {b_step}",
                    "dec {steps}",
                    "jnz 3b",
                    $(concat!("tilestored [", $place, "], tmm", $sum),)*
                    a = inout(reg) a => _,
                    a_lower = inout(reg) a.wrapping_byte_add(TILE_ROWS * a_bytes) => _,
                    a_bytes = in(reg) a_bytes,
                    b = inout(reg) b => _,
                    b_bytes = in(reg) b_bytes,
                    b_step = in(reg) b_bytes * STEP,
                    c = in(reg) c,
                    c_lower = in(reg) c.wrapping_byte_add(TILE_ROWS * c_bytes),
                    c_bytes = in(reg) c_bytes,
                    steps = inout(reg) steps => _,
                    add = in(reg) u32::from(add),
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(nostack),
                );
            }
        }
    };
}

block!(two_by_two:
    sums {
        0 at "{c} + {c_bytes}", 1 at "{c} + {c_bytes} + 64",
        2 at "{c_lower} + {c_bytes}", 3 at "{c_lower} + {c_bytes} + 64"
    }
    step {
        "tileloadd tmm6, [{b} + {b_bytes}]",
        "tileloadd tmm4, [{a} + {a_bytes}]",
        "tileloadd tmm5, [{a_lower} + {a_bytes}]",
        "tdpbf16ps tmm0, tmm4, tmm6",
        "tileloadd tmm7, [{b} + {b_bytes} + 64]",
        "tdpbf16ps tmm2, tmm5, tmm6",
        "tdpbf16ps tmm1, tmm4, tmm7",
        "tdpbf16ps tmm3, tmm5, tmm7",
    }
);
block!(two_by_one:
    sums { 0 at "{c} + {c_bytes}", 2 at "{c_lower} + {c_bytes}" }
    step {
        "tileloadd tmm6, [{b} + {b_bytes}]",
        "tileloadd tmm4, [{a} + {a_bytes}]",
        "tileloadd tmm5, [{a_lower} + {a_bytes}]",
        "tdpbf16ps tmm0, tmm4, tmm6",
        "tdpbf16ps tmm2, tmm5, tmm6",
    }
);
block!(one_by_four:
    sums {
        0 at "{c} + {c_bytes}", 1 at "{c} + {c_bytes} + 64",
        2 at "{c} + {c_bytes} + 128", 3 at "{c} + {c_bytes} + 192"
    }
    step {
        "tileloadd tmm4, [{a} + {a_bytes}]",
        "tileloadd tmm5, [{b} + {b_bytes}]",
        "tdpbf16ps tmm0, tmm4, tmm5",
        "tileloadd tmm6, [{b} + {b_bytes} + 64]",
        "tdpbf16ps tmm1, tmm4, tmm6",
        "tileloadd tmm7, [{b} + {b_bytes} + 128]",
        "tdpbf16ps tmm2, tmm4, tmm7",
        "tileloadd tmm5, [{b} + {b_bytes} + 192]",
        "tdpbf16ps tmm3, tmm4, tmm5",
    }
);
block!(one_by_three:
    sums {
        0 at "{c} + {c_bytes}", 1 at "{c} + {c_bytes} + 64",
        2 at "{c} + {c_bytes} + 128"
    }
    step {
        "tileloadd tmm4, [{a} + {a_bytes}]",
        "tileloadd tmm5, [{b} + {b_bytes}]",
        "tdpbf16ps tmm0, tmm4, tmm5",
        "tileloadd tmm6, [{b} + {b_bytes} + 64]",
        "tdpbf16ps tmm1, tmm4, tmm6",
        "tileloadd tmm7, [{b} + {b_bytes} + 128]",
        "tdpbf16ps tmm2, tmm4, tmm7",
    }
);
block!(one_by_two:
    sums { 0 at "{c} + {c_bytes}", 1 at "{c} + {c_bytes} + 64" }
    step {
        "tileloadd tmm4, [{a} + {a_bytes}]",
        "tileloadd tmm5, [{b} + {b_bytes}]",
        "tdpbf16ps tmm0, tmm4, tmm5",
        "tileloadd tmm6, [{b} + {b_bytes} + 64]",
        "tdpbf16ps tmm1, tmm4, tmm6",
    }
);
block!(one_by_one:
    sums { 0 at "{c} + {c_bytes}" }
    step {
        "tileloadd tmm4, [{a} + {a_bytes}]",
        "tileloadd tmm5, [{b} + {b_bytes}]",
        "tdpbf16ps tmm0, tmm4, tmm5",
    }
);

/// Runs `loops` loops of independent products that read no memory; returns the
/// operations that one takes.
///
/// # Safety
/// As for [`bf16_tile`].
pub(crate) unsafe fn products_in_amx_registers(loops: u64) -> u64 {
    let shapes = Shapes::of(ROWS);
    // SAFETY: the caller's processor has the instructions; a counter and tile
    // registers are all that changes.
    unsafe {
        asm!(
            "ldtilecfg [{shapes}]",
            "test {loops}, {loops}",
            "jz 3f",
            "2:",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "dec {loops}",
            "jnz 2b",
            "3:",
            "tilerelease",
            shapes = in(reg) &raw const shapes,
            loops = inout(reg) loops => _,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack, readonly),
        );
    }
    (4 * 2 * TILE_ROWS * VECTOR * 2 * STEP) as u64
}
