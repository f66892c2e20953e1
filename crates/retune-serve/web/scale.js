// An axis: which value stands where, and which values are written beside it.

/**
 * From values to pixels: `{ from, to, at(value), back(pixel) }`. `log` is a logarithmic one, on
 * which values at or below 0 have no place.
 */
export function scale([from, to], [start, end], log = false) {
  const onto = log ? Math.log10 : (value) => value;
  const [low, high] = [onto(from), onto(to)];
  const at = (value) => start + ((onto(value) - low) / (high - low)) * (end - start);
  const back = (pixel) => {
    const value = low + ((pixel - start) / (end - start)) * (high - low);
    return log ? 10 ** value : value;
  };
  return { from, to, at, back };
}

/** From where to where an axis goes that shows `values`, with some air; null if there are none. */
export function reach(values, { log = false, zero = false } = {}) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    if (!Number.isFinite(value) || (log && value <= 0)) continue;
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  if (low > high) return null;
  if (log) return low === high ? [low / 2, high * 2] : [low / (high / low) ** AIR, high * (high / low) ** AIR];
  if (zero) low = Math.min(0, low);
  const air = high === low ? Math.abs(high) / 10 || 1 : (high - low) * AIR;
  return [zero && low === 0 ? 0 : low - air, high + air];
}

const AIR = 0.05;

/** Round values from `from` to `to`, about `most` of them. */
export function ticks(from, to, most, log = false) {
  // Within less than a power of ten, evenly spaced values are easier to read.
  const spread = log ? logTicks(from, to, most) : [];
  return spread.length >= 3 ? spread : evenTicks(from, to, most);
}

function evenTicks(from, to, most) {
  const rough = (to - from) / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999);
  const [first, last] = [Math.ceil(from / step - 1e-9), Math.floor(to / step + 1e-9)];
  // Without the rounding, 3 · 0.1 is not 0.3.
  return Array.from({ length: last - first + 1 }, (_, index) => Number(((first + index) * step).toPrecision(12)));
}

function logTicks(from, to, most) {
  const [low, high] = [Math.floor(Math.log10(from)), Math.ceil(Math.log10(to))];
  const every = Math.ceil((high - low) / most);
  for (const factors of [[1, 2, 5], [1, 3], [1]]) {
    const values = [];
    for (let power = low; power <= high; power += every) {
      for (const factor of factors) values.push(Number((factor * 10 ** power).toPrecision(3)));
    }
    const inside = values.filter((value) => value >= from && value <= to);
    if (inside.length <= most || factors.length === 1) return inside;
  }
  return [];
}
