// What the runs answered on the way, and what they noticed: how a voice changes.

import { button, element } from "./dom.js";
import { figure } from "./format.js";
import { setText } from "./i18n.js";

// Of more answers to a prompt, some on the way are left out.
const FEW = 6;

/** Gives `{ node, show(chosen) }`; `chosen`: `[{ run, slot }]`. */
export function samplesView() {
  let all = false;
  let [last, told] = [[], ""];
  const prompts = element("div", { class: "prompts", testid: "samples" });
  const empty = element("p", { class: "note", text: "samplesEmpty" });
  const more = button("samplesAll", () => {
    all = !all;
    setText(more, all ? "samplesFew" : "samplesAll");
    draw();
  }, { class: "quiet small", testid: "samples-all" });
  const node = element(
    "section",
    { class: "block" },
    element("div", { class: "bar" }, element("h2", { text: "samples" }), more),
    empty,
    prompts,
  );
  const draw = () => {
    const groups = byPrompt(last);
    empty.hidden = groups.size > 0;
    more.hidden = ![...groups.values()].some((columns) => columns.some(({ answers }) => answers.length > FEW));
    prompts.replaceChildren(...[...groups].map(([prompt, columns]) => promptView(prompt, columns, all)));
  };
  const show = (chosen) => {
    last = chosen;
    // Drawn only where it is another: somebody may have selected a text in it.
    const tale = JSON.stringify(chosen.map(({ run, slot }) => [run.id, slot, run.samples]));
    if (tale !== told) draw();
    told = tale;
  };
  return { node, show };
}

// Which run answered what to each prompt: `prompt → [{ run, slot, answers }]`.
function byPrompt(chosen) {
  const groups = new Map();
  chosen.forEach(({ run, slot }) => {
    for (const sample of run.samples) {
      if (!groups.has(sample.prompt)) groups.set(sample.prompt, []);
      const columns = groups.get(sample.prompt);
      if (columns.at(-1)?.run !== run) columns.push({ run, slot, answers: [] });
      columns.at(-1).answers.push(sample);
    }
  });
  return groups;
}

function promptView(prompt, columns, all) {
  return element(
    "article",
    { class: "prompt", testid: "sample-prompt" },
    element("h3", { class: "asked", dir: "auto" }, prompt),
    element("div", { class: "columns" }, ...columns.map((column) => answersView(column, all, columns.length > 1))),
  );
}

function answersView({ run, slot, answers }, all, isNamed) {
  const items = (all ? answers : some(answers)).map(({ step, answer }) => {
    const at = element("span", { class: "note" });
    setText(at, "atStep", { step: figure(step, 12) });
    return element("li", { testid: "sample" }, at, element("div", { class: "prose", dir: "auto" }, answer));
  });
  const name = element("p", { class: "who" }, element("span", { class: "swatch" }), element("span", { dir: "auto" }, run.id));
  return element("div", { class: `series-${slot}` }, ...(isNamed ? [name] : []), element("ol", { class: "answers-by-step" }, ...items));
}

// The first and the last, and as evenly as it goes between.
function some(answers) {
  if (answers.length <= FEW) return answers;
  return Array.from({ length: FEW }, (_, index) => answers[Math.round((index * (answers.length - 1)) / (FEW - 1))]);
}

/** What the runs noticed. Gives `{ node, show(chosen) }`. */
export function noticesView() {
  const items = element("ul", { class: "run-notices", testid: "run-notices" });
  const node = element("section", { class: "block" }, element("h2", { text: "runNotices" }), items);
  const show = (chosen) => {
    const lines = chosen.flatMap(({ run, slot }) => run.notices.map((notice) => noticeLine(notice, slot)));
    node.hidden = lines.length === 0;
    items.replaceChildren(...lines);
  };
  return { node, show };
}

function noticeLine({ step, text }, slot) {
  const at = element("span", { class: "note" });
  setText(at, "atStep", { step: figure(step, 12) });
  return element("li", { class: `series-${slot}` }, element("span", { class: "swatch" }), at, element("span", { class: "prose", dir: "auto" }, text));
}
