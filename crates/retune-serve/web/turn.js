// A question and its answers, as elements.

import { button, copyButton, element, submitOnEnter } from "./dom.js";
import { setLabel, setText } from "./i18n.js";
import { textView } from "./text.js";

/**
 * Gives `{ node, refresh(thread), settle() }`; the last ends an edit that is open. `actions`:
 * `edit(question)` for the last question, `regenerate(thread)` for its answers. style.css shows
 * their buttons in the last turn only, and not while answers come.
 */
export function turnView(turn, actions) {
  const answers = turn.answers.map((_, thread) => answerView(turn, thread, actions));
  const question = questionView(turn, actions);
  const node = element(
    "div",
    { class: "turn", testid: "turn" },
    question.node,
    element("div", { class: "answers", "data-threads": answers.length }, ...answers.map((answer) => answer.node)),
  );
  return { node, refresh: (thread) => answers[thread].refresh(), settle: question.settle };
}

function questionView(turn, actions) {
  const text = textView();
  text.show(turn.question);
  const bar = element(
    "div",
    { class: "bar" },
    copyButton(() => turn.question, { class: "quiet small", testid: "copy-question" }),
    button("edit", () => edit(), { class: "quiet small last-only", testid: "edit" }),
  );
  const node = element("article", { class: "question", testid: "question", label: "you" }, text.node, bar);
  const settle = () => node.replaceChildren(text.node, bar);
  const edit = () => {
    const form = editor(turn.question, actions.edit, () => {
      settle();
      bar.lastChild.focus();
    });
    node.replaceChildren(form.node);
    form.focus();
  };
  return { node, settle };
}

function editor(question, send, cancel) {
  const area = element("textarea", { class: "growing", rows: 2, label: "editLabel", testid: "edit-input" });
  area.value = question;
  const submit = () => area.value.trim() !== "" && send(area.value);
  submitOnEnter(area, submit);
  area.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !event.isComposing) cancel();
  });
  const node = element(
    "div",
    { class: "editor" },
    area,
    element(
      "div",
      { class: "buttons" },
      button("cancel", cancel, { testid: "edit-cancel" }),
      button("send", submit, { class: "main", testid: "edit-send" }),
    ),
  );
  return { node, focus: () => area.focus() };
}

function answerView(turn, thread, actions) {
  const text = textView();
  const name = element("p", { class: "who" });
  const figures = element("p", { class: "note figures", testid: "figures" });
  const ending = element("p", { class: "ending", testid: "ending", hidden: true });
  const bar = element(
    "div",
    { class: "bar" },
    copyButton(() => turn.answers[thread].content, { class: "quiet small", testid: "copy" }),
    button("regenerate", () => actions.regenerate(thread), { class: "quiet small last-only", testid: "regenerate" }),
  );
  const foot = element("div", { class: "foot" }, figures, bar);
  const node = element("article", { class: "answer", testid: "answer" }, name, text.node, ending, foot);

  const refresh = () => {
    const answer = turn.answers[thread];
    const coming = !answer.finish && !answer.error;
    name.textContent = answer.model;
    setLabel(node, "answerOf", { model: answer.model });
    text.show(answer.content);
    // A screen reader waits for the whole answer instead of reading each piece of it.
    node.setAttribute("aria-busy", String(coming));
    bar.hidden = coming;
    showFigures(figures, coming ? [] : figuresOf(answer));
    showEnding(ending, answer);
  };
  refresh();
  return { node, refresh };
}

// Each figure is an element, so that it is said again when the language changes.
function showFigures(node, figures) {
  const spans = figures.map(([key, values]) => {
    const figure = element("span");
    setText(figure, key, values);
    return figure;
  });
  node.replaceChildren(...spans.flatMap((span, index) => (index > 0 ? [" · ", span] : [span])));
}

function figuresOf({ tokens, counted, rate, first, seed }) {
  const figures = [];
  if (tokens !== null) figures.push([counted ? "tokens" : "tokensAbout", { tokens }]);
  if (rate !== null) figures.push(["rate", { rate }]);
  if (first !== null) figures.push(["firstAfter", { first }]);
  if (seed !== null) figures.push(["seedWas", { seed: String(seed) }]);
  return figures;
}

const ENDINGS = { length: "finishLength", repetition: "finishRepetition", stopped: "finishStopped" };

function showEnding(node, { finish, error }) {
  node.hidden = !error && (!finish || finish === "stop");
  node.classList.toggle("bad", error !== null);
  if (error) setText(node, error.key, error.values);
  else if (!node.hidden) setText(node, ENDINGS[finish] ?? "finishOther", { finish });
}
