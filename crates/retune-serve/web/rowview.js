// A row of a data file, token by token, and the way to the next.

import { explain } from "./api.js";
import { button, element } from "./dom.js";
import { figure, percent } from "./format.js";
import { setText } from "./i18n.js";
import { tokensView } from "./tokens.js";

const count = (value) => figure(value, 12);

/**
 * Gives `{ node, open(row, { reveal }), again(), reset(), setCount(rows) }`. `load(row, signal)`
 * gets a row from the server.
 */
export function rowView(load) {
  let [row, rows] = [1, null];
  // What was fetched of this file with these settings.
  let known = new Map();
  let loading = null;

  const previous = button("previousRow", () => open(row - 1), { testid: "row-previous" });
  const next = button("nextRow", () => open(row + 1), { testid: "row-next" });
  const number = element("input", {
    id: "row", testid: "row-number", type: "number", min: 1, step: 1, inputmode: "numeric",
    on: { change: () => jump() },
  });
  const total = element("span", { class: "note" });
  const status = element("p", { class: "note", role: "status", testid: "row-status" });
  const wrong = element("p", { class: "bad prose", testid: "row-wrong", hidden: true });
  const tokens = tokensView();
  const turns = element("details", { class: "turns-read", testid: "row-turns" });
  const node = element(
    "section",
    { class: "block row-view", testid: "row-view", tabindex: "-1", "aria-labelledby": "row-title" },
    element("h2", { id: "row-title", text: "rowTitle" }),
    element("div", { class: "row-bar" }, element("label", { for: "row", text: "row" }), number, total, element("div", { class: "bar" }, previous, next)),
    status,
    wrong,
    tokens.node,
    turns,
  );

  const jump = () => {
    const wanted = Math.min(number.valueAsNumber, rows ?? Infinity);
    if (Number.isInteger(wanted) && wanted >= 1) open(wanted);
    else tellPlace();
  };
  const tellPlace = () => {
    number.value = row;
    previous.disabled = row <= 1;
    next.disabled = rows !== null && row >= rows;
    total.hidden = rows === null;
    setText(total, "ofRows", { rows: count(rows) });
  };

  async function open(wanted, { reveal = false } = {}) {
    row = wanted;
    tellPlace();
    // Beside the findings it is in sight; below them it is not.
    if (reveal && node.getBoundingClientRect().top > innerHeight / 2) {
      node.scrollIntoView({ block: "start" });
      node.focus({ preventScroll: true });
    }
    loading?.abort();
    const { signal } = (loading = new AbortController());
    node.setAttribute("aria-busy", "true");
    try {
      const shown = known.get(wanted) ?? (await load(wanted, signal));
      if (signal.aborted) return;
      known.set(wanted, shown);
      show(shown);
    } catch (error) {
      if (!signal.aborted) fail(error);
    }
    node.removeAttribute("aria-busy");
  }

  function show(shown) {
    wrong.hidden = true;
    const { length, scored, line, cut } = shown;
    const values = { row: count(row), line: count(line), tokens: count(length), scored: count(scored), share: percent(scored / length) };
    setText(status, line > 0 ? "rowFiguresAtLine" : "rowFigures", values);
    if (cut) status.append(" ", sentence("rowCut"));
    tokens.show(shown.tokens);
    turns.hidden = shown.turns.length === 0;
    turns.replaceChildren(element("summary", { text: "turnsRead" }), ...shown.turns.map(turnRead));
  }

  function fail(error) {
    const reason = explain(error);
    if (error.code === "row_not_found") setText(wrong, "rowNotThere", { row: count(row) });
    else if (error.status === 400) setText(wrong, "rowUnusable", { reason: error.message });
    else setText(wrong, reason.key, reason.values);
    wrong.hidden = false;
    status.replaceChildren();
    tokens.show([]);
    turns.hidden = true;
  }

  const again = () => {
    known = new Map();
    open(row);
  };
  const reset = () => {
    [row, rows] = [1, null];
    node.hidden = false;
  };
  const setCount = (found) => {
    rows = found;
    // Of a file that cannot be read, the findings say all there is to say.
    node.hidden = rows === 0;
    tellPlace();
  };
  // Numbers are written as the language does.
  addEventListener("languagechange", () => known.has(row) && show(known.get(row)));
  return { node, open, again, reset, setCount };
}

function sentence(key) {
  return element("span", { class: "warn", text: key });
}

function turnRead({ role, text }) {
  return element("div", { class: "turn-read" }, element("p", { class: "who" }, role ?? ""), element("div", { class: "prose", dir: "auto" }, text));
}
