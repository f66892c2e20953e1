//! Kernel calls: some rows times a piece of a panel.

use super::compressed::Piece;
use super::kernel::{
    Ahead, COMPRESSED_ROWS, CompressedKernel, Factor, Kernel, PANEL, Tile, VECTOR,
};

/// Some rows of a first factor, and the part of the sums that is wanted of them.
#[derive(Clone, Copy)]
pub(in crate::cpu) struct FewRows<'a, E> {
    /// From the first row's first wanted number on.
    pub(in crate::cpu) data: &'a [E],
    /// Numbers from a row to the next.
    pub(in crate::cpu) stride: usize,
    pub(in crate::cpu) rows: usize,
    /// Groups of `E::GROUP` numbers that are summed over.
    pub(in crate::cpu) groups: usize,
}

impl<E: Factor> FewRows<'_, E> {
    /// `sums[row] (+)= Σ rows[row] · piece`, for as many rows as a kernel takes; adds if the
    /// first of `how` says so. `sums` has rows of the piece's width.
    pub(super) fn times(
        self,
        kernel: Kernel<E>,
        piece: &[E],
        sums: &mut [f32],
        how: (bool, Ahead),
    ) {
        let tile = self.tile(kernel.rows, sums, how);
        assert!(self.groups * E::GROUP * tile.c_stride <= piece.len());
        let panel = piece.as_ptr();
        // SAFETY: a device gets only tiers that its processor can run; all three
        // operands are long enough, as just checked.
        unsafe { (kernel.run)(&Tile { panel, ..tile }) };
    }

    /// The same with a compressed piece.
    pub(super) fn times_compressed(
        self,
        kernel: CompressedKernel<E>,
        piece: Piece<'_>,
        sums: &mut [f32],
        how: (bool, Ahead),
    ) {
        let tile = self.tile(COMPRESSED_ROWS, sums, how);
        assert!(tile.c_stride == PANEL && self.groups == piece.groups());
        // SAFETY: as above; the tile is as wide as a full panel and has the piece's groups.
        unsafe { kernel(&tile, piece) };
    }

    /// The same for any number of rows, by one thread that has all of it in its caches.
    pub(in crate::cpu) fn times_in_tiles(
        self,
        kernel: Kernel<E>,
        panel: &[E],
        width: usize,
        sums: &mut [f32],
        add: bool,
    ) {
        let tiles = self.rows.div_ceil(kernel.rows);
        for tile in 0..tiles {
            let (first, end) = (tile * self.rows / tiles, (tile + 1) * self.rows / tiles);
            let rows = FewRows {
                data: &self.data[first * self.stride..],
                rows: end - first,
                ..self
            };
            let sums = &mut sums[first * width..end * width];
            rows.times(kernel, panel, sums, (add, Ahead::NONE));
        }
    }

    /// A tile of at most `most` rows, as yet without its panel.
    fn tile(&self, most: usize, sums: &mut [f32], (add, ahead): (bool, Ahead)) -> Tile<E> {
        assert!((1..=most).contains(&self.rows));
        let width = sums.len() / self.rows;
        assert!(width.is_multiple_of(VECTOR) && (VECTOR..=PANEL).contains(&width));
        assert!((self.rows - 1) * self.stride + self.groups * E::GROUP <= self.data.len());
        Tile {
            rows: self.rows,
            vectors: width / VECTOR,
            groups: self.groups,
            a: self.data.as_ptr(),
            a_stride: self.stride,
            panel: std::ptr::null(),
            c: sums.as_mut_ptr(),
            c_stride: width,
            add,
            ahead,
        }
    }
}
