// Curves over axes, as SVG. Sizes are pixels: the drawing is as wide as its place is.

import { short } from "./format.js";
import { reach, scale, ticks } from "./scale.js";
import { stretches, thinned } from "./series.js";

const SPACE = "http://www.w3.org/2000/svg";
// Above, right of and below the curves, and between an axis and what is written beside it.
const [TOP, RIGHT, GAP] = [8, 12, 6];

/** An element of a drawing. */
export function shape(tag, attributes = {}, ...children) {
  const node = document.createElementNS(SPACE, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/**
 * Draws curves into `svg`, and gives where values stand: `{ x, y }`, or null if there is nothing
 * to draw. `curves`: `[{ slot, kind: "faint" | "line" | "points", points }]`; `options`: `{ log,
 * zero }` of the axis of values, of which `zero` has it begin at 0.
 */
export function plot(svg, curves, options) {
  const { width, height } = svg.getBoundingClientRect();
  const points = curves.flatMap((curve) => curve.points);
  const [across, up] = [reachOfSteps(points), reach(points.map(({ y }) => y), options)];
  svg.replaceChildren();
  if (!across || !up || width === 0) return null;
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);

  const letter = parseFloat(getComputedStyle(svg).fontSize);
  const bottom = height - letter - 2 * GAP;
  const levels = ticks(...up, Math.max(2, Math.floor((bottom - TOP) / (2.2 * letter))), options.log);
  const largest = Math.max(...levels.map(Math.abs));
  const labels = levels.map((level) => short(level, largest));
  const left = 2 * GAP + 0.62 * letter * Math.max(...labels.map((label) => label.length));
  const x = scale(across, [left, width - RIGHT]);
  const y = scale(up, [bottom, TOP], options.log);
  const steps = ticks(...across, Math.max(2, Math.floor((width - left) / (6 * letter)))).filter(Number.isInteger);

  svg.append(
    shape(
      "g",
      { class: "axes" },
      ...levels.flatMap((level, index) => [
        shape("line", { class: "grid", x1: left, x2: width - RIGHT, y1: y.at(level), y2: y.at(level) }),
        shape("text", { x: left - GAP, y: y.at(level), "text-anchor": "end", "dominant-baseline": "central" }, labels[index]),
      ]),
      ...steps.map((step) => shape("text", { x: x.at(step), y: height - GAP, "text-anchor": "middle" }, short(step, across[1]))),
      shape("line", { class: "axis", x1: left, x2: width - RIGHT, y1: bottom, y2: bottom }),
    ),
    ...curves.map((curve) => drawn(curve, x, y, options.log)),
  );
  return { x, y, top: TOP, bottom };
}

// From the first step on, and without air: a curve begins at its axis.
function reachOfSteps(points) {
  const last = points.reduce((last, { x }) => Math.max(last, x), -1);
  return last < 0 ? null : [0, Math.max(1, last)];
}

function drawn({ slot, kind, points }, x, y, log) {
  const placeable = points.map((point) => (log && point.y <= 0 ? { x: point.x, y: NaN } : point));
  const group = shape("g", { class: `curve ${kind} series-${slot}` });
  for (const part of stretches(thinned(placeable, (step) => Math.round(x.at(step))))) {
    const places = part.map((point) => [x.at(point.x), y.at(point.y)]);
    // A point between two gaps has no line.
    if (kind === "points" || places.length === 1) group.append(...places.map(([cx, cy]) => shape("circle", { cx, cy, r: 3 })));
    if (places.length > 1) group.append(shape("path", { d: `M${places.map(rounded).join("L")}` }));
  }
  return group;
}

const rounded = (place) => place.map((value) => value.toFixed(1)).join(" ");
