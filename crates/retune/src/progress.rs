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

/// The same, with what is done to them in front, which may change on the way.
pub(crate) fn stages() -> ProgressBar {
    let bar = ProgressBar::new(0);
    let style =
        ProgressStyle::with_template("{msg} {bar:24} {pos}/{len}, {elapsed} gone, {eta} left");
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar
}

/// Begins another stage of a bar that [`stages`] made.
pub(crate) fn begin(bar: &ProgressBar, name: &str, count: u64) {
    bar.reset();
    bar.set_length(count);
    bar.set_message(name.to_owned());
}
