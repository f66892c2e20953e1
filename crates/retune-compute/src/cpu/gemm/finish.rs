//! What happens to sums before they are stored.

use super::kernel::PANEL;
use crate::cpu::simd::for_each_tier;
use crate::cpu::split::RowsMut;
use crate::dtype::Element;

/// `[out +] scale · sum [+ low-rank term] [+ bias]`.
pub(super) struct Finish<'a> {
    /// Whether the sums' rows are columns of `out`; then there is no bias and no low-rank
    /// term.
    pub(super) transposed: bool,
    pub(super) scale: f32,
    pub(super) bias: Option<&'a [f32]>,
    pub(super) low_rank_scale: f32,
    pub(super) low_rank_row_scales: Option<&'a [f32]>,
    pub(super) accumulate: bool,
}

/// The sums of a tile.
pub(super) struct Sums<'a> {
    /// Rows of `width`.
    pub(super) values: &'a [f32],
    /// The low-rank term's, laid out alike; empty if there is none.
    pub(super) low_rank: &'a [f32],
    pub(super) width: usize,
    /// The first row's and the first column's place in the product.
    pub(super) first: (usize, usize),
    /// Columns that exist.
    pub(super) columns: usize,
}

for_each_tier! {
    /// Stores the sums of a tile, whose rows and columns of `out` nobody else has.
    pub(super) fn store<O: Element>(finish: &Finish<'_>, sums: Sums<'_>, out: &RowsMut<'_, O>) {
        if finish.transposed {
            store_transposed(finish, &sums, out);
            return;
        }
        let (first, start) = sums.first;
        let plain = finish.scale == 1.0 && sums.low_rank.is_empty() && finish.bias.is_none();
        for (row, values) in sums.values.chunks_exact(sums.width).enumerate() {
            let values = &values[..sums.columns];
            // SAFETY: each task has its own rows and columns of `out`.
            let out = unsafe { out.cells(first + row, start..start + sums.columns) };
            if plain && !finish.accumulate {
                for (out, sum) in out.iter_mut().zip(values) {
                    *out = O::from_f32(*sum);
                }
                continue;
            }
            let mut finished = [0.0f32; PANEL];
            for (value, sum) in finished.iter_mut().zip(values) {
                *value = sum * finish.scale;
            }
            if !sums.low_rank.is_empty() {
                let scale = finish
                    .low_rank_row_scales
                    .map_or(finish.low_rank_scale, |scales| scales[first + row]);
                let term = &sums.low_rank[row * sums.width..][..sums.columns];
                for (value, term) in finished.iter_mut().zip(term) {
                    *value += term * scale;
                }
            }
            if let Some(bias) = finish.bias {
                for (value, bias) in finished.iter_mut().zip(&bias[start..start + sums.columns]) {
                    *value += bias;
                }
            }
            if finish.accumulate {
                for (value, out) in finished.iter_mut().zip(&*out) {
                    *value += out.to_f32();
                }
            }
            for (out, value) in out.iter_mut().zip(&finished) {
                *out = O::from_f32(*value);
            }
        }
    }
}

/// The same where rows are columns of `out`.
#[inline(always)]
fn store_transposed<O: Element>(finish: &Finish<'_>, sums: &Sums<'_>, out: &RowsMut<'_, O>) {
    let rows = sums.values.len() / sums.width;
    let (first, start) = sums.first;
    for column in 0..sums.columns {
        // SAFETY: each task has its own rows and columns of `out`.
        let out = unsafe { out.cells(start + column, first..first + rows) };
        for (row, out) in out.iter_mut().enumerate() {
            let mut value = sums.values[row * sums.width + column] * finish.scale;
            if finish.accumulate {
                value += out.to_f32();
            }
            *out = O::from_f32(value);
        }
    }
}
