//! The packed form of a product's second factor, and how to get there.
//!
//! A `[K, N]` matrix is cut into panels of 64 columns, the last one rounded up
//! to whole vectors with zeros. Inside a panel, `k` runs slowest, in groups:
//! `[group][column][k within the group]`. An odd `k` in bf16 is filled up with
//! zeros, too.

use super::compressed::Compressed;
use super::kernel::{Factor, PANEL, VECTOR};
use super::transpose::transpose_words;
use crate::Tier;
use crate::cpu::scratch;
use crate::cpu::simd::for_each_tier;
use crate::cpu::split::Chunks;
use crate::ops::K_BLOCK;

/// Where panel pieces of a `[K, N]` matrix come from.
#[derive(Clone, Copy)]
pub(in crate::cpu) enum Source<'a, E> {
    /// Panels, ready to use.
    Panels(&'a [E]),
    /// Rows of `n` elements.
    Rows(&'a [E]),
    /// The transposed matrix: `n` rows of `k` elements.
    Columns(&'a [E]),
    /// Panels of the transposed matrix, `[N, K]`.
    PanelsOfTransposed(&'a [E]),
    /// Panels, compressed.
    Compressed(&'a Compressed),
    /// Compressed panels of the transposed matrix, `[N, K]`.
    CompressedOfTransposed(&'a Compressed),
}

/// Elements that the panels of a `[k, n]` matrix take; `usize::MAX` if that is
/// more than can be counted.
pub(in crate::cpu) fn packed_len<E: Factor>(k: usize, n: usize) -> usize {
    let rounded = |size: usize, step| size.checked_next_multiple_of(step).unwrap_or(usize::MAX);
    rounded(k, E::GROUP).saturating_mul(rounded(n, VECTOR))
}

/// Columns of panel `panel` of a matrix with `n` columns: those that exist, and
/// rounded up to vectors.
pub(in crate::cpu) fn panel_width(panel: usize, n: usize) -> (usize, usize) {
    let columns = PANEL.min(n - panel * PANEL);
    (columns, columns.next_multiple_of(VECTOR))
}

/// A `[k, n]` matrix with its source.
#[derive(Clone, Copy)]
pub(in crate::cpu) struct Matrix<'a, E> {
    pub(in crate::cpu) source: Source<'a, E>,
    pub(in crate::cpu) k: usize,
    pub(in crate::cpu) n: usize,
}

impl<E: Factor> Matrix<'_, E> {
    pub(in crate::cpu) fn panels(&self) -> usize {
        self.n.div_ceil(PANEL)
    }

    /// Whether [`Matrix::piece`] has to pack.
    pub(in crate::cpu) fn is_packed(&self) -> bool {
        matches!(self.source, Source::Panels(_))
    }

    /// Where row `k0` of a panel starts among packed panels.
    fn start(&self, panel: usize, k0: usize) -> usize {
        let (_, width) = panel_width(panel, self.n);
        panel * PANEL * self.k.next_multiple_of(E::GROUP) + k0 * width
    }

    /// The memory of the piece that begins with row `k0` of a panel, if it is there and
    /// lies in one stretch: where it starts, and its bytes.
    pub(in crate::cpu) fn read_at(&self, panel: usize, k0: usize) -> Option<(*const u8, usize)> {
        if panel >= self.panels() || k0 >= self.k {
            return None;
        }
        let groups = K_BLOCK.min(self.k - k0).div_ceil(E::GROUP);
        match self.source {
            Source::Panels(packed) => {
                let (_, width) = panel_width(panel, self.n);
                let piece = &packed[self.start(panel, k0)..][..groups * E::GROUP * width];
                Some((piece.as_ptr().cast(), size_of_val(piece)))
            }
            Source::Compressed(compressed) => {
                let first = k0 / E::GROUP;
                let bytes = compressed.piece(panel, (first, first + groups)).bytes;
                Some((bytes.as_ptr(), bytes.len()))
            }
            _ => None,
        }
    }

    /// The rows `k0..k1` of a panel: a slice of the source if that is packed,
    /// else packed into `space`. `k0` is a multiple of the group.
    pub(in crate::cpu) fn piece<'s>(
        &'s self,
        tier: Tier,
        panel: usize,
        (k0, k1): (usize, usize),
        space: &'s mut [E],
    ) -> &'s [E] {
        let (columns, width) = panel_width(panel, self.n);
        let groups = (k1 - k0).div_ceil(E::GROUP);
        let len = groups * width * E::GROUP;
        let first = panel * PANEL;
        let space = match self.source {
            Source::Panels(packed) => {
                let start = self.start(panel, k0);
                return &packed[start..start + len];
            }
            _ => &mut space[..len],
        };
        if len == 0 {
            return space;
        }
        match self.source {
            Source::Panels(_) => {}
            Source::Rows(rows) => {
                let rows = &rows[k0 * self.n + first..];
                pack_rows(tier, rows, self.n, (k1 - k0, columns), width, space);
            }
            Source::Columns(data) => {
                let data = &data[first * self.k + k0..];
                pack_columns(tier, data, self.k, (k1 - k0, columns), width, space);
            }
            Source::Compressed(compressed) => {
                let (from, to) = (k0 / E::GROUP, k0 / E::GROUP + groups);
                E::unpack(tier, compressed.piece(panel, (from, to)), space);
            }
            Source::PanelsOfTransposed(_) | Source::CompressedOfTransposed(_) => {
                let source = match self.source {
                    Source::PanelsOfTransposed(packed) => Source::Panels(packed),
                    Source::CompressedOfTransposed(compressed) => Source::Compressed(compressed),
                    other => other,
                };
                scratch::with((k1 - k0) * PANEL, |rows: &mut [E]| {
                    let transposed = Matrix {
                        source,
                        k: self.n,
                        n: self.k,
                    };
                    transposed.unpack_columns(tier, (k0, k1), (first, first + columns), rows);
                    pack_rows(tier, rows, PANEL, (k1 - k0, columns), width, space);
                })
            }
        }
        space
    }

    /// Writes the columns `n0..n1`, from `k0` to `k1` (both multiples of the
    /// group, or the end), as rows of [`PANEL`] elements. The matrix is packed.
    fn unpack_columns(
        &self,
        tier: Tier,
        (n0, n1): (usize, usize),
        (k0, k1): (usize, usize),
        rows: &mut [E],
    ) {
        let groups = (k1 - k0).div_ceil(E::GROUP);
        let space = if self.is_packed() {
            0
        } else {
            groups * E::GROUP * PANEL
        };
        scratch::with(space, |space: &mut [E]| {
            let mut column = n0;
            while column < n1 {
                let panel = column / PANEL;
                let (columns, width) = panel_width(panel, self.n);
                let skipped = column - panel * PANEL;
                let count = (columns - skipped).min(n1 - column);
                let end = k0 + groups * E::GROUP;
                let piece = self.piece(tier, panel, (k0, end), space);
                assert!(groups * width * E::GROUP <= piece.len());
                let target = &mut rows[(column - n0) * PANEL..][..count * PANEL];
                // SAFETY: `groups` rows of `width` words lie in `piece`, of which
                // `skipped + count` exist; `target` has `count` rows of
                // `PANEL / GROUP ≥ groups` words.
                unsafe {
                    transpose_words(
                        tier,
                        (groups, count),
                        piece.as_ptr().add(skipped * E::GROUP).cast(),
                        width,
                        target.as_mut_ptr().cast(),
                        PANEL / E::GROUP,
                    );
                }
                column += count;
            }
        });
    }

    /// Packs all panels into `target`, one task per panel piece.
    pub(in crate::cpu) fn pack_all(&self, cpu: &crate::cpu::Cpu, target: &mut [E]) {
        if target.is_empty() {
            return;
        }
        let full = PANEL * self.k.next_multiple_of(E::GROUP);
        let target = Chunks::new(target, full);
        cpu.pool.run(self.panels(), |panel| {
            // SAFETY: each task has its own panel.
            let part = unsafe { target.chunk(panel) };
            self.piece(cpu.tier, panel, (0, self.k), part);
        });
    }
}

/// Packs `depth` rows of `stride` elements, of which `columns` are wanted.
pub(in crate::cpu) fn pack_rows<E: Factor>(
    tier: Tier,
    rows: &[E],
    stride: usize,
    (depth, columns): (usize, usize),
    width: usize,
    target: &mut [E],
) {
    let zero = E::default();
    for (group, target) in target.chunks_exact_mut(width * E::GROUP).enumerate() {
        let row = |k: usize| rows.get(k * stride..k * stride + columns).unwrap_or(&[]);
        if E::GROUP == 1 {
            target[..columns].copy_from_slice(row(group));
            target[columns..].fill(zero);
        } else {
            let even = row(2 * group);
            let odd = if 2 * group + 1 < depth {
                row(2 * group + 1)
            } else {
                &[]
            };
            pair_rows(tier, even, odd, target);
        }
    }
}

/// Writes the columns of `depth` rows (`from_stride` elements apart) as rows of
/// `to_stride` elements, an odd depth filled up to whole groups with zeros.
pub(in crate::cpu) fn transpose_rows<E: Factor>(
    tier: Tier,
    rows: &[E],
    from_stride: usize,
    (depth, columns): (usize, usize),
    target: &mut [E],
    to_stride: usize,
) {
    let groups = depth.div_ceil(E::GROUP);
    assert!(depth == 0 || (depth - 1) * from_stride + columns <= rows.len());
    assert!(columns * to_stride <= target.len() && groups * E::GROUP <= to_stride);
    assert!(to_stride.is_multiple_of(E::GROUP));
    if E::GROUP == 1 {
        // SAFETY: both matrices have room, as just checked.
        unsafe {
            let (from, to) = (rows.as_ptr().cast(), target.as_mut_ptr().cast());
            transpose_words(tier, (depth, columns), from, from_stride, to, to_stride);
        }
        return;
    }
    scratch::with(groups * columns * E::GROUP, |pairs: &mut [E]| {
        pack_rows(tier, rows, from_stride, (depth, columns), columns, pairs);
        // SAFETY: `pairs` holds `groups` rows of `columns` words, and `target`
        // has room, as checked above.
        unsafe {
            let (from, to) = (pairs.as_ptr().cast(), target.as_mut_ptr().cast());
            transpose_words(
                tier,
                (groups, columns),
                from,
                columns,
                to,
                to_stride / E::GROUP,
            );
        }
    });
}

for_each_tier! {
    /// Puts two rows side by side, element by element; a missing second row
    /// and missing columns count as zeros.
    fn pair_rows<E: Factor>(even: &[E], odd: &[E], target: &mut [E]) {
        let zero = E::default();
        let (pairs, _) = target.as_chunks_mut::<2>();
        if odd.is_empty() {
            for (pair, &even) in pairs.iter_mut().zip(even) {
                *pair = [even, zero];
            }
        } else {
            for ((pair, &even), &odd) in pairs.iter_mut().zip(even).zip(odd) {
                *pair = [even, odd];
            }
        }
        pairs[even.len()..].fill([zero; 2]);
    }
}

/// Packs `columns` columns that lie in memory one after the other, `stride`
/// elements apart, each `depth` elements long.
pub(in crate::cpu) fn pack_columns<E: Factor>(
    tier: Tier,
    data: &[E],
    stride: usize,
    (depth, columns): (usize, usize),
    width: usize,
    target: &mut [E],
) {
    let group = E::GROUP;
    // Groups can be moved as words where every column starts on a whole one.
    let words = if stride.is_multiple_of(group) {
        depth / group
    } else {
        0
    };
    if words > 0 && columns > 0 {
        assert!((columns - 1) * stride + words * group <= data.len());
        assert!(words * width * group <= target.len());
        // SAFETY: `columns` rows of `words` words lie in `data`, as just
        // checked, and `target` has `words` rows of `width ≥ columns` words.
        unsafe {
            transpose_words(
                tier,
                (columns, words),
                data.as_ptr().cast(),
                stride / group,
                target.as_mut_ptr().cast(),
                width,
            );
        }
    }
    for (index, target) in target.chunks_exact_mut(width * group).enumerate() {
        let start = if index < words { columns } else { 0 };
        for (column, cell) in target.chunks_exact_mut(group).enumerate().skip(start) {
            for (within, value) in cell.iter_mut().enumerate() {
                let k = index * group + within;
                *value = if column < columns && k < depth {
                    data[column * stride + k]
                } else {
                    E::default()
                };
            }
        }
    }
}
