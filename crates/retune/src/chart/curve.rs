//! Points on their way to a figure: smoothed, and no more than can be seen.

use super::{Point, is_drawable};

/// How many points a mean should reach over, so that it is a small part of the
/// figure: a twenty-fifth of all.
pub(super) fn smoothing_span(points: &[Point]) -> usize {
    let drawable = points.iter().filter(|point| is_drawable(**point)).count();
    (drawable / 25).max(1)
}

/// The exponential moving average over `span` points, in which the first
/// points weigh no more than others. Gaps stay gaps.
pub(super) fn smoothed(points: &[Point], span: usize) -> Vec<Point> {
    let keep = 1.0 - 2.0 / (span as f64 + 1.0);
    let (mut sum, mut weight) = (0.0, 0.0);
    let average = |&(x, y): &Point| {
        if !is_drawable((x, y)) {
            return (x, f64::NAN);
        }
        sum = keep * sum + y;
        weight = keep * weight + 1.0;
        (x, sum / weight)
    };
    points.iter().map(average).collect()
}

/// Stretches between gaps.
pub(super) fn stretches(points: &[Point]) -> impl Iterator<Item = &[Point]> {
    let parts = points.split(|point| !is_drawable(*point));
    parts.filter(|part| !part.is_empty())
}

/// The points of a stretch that show in columns `column` wide: of each column
/// the first, the lowest, the highest and the last.
pub(super) fn thinned(stretch: &[Point], column: f64) -> Vec<Point> {
    let mut kept = Vec::new();
    let same_column = |a: &Point, b: &Point| (a.0 / column).floor() == (b.0 / column).floor();
    for points in stretch.chunk_by(same_column) {
        let value = |index: &usize| points[*index].1;
        let lowest = (0..points.len()).min_by(|a, b| value(a).total_cmp(&value(b)));
        let highest = (0..points.len()).max_by(|a, b| value(a).total_cmp(&value(b)));
        let mut shown: Vec<usize> = [lowest, highest].into_iter().flatten().collect();
        shown.extend([0, points.len() - 1]);
        shown.sort_unstable();
        shown.dedup();
        kept.extend(shown.into_iter().map(|index| points[index]));
    }
    kept
}

/// From the lowest to the highest value of some points; of those in `faint`, a
/// two-hundredth at either end may lie outside. `None` if there are none.
pub(super) fn range(points: &[&[Point]], faint: &[&[Point]]) -> Option<(f64, f64)> {
    let values = |points: &[Point]| -> Vec<f64> {
        let drawable = points.iter().filter(|point| is_drawable(**point));
        drawable.map(|point| point.1).collect()
    };
    let mut all: Vec<f64> = points.iter().flat_map(|points| values(points)).collect();
    for points in faint {
        let mut values = values(points);
        values.sort_unstable_by(f64::total_cmp);
        let outside = values.len() / 200;
        all.extend(&values[outside..values.len() - outside]);
    }
    let low = all.iter().copied().reduce(f64::min)?;
    let high = all.iter().copied().reduce(f64::max)?;
    Some((low, high))
}
