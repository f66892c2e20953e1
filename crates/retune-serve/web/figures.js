// The figures of the chosen runs, side by side.

import { element } from "./dom.js";
import { NONE, duration, figure, moment, percent } from "./format.js";
import { phrase, setText } from "./i18n.js";
import { bestEval, number, secondsSoFar } from "./run.js";

const whole = (value) => figure(number(value), 12);
const lastEval = (run, name) => number(run.evals.at(-1)?.[name]);

// What each is called, and what a run has.
const FIGURES = [
  ["figureLoss", (run) => figure(number(run.train.at(-1)?.loss))],
  ["figureEvalLoss", (run) => figure(lastEval(run, "eval_loss"))],
  ["figureBest", best],
  ["figurePerplexity", (run) => figure(lastEval(run, "eval_perplexity"))],
  ["figureAccuracy", (run) => percent(lastEval(run, "eval_token_accuracy"))],
  ["figureLearningRate", (run) => figure(number(run.train.at(-1)?.learning_rate))],
  ["figureRate", rate],
  ["figureTokens", (run) => whole((run.finish ?? run.train.at(-1))?.tokens)],
  ["figureDuration", (run) => duration(secondsSoFar(run))],
  ["figureStarted", (run) => moment(number(run.starts[0]?.time))],
  ["figureTrainSamples", (run) => whole(run.starts.at(-1)?.train_samples)],
  ["figureEvalSamples", (run) => whole(run.starts.at(-1)?.eval_samples)],
  ["figureParameters", (run) => whole(run.starts.at(-1)?.trainable_parameters)],
  ["figureResumed", (run) => run.starts.slice(1).map((start) => whole(start.step)).join(", ") || NONE],
  ["figureEnd", end],
];

const ENDS = new Map([
  ["completed", "endCompleted"],
  ["early_stopping", "endEarly"],
  ["interrupted", "endInterrupted"],
  ["failed", "endFailed"],
]);

function best(run) {
  const line = bestEval(run);
  return line ? phrase("bestAt", { value: figure(line.eval_loss), step: whole(line.step) }) : NONE;
}

// Over the whole run: that of a moment is in the chart.
function rate(run) {
  return figure(number((run.finish ?? run.train.at(-1))?.tokens) / secondsSoFar(run));
}

function end({ finish }) {
  if (!finish) return NONE;
  return phrase(ENDS.get(finish.reason) ?? "asIs", { text: finish.reason ?? "" });
}

/** Gives `{ node, show(chosen) }`; `chosen`: `[{ run, slot }]`. */
export function figuresView() {
  const table = element("table", { class: "figures-table", testid: "figures-table" });
  const node = element(
    "section",
    { class: "block" },
    element("h2", { id: "figures-title", text: "figures" }),
    element("div", { class: "scroller", role: "region", tabindex: "0", "aria-labelledby": "figures-title" }, table),
  );
  const show = (chosen) => {
    const heads = chosen.map(({ run, slot }) =>
      element("th", { scope: "col", class: `series-${slot}` }, element("span", { class: "swatch" }), element("span", { dir: "auto" }, run.id)));
    const rows = FIGURES.map(([key, valueOf]) => [key, chosen.map(({ run }) => valueOf(run))]);
    table.replaceChildren(
      element("thead", {}, element("tr", {}, element("td"), ...heads)),
      element("tbody", {}, ...rows.filter(([, values]) => values.some((value) => value !== NONE)).map(([key, values]) => figureRow(key, values))),
    );
  };
  return { node, show };
}

function figureRow(key, values) {
  const head = element("th", { scope: "row" });
  setText(head, key);
  return element("tr", { "data-figure": key }, head, ...values.map((value) => element("td", {}, value)));
}
