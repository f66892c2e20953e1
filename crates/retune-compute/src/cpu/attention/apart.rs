//! Infinities and NaN under the mask.
//!
//! Products run over whole tiles, and the mask makes the factors of hidden
//! pairs zero. That hides every finite number, but `0 · ∞` is NaN. So numbers
//! that are not finite are taken out of a factor before the product, and
//! reach afterwards only the rows that see them.

use super::super::gemm::kernel::Factor;
use super::super::simd::for_each_tier;
use super::Mask;
use crate::Tier;

/// A number that was taken out of a matrix, and where it stood.
pub(super) struct Apart {
    row: usize,
    column: usize,
    value: f32,
}

/// Replaces the numbers of a `[rows][columns]` matrix that are not finite by
/// zeros, and returns them.
pub(super) fn set_apart<E: Factor>(
    tier: Tier,
    matrix: &mut [E],
    (rows, columns): (usize, usize),
    stride: usize,
) -> Vec<Apart> {
    let mut apart = Vec::new();
    for (row, values) in matrix.chunks_mut(stride).take(rows).enumerate() {
        let values = &mut values[..columns];
        if all_finite(tier, values) {
            continue;
        }
        for (column, value) in values.iter_mut().enumerate() {
            let found = value.to_f32();
            if !found.is_finite() {
                *value = E::default();
                apart.push(Apart {
                    row,
                    column,
                    value: found,
                });
            }
        }
    }
    apart
}

/// Adds what was set apart in a `[D][keys]` matrix to the sums over keys
/// `[D][width]`, for the `lanes` lanes as far as they see the key; `factors` is
/// `[keys][width]`.
pub(super) fn add_to_sums_over_keys(
    apart: &[Apart],
    factors: &[f32],
    mask: &Mask,
    (lanes, width): (usize, usize),
    sums: &mut [f32],
) {
    for &Apart {
        row,
        column: key,
        value,
    } in apart
    {
        for lane in (0..lanes).filter(|&lane| mask.sees(key, lane)) {
            sums[row * width + lane] += factors[key * width + lane] * value;
        }
    }
}

/// Adds what was set apart in a `[lanes][D]` matrix to the columns from `start`
/// on of the sums over lanes, `[keys][columns]`, of the `keys` keys as far as
/// the lane sees them; `factors` is `[keys][width]`.
pub(super) fn add_to_sums_over_lanes(
    apart: &[Apart],
    factors: &[f32],
    mask: Option<&Mask>,
    (keys, width): (usize, usize),
    (start, columns): (usize, usize),
    sums: &mut [f32],
) {
    for &Apart {
        row: lane,
        column,
        value,
    } in apart
    {
        if !(start..start + columns).contains(&column) {
            continue;
        }
        for key in (0..keys).filter(|&key| mask.is_none_or(|mask| mask.sees(key, lane))) {
            sums[key * columns + column - start] += factors[key * width + lane] * value;
        }
    }
}

for_each_tier! {
    fn all_finite<E: Factor>(values: &[E]) -> bool {
        let spoiled = |value: &E| u32::from(!value.to_f32().is_finite());
        values.iter().fold(0, |all, value| all | spoiled(value)) == 0
    }
}
