//! Percentiles, as numpy counts them by default.

/// The number below which `share` of the sorted numbers lies, between two of
/// them by proportion; there is none of no numbers.
pub(super) fn percentile(sorted: &[f64], share: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let position = (share * last as f64).clamp(0.0, last as f64);
    let below = position.floor() as usize;
    let above = (below + 1).min(last);
    Some(sorted[below] + (sorted[above] - sorted[below]) * position.fract())
}
