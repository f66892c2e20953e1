//! Progress of long work, on standard error and only where someone looks on.

use indicatif::{ProgressBar, ProgressStyle};

/// Counts rows.
pub(crate) fn rows() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    let style = ProgressStyle::with_template("{spinner} {human_pos} rows, {per_sec}, {elapsed}");
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar
}

/// Counts items of which the number is known.
pub(crate) fn items(count: u64) -> ProgressBar {
    let bar = ProgressBar::new(count);
    let style = ProgressStyle::with_template("{bar:24} {pos}/{len}, {elapsed} gone, {eta} left");
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar
}
