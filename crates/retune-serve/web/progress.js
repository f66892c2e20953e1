// How far each chosen run is, and how long it will still take.

import { element } from "./dom.js";
import { NONE, duration, figure } from "./format.js";
import { setLabel, setText } from "./i18n.js";
import { lastStep, maxSteps, number, secondsLeft, secondsSoFar } from "./run.js";
import { tellState } from "./runlist.js";

/** Gives `{ node, show(chosen) }`; `chosen`: `[{ run, slot }]`. */
export function progressView() {
  const node = element("div", { class: "cards", testid: "progress" });
  const views = new Map();
  const show = (chosen) => {
    for (const [run] of views) {
      if (!chosen.some((each) => each.run === run)) views.delete(run);
    }
    for (const { run } of chosen) {
      if (!views.has(run)) views.set(run, card(run));
    }
    const wanted = chosen.map(({ run }) => views.get(run).node);
    if (wanted.length !== node.children.length || wanted.some((each, index) => node.children[index] !== each)) {
      node.replaceChildren(...wanted);
    }
    for (const { run, slot } of chosen) views.get(run).show(slot);
  };
  return { node, show };
}

function card(run) {
  const state = element("span", { class: "state", testid: "progress-state" });
  const bar = element("progress", { testid: "progress-bar" });
  setLabel(bar, "progressOf", { run: run.id });
  const texts = element("p", { class: "note", testid: "progress-text" });
  const node = element(
    "article",
    { testid: "progress-card", "data-run": run.id },
    element("div", { class: "bar" }, element("span", { class: "swatch" }), element("h3", { dir: "auto" }, run.id), state),
    bar,
    texts,
  );
  const show = (slot) => {
    node.className = `card series-${slot}`;
    tellState(state, run.state);
    bar.max = maxSteps(run) || 1;
    bar.value = lastStep(run);
    const parts = said(run).map(([key, values]) => {
      const part = element("span");
      setText(part, key, values);
      return part;
    });
    texts.replaceChildren(...parts.flatMap((part, index) => (index > 0 ? [" · ", part] : [part])));
  };
  return { node, show };
}

function said(run) {
  const share = lastStep(run) / maxSteps(run);
  const parts = [["stepOf", { step: figure(lastStep(run), 12), most: figure(maxSteps(run), 12) }]];
  const epoch = number((run.finish ?? run.train.at(-1))?.epoch);
  if (Number.isFinite(epoch)) parts.push(["epochOf", { epoch: figure(epoch, 3), epochs: figure(number(run.starts.at(-1)?.num_train_epochs), 3) }]);
  if (Number.isFinite(secondsSoFar(run))) parts.push([run.state === "running" ? "timeSoFar" : "timeTaken", { time: duration(secondsSoFar(run)) }]);
  if (run.state === "running" && share < 1) {
    const left = duration(secondsLeft(run));
    parts.push(left === NONE ? ["timeLeftUnknown", {}] : ["timeLeft", { time: left }]);
  }
  return parts;
}
