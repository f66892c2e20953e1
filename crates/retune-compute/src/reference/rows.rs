//! Picking and placing rows.

pub(super) fn gather(x: &[f32], rows: &[u32], width: usize) -> Vec<f32> {
    rows.iter()
        .flat_map(|&row| &x[row as usize * width..][..width])
        .copied()
        .collect()
}

/// The first place of the largest number; `None` if one is not finite.
pub(super) fn argmax(row: &[f32]) -> Option<u32> {
    let mut best = 0;
    for (column, value) in row.iter().enumerate() {
        if !value.is_finite() {
            return None;
        }
        if *value > row[best] {
            best = column;
        }
    }
    (!row.is_empty()).then_some(best as u32)
}

pub(super) fn scatter(x: &[f32], rows: &[u32], width: usize, accumulate: bool, y: &mut [f32]) {
    for (i, &row) in rows.iter().enumerate() {
        for column in 0..width {
            let to = &mut y[row as usize * width + column];
            let from = x[i * width + column];
            *to = if accumulate { *to + from } else { from };
        }
    }
}
