// The charts of the chosen runs. All point at the same step.

import { chart } from "./chart.js";
import { element } from "./dom.js";
import { percent } from "./format.js";
import { curve } from "./run.js";
import { smoothed } from "./series.js";
import { local } from "./storage.js";

const SMOOTHING = "retune.smoothing";

/** Gives `{ node, show(chosen) }`; `chosen`: `[{ run, slot }]`. */
export function chartsView() {
  let last = [];
  const smoothing = smoothingControl(() => show(last));
  const point = (step) => charts.forEach(([each]) => each.point(step));
  const charts = [
    [chart("loss", point, { canLog: true, controls: [smoothing.node] }), (run) => lossCurves(run, smoothing.weight())],
    [chart("learning_rate", point, { zero: true }), (run) => [lineOf(run, "learning_rate")]],
    [chart("grad_norm", point, { zero: true, canLog: true }), (run) => [lineOf(run, "grad_norm")]],
    [chart("tokens_per_s", point, { zero: true }), (run) => [lineOf(run, "tokens_per_s")]],
  ];
  const node = element("div", { class: "charts" }, ...charts.map(([each]) => each.node));
  const show = (chosen) => {
    last = chosen;
    for (const [each, curvesOf] of charts) each.show(chosen.map(({ run, slot }) => ({ slot, name: run.id, curves: curvesOf(run) })));
  };
  return { node, show };
}

const lineOf = (run, name) => ({ kind: "line", says: "asIs", points: curve(run.train, name) });

function lossCurves(run, weight) {
  const points = curve(run.train, "loss");
  const validation = { kind: "points", says: "valueEval", points: curve(run.evals, "eval_loss") };
  if (weight === 0) return [{ kind: "line", says: "valueLoss", points }, validation];
  return [
    { kind: "faint", says: "valueLoss", points },
    { kind: "line", says: "valueSmoothed", points: smoothed(points, weight) },
    validation,
  ];
}

function smoothingControl(changed) {
  const output = element("output", { class: "note", for: "smoothing" });
  const input = element("input", {
    id: "smoothing", testid: "smoothing", type: "range", min: 0, max: 0.95, step: 0.05,
    on: { input: () => (local.set(SMOOTHING, input.value), tell(), changed()) },
  });
  const tell = () => (output.textContent = percent(input.valueAsNumber, 0));
  input.value = local.get(SMOOTHING) ?? 0.6;
  tell();
  const node = element("span", { class: "switch" }, element("label", { for: "smoothing", text: "smoothing" }), input, output);
  return { node, weight: () => input.valueAsNumber };
}
