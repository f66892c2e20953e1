//! Bars with intervals, as a figure in a page.

use std::fmt::Write as _;

use super::svg::{document, text};

/// Of bars, whiskers and labels together.
const PLOT: f64 = 320.0;
/// The most characters of a name; of a longer one the beginning goes.
const NAME: usize = 44;
const TOP: f64 = 40.0;
const ROW: f64 = 26.0;
/// About what a character of a name takes.
const CHARACTER: f64 = 6.8;
/// Room for the label behind a bar.
const LABEL: f64 = 80.0;

/// A bar from 0 on.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Bar {
    pub(crate) name: String,
    /// At least 0.
    pub(crate) value: f64,
    /// Between which values it lies.
    pub(crate) interval: Option<(f64, f64)>,
    /// How the value is written.
    pub(crate) label: String,
}

/// The bars below each other, on one scale, as an SVG document.
pub(crate) fn render(title: &str, bars: &[Bar]) -> String {
    let height = TOP + ROW * bars.len() as f64 + 10.0;
    let longest = bars.iter().map(|bar| bar.name.chars().count()).max();
    let left = 24.0 + CHARACTER * longest.unwrap_or(0).min(NAME) as f64;
    let width = left + PLOT;
    let ends = bars.iter().map(|bar| {
        bar.interval
            .map_or(bar.value, |(_, high)| high.max(bar.value))
    });
    let most = ends.filter(|end| end.is_finite()).fold(0.0, f64::max);
    let scale = (PLOT - LABEL) / if most > 0.0 { most } else { 1.0 };
    let mut body = String::new();
    for (index, bar) in bars.iter().enumerate() {
        let middle = TOP + ROW * (index as f64 + 0.5);
        let class = if index == 0 { "first" } else { "second" };
        let name = shortened(&bar.name);
        let length = (bar.value.clamp(0.0, most) * scale).max(0.5);
        let _ = writeln!(
            body,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
             <rect class=\"bar {class}\" x=\"{left:.1}\" y=\"{:.1}\" width=\"{length:.1}\" height=\"14\" rx=\"2\"/>",
            left - 8.0,
            middle + 4.0,
            text(&name),
            middle - 7.0
        );
        let mut end = left + length;
        if let Some((low, high)) = bar.interval {
            let place = |value: f64| left + value.clamp(0.0, most) * scale;
            let (low, high) = (place(low), place(high));
            let _ = writeln!(
                body,
                "<path class=\"axis\" d=\"M{low:.1} {middle:.1}H{high:.1}M{low:.1} {0:.1}v8M{high:.1} {0:.1}v8\"/>",
                middle - 4.0
            );
            end = end.max(high);
        }
        let _ = writeln!(
            body,
            "<text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            end + 6.0,
            middle + 4.0,
            text(&bar.label)
        );
    }
    document(title, (width, height), &body)
}

fn shortened(name: &str) -> String {
    let characters: Vec<char> = name.chars().collect();
    match characters.len().checked_sub(NAME) {
        None | Some(0) => name.to_owned(),
        Some(beyond) => std::iter::once('…')
            .chain(characters[beyond + 1..].iter().copied())
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_their_values_and_whiskers_reach_their_ends() {
        let bar = |name: &str, value, interval| Bar {
            name: name.to_owned(),
            value,
            interval,
            label: format!("{value}"),
        };
        let svg = render(
            "a < b",
            &[
                bar("base", 10.0, None),
                bar("<lora>", 5.0, Some((4.0, 20.0))),
            ],
        );
        assert!(svg.contains("a &lt; b") && svg.contains("&lt;lora&gt;"));
        let widths: Vec<f64> = svg
            .split("class=\"bar ")
            .skip(1)
            .filter_map(|rest| {
                rest.split("width=\"")
                    .nth(1)?
                    .split('"')
                    .next()?
                    .parse()
                    .ok()
            })
            .collect();
        assert!((widths[0] / widths[1] - 2.0).abs() < 0.01, "{widths:?}");
        // The scale ends where the longest whisker does.
        let whole = PLOT - LABEL;
        assert!((widths[0] - whole / 2.0).abs() < 0.1, "{widths:?}");
        // Nothing to draw is no fault.
        assert!(render("none", &[bar("x", 0.0, None)]).contains("<svg"));
    }
}
