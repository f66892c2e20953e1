// Points of a curve, `[{ x, y }, …]` in the order of x. A gap is a point whose y is NaN.

/** The exponential moving mean, corrected for beginning at nothing. `weight` is that of the past. */
export function smoothed(points, weight) {
  let [sum, mass] = [0, 0];
  return points.map(({ x, y }) => {
    if (!Number.isFinite(y)) return { x, y: NaN };
    sum = weight * sum + (1 - weight) * y;
    mass = weight * mass + (1 - weight);
    return { x, y: sum / mass };
  });
}

/**
 * No more points than can be told apart: of those in one column, which `columnOf(x)` tells, the
 * first, the lowest, the highest and the last. A spike so stays, however narrow it is.
 */
export function thinned(points, columnOf) {
  const kept = [];
  for (let from = 0, to = 0; from < points.length; from = to) {
    const [column, isGap] = [columnOf(points[from].x), isNaN(points[from].y)];
    let [low, high] = [from, from];
    for (to = from + 1; to < points.length; to += 1) {
      const { x, y } = points[to];
      if (columnOf(x) !== column || isNaN(y) !== isGap) break;
      if (y < points[low].y) low = to;
      if (y > points[high].y) high = to;
    }
    const chosen = isGap ? [from] : [...new Set([from, low, high, to - 1])].sort((a, b) => a - b);
    kept.push(...chosen.map((index) => points[index]));
  }
  return kept;
}

/** The stretches between gaps. */
export function stretches(points) {
  const parts = [[]];
  for (const point of points) {
    if (Number.isFinite(point.y)) parts.at(-1).push(point);
    else if (parts.at(-1).length > 0) parts.push([]);
  }
  return parts.filter((part) => part.length > 0);
}

/** The last point at or before `x`. */
export function pointAt(points, x) {
  return points[countUpTo(points, x, (point) => point.x) - 1];
}

/** The index of the one of sorted numbers that is nearest to `x`. */
export function nearest(sorted, x) {
  const after = countUpTo(sorted, x, (each) => each);
  if (after === 0) return 0;
  if (after === sorted.length) return after - 1;
  return x - sorted[after - 1] <= sorted[after] - x ? after - 1 : after;
}

// How many of the sorted are not beyond `x`.
function countUpTo(sorted, x, valueOf) {
  let [low, high] = [0, sorted.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (valueOf(sorted[middle]) <= x) low = middle + 1;
    else high = middle;
  }
  return low;
}
