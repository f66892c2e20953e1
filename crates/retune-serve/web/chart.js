// A chart of a figure over the steps, for one run or several. What is under the pointer is read
// out in the legend; with the keyboard, the chart is a slider over the steps.

import { element } from "./dom.js";
import { NONE, figure } from "./format.js";
import { phrase, setLabel, setText } from "./i18n.js";
import { plot, shape } from "./plot.js";
import { nearest, pointAt } from "./series.js";

/**
 * Gives `{ node, show(runs), point(step) }`. `runs`: `[{ slot, name, curves: [{ kind, says, points
 * }] }]`, where `says` is the key of what a value is, if the legend is to have it. `moved(step)`
 * is called when the reader points at a step, or at none: null. `options`: `{ canLog, zero,
 * controls }`.
 */
export function chart(name, moved, { canLog = false, zero = false, controls = [] } = {}) {
  let [runs, steps, places, pointed] = [[], [], null, null];
  const svg = shape("svg", { "aria-hidden": "true" });
  const empty = element("p", { class: "note", text: "chartEmpty" });
  const legend = element("ul", { class: "legend", testid: `legend-${name}` });
  const log = element("input", { type: "checkbox", role: "switch", testid: `log-${name}`, on: { change: () => draw() } });
  const area = element(
    "div",
    { class: "plot", testid: `plot-${name}`, role: "slider", tabindex: "0", label: name, "aria-orientation": "horizontal" },
    svg,
    empty,
  );
  const node = element(
    "figure",
    { class: "chart", id: `chart-${name}`, testid: `chart-${name}` },
    element(
      "div",
      { class: "bar" },
      element("h3", { text: name }),
      ...controls,
      ...(canLog ? [element("label", { class: "switch" }, log, element("span", { text: "logarithmic" }))] : []),
    ),
    area,
    legend,
  );

  const draw = () => {
    const curves = runs.flatMap((run) => run.curves.map((curve) => ({ ...curve, slot: run.slot })));
    steps = [...new Set(curves.flatMap((curve) => curve.points.map(({ x }) => x)))].sort((a, b) => a - b);
    places = plot(svg, curves, { log: log.checked, zero: zero && !log.checked });
    empty.hidden = places !== null;
    area.classList.toggle("nothing", places === null);
    point(pointed);
  };
  const point = (step) => {
    pointed = step;
    svg.querySelector(".cursor")?.remove();
    if (places && step !== null) svg.append(cursor(runs, step, places));
    legend.replaceChildren(...runs.map((run) => legendLine(run, step)));
    tell(area, steps, step, runs);
  };
  pointing(area, svg, { stepAt: (pixel) => places && steps[nearest(steps, places.x.back(pixel))], moved });
  stepping(area, { steps: () => steps, pointed: () => pointed, moved });
  new ResizeObserver(() => draw()).observe(svg);

  const show = (next) => {
    runs = next;
    draw();
  };
  return { node, show, point };
}

// What a curve has at a step, or at its end; nothing beyond it.
function valueAt({ points }, step) {
  if (step === null) return points.at(-1);
  return step <= (points.at(-1)?.x ?? -1) ? pointAt(points, step) : undefined;
}

// The validation of some steps ago is still the last one; other figures are of their step.
function readAt(run, curve, step) {
  if (step === null || curve.kind !== "points") return valueAt(curve, step);
  const isWithin = run.curves.some(({ points }) => step <= (points.at(-1)?.x ?? -1));
  return isWithin ? pointAt(curve.points, step) : undefined;
}

const read = (run, curve, step) => ({ text: figure(readAt(run, curve, step)?.y) });
const spoken = (run) => run.curves.filter((curve) => curve.says);

function legendLine(run, step) {
  const values = spoken(run).map((curve) => {
    const value = element("span");
    setText(value, curve.says, read(run, curve, step));
    return value;
  });
  return element(
    "li",
    { class: `series-${run.slot}` },
    element("span", { class: "swatch" }),
    element("span", { class: "name", dir: "auto" }, run.name),
    ...values,
  );
}

function tell(area, steps, step, runs) {
  area.setAttribute("aria-valuemin", steps[0] ?? 0);
  area.setAttribute("aria-valuemax", steps.at(-1) ?? 0);
  area.setAttribute("aria-valuenow", step ?? steps.at(-1) ?? 0);
  const figures = runs.map((run) => {
    const values = spoken(run).map((curve) => phrase(curve.says, read(run, curve, step)));
    return `${run.name} ${values.join(", ")}`;
  });
  const at = step ?? steps.at(-1);
  area.setAttribute("aria-valuetext", at === undefined ? NONE : `${phrase("atStep", { step: at })}: ${figures.join("; ")}`);
}

function cursor(runs, step, { x, y, top, bottom }) {
  const across = x.at(step);
  const group = shape("g", { class: "cursor" }, shape("line", { x1: across, x2: across, y1: top, y2: bottom }));
  for (const run of runs) {
    for (const curve of spoken(run)) {
      const found = valueAt(curve, step);
      const height = found?.x === step ? y.at(found.y) : NaN;
      if (Number.isFinite(height)) group.append(shape("circle", { class: `series-${run.slot}`, cx: across, cy: height, r: 4 }));
    }
  }
  const label = shape("text", { x: across, y: top, "dominant-baseline": "hanging" }, phrase("atStep", { step }));
  // Beside the line, on the side where there is room.
  const isRight = across > (x.at(x.from) + x.at(x.to)) / 2;
  label.setAttribute("text-anchor", isRight ? "end" : "start");
  label.setAttribute("dx", isRight ? -6 : 6);
  group.append(label);
  return group;
}

function pointing(area, svg, { stepAt, moved }) {
  const follow = (event) => moved(stepAt(event.clientX - svg.getBoundingClientRect().left) ?? null);
  area.addEventListener("pointermove", follow);
  area.addEventListener("pointerdown", follow);
  // A finger that was lifted has shown where to read.
  area.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && moved(null));
}

// As sliders have it.
const MOVES = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10, Home: -Infinity, End: Infinity };

function stepping(area, { steps, pointed, moved }) {
  area.addEventListener("keydown", (event) => {
    if (event.key === "Escape") return moved(null);
    const by = MOVES[event.key];
    if (by === undefined || event.ctrlKey || event.altKey || event.metaKey || steps().length === 0) return;
    event.preventDefault();
    const last = steps().length - 1;
    const from = pointed() === null ? last : nearest(steps(), pointed());
    moved(steps()[Math.min(last, Math.max(0, from + by))]);
  });
  area.addEventListener("blur", () => moved(null));
}
