// The runs there are, of which one is chosen, or several to compare.

import { element } from "./dom.js";
import { figure } from "./format.js";
import { setLabel, setText } from "./i18n.js";

/**
 * Gives `{ node, focus(), show(folder, runs, slotOf, full) }`. `slotOf(id)` is the colour of a chosen run;
 * where it is `full`, no other can be chosen too. `actions`: `only(id)`, `also(id, on)`.
 */
export function runList(actions) {
  const items = element("ul", { class: "runs", testid: "runs" });
  const empty = element("p", { class: "note", testid: "runs-empty", hidden: true });
  const node = element(
    "aside",
    { class: "side", label: "runs", tabindex: "-1" },
    element("h2", { text: "runs" }),
    empty,
    items,
    element("p", { class: "note compare", text: "compareNote" }),
  );
  const views = new Map();
  const show = (folder, runs, slotOf, full) => {
    setText(empty, "runsEmpty", { folder });
    empty.hidden = runs.length > 0;
    node.classList.toggle("none", runs.length === 0);
    for (const id of [...views.keys()]) {
      if (!runs.some((run) => run.id === id)) views.delete(id);
    }
    for (const run of runs) {
      if (!views.has(run.id)) views.set(run.id, runItem(run.id, actions));
      views.get(run.id).show(run, slotOf(run.id), full);
    }
    // Moved only where the order is another: what is moved loses the focus.
    const wanted = runs.map((run) => views.get(run.id).node);
    if (wanted.length !== items.children.length || wanted.some((each, index) => items.children[index] !== each)) {
      const focused = document.activeElement;
      items.replaceChildren(...wanted);
      if (items.contains(focused)) focused.focus({ preventScroll: true });
    }
  };
  const focus = () => (items.querySelector(".chosen .open") ?? items.querySelector(".open") ?? node).focus();
  return { node, focus, show };
}

function runItem(id, actions) {
  const compare = element("input", { type: "checkbox", testid: "run-compare", on: { change: () => actions.also(id, compare.checked) } });
  setLabel(compare, "compareRun", { run: id });
  const state = element("span", { class: "state", testid: "run-state" });
  const step = element("span");
  const losses = element("span", { class: "note" });
  const progress = element("progress", { "aria-hidden": "true" });
  const node = element(
    "li",
    { testid: "run", "data-run": id },
    compare,
    element(
      "button",
      { type: "button", class: "open", testid: "run-open", on: { click: () => actions.only(id) } },
      element("span", { class: "title", dir: "auto" }, id),
      element("span", { class: "note line" }, state, step),
      progress,
      losses,
    ),
  );
  const show = (run, slot, full) => {
    node.className = slot === undefined ? "" : `chosen series-${slot}`;
    compare.checked = slot !== undefined;
    compare.disabled = full && slot === undefined;
    tellState(state, run.state);
    setText(step, "stepsOf", { step: count(run.step), most: count(run.max_steps) });
    setText(losses, "lossesAre", { loss: figure(run.loss), evalLoss: figure(run.eval_loss) });
    progress.max = run.max_steps || 1;
    progress.value = run.step || 0;
  };
  return { node, show };
}

const count = (value) => figure(value, 12);
const STATES = new Map([["running", "stateRunning"], ["finished", "stateFinished"], ["stopped", "stateStopped"]]);

/** Says in `node` what a run does. */
export function tellState(node, state) {
  node.dataset.state = STATES.has(state) ? state : "";
  setText(node, STATES.get(state) ?? "asIs", { text: state ?? "" });
}
