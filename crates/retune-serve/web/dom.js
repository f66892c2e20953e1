// Elements, made by calls. Text only ever becomes text nodes: nothing here parses HTML.

import { setLabel, setPlaceholder, setText } from "./i18n.js";

/**
 * An element with attributes and children.
 *
 * `text`, `label` and `placeholder` are keys of i18n.js; `on` maps events to listeners;
 * `testid` is what browser tests look for. Other attributes are set as they are: `true` is an
 * empty one, `false` and `undefined` none.
 */
export function element(tag, attributes = {}, ...children) {
  const { text, label, placeholder, on = {}, testid, ...plain } = attributes;
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(plain)) {
    if (value !== false && value !== undefined) node.setAttribute(name, value === true ? "" : value);
  }
  for (const [event, listener] of Object.entries(on)) node.addEventListener(event, listener);
  if (testid) node.dataset.testid = testid;
  if (text) setText(node, text);
  if (label) setLabel(node, label);
  if (placeholder) setPlaceholder(node, placeholder);
  node.append(...children);
  return node;
}

/** A button that does not submit a form. */
export function button(text, click, attributes = {}) {
  return element("button", { type: "button", text, ...attributes, on: { click } });
}

/** A button that copies what `text()` says, and says so for a moment. */
export function copyButton(text, attributes = {}) {
  const node = button("copy", async () => {
    setText(node, (await copy(text())) ? "copied" : "notCopied");
    setTimeout(() => setText(node, "copy"), 1500);
  }, attributes);
  return node;
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyBySelection(text);
  }
}

// Without https, browsers have the clipboard's own interface for localhost only.
function copyBySelection(text) {
  const active = document.activeElement;
  const area = element("textarea", { class: "offscreen", readonly: true, "aria-hidden": "true" });
  area.value = text;
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  active?.focus({ preventScroll: true });
  return done;
}

/**
 * Calls `submit` on Enter, but for Shift+Enter, which is a new line, and for the Enter that
 * takes a word from an input method. Safari ends the composition before that key arrives, and
 * still gives it the code 229.
 */
export function submitOnEnter(area, submit) {
  area.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
    event.preventDefault();
    submit();
  });
}
