// The language that is shown, and the texts of the page in it.

import { en } from "./en.js";
import { local } from "./storage.js";
import { zh } from "./zh.js";

/** The texts. All tables have the same keys. */
export const TABLES = { en, zh };

/** The languages: the id of the table, the `lang` attribute, and the name in the language itself. */
export const languages = [
  { id: "en", tag: "en", name: "English" },
  { id: "zh", tag: "zh-CN", name: "中文" },
];

const CHOICE = "retune.language";
const find = (id) => languages.find((each) => each.id === id);
let current = find(local.get(CHOICE)) ?? find(navigator.language.slice(0, 2).toLowerCase()) ?? languages[0];

export const language = () => current;

export function setLanguage(id) {
  current = find(id);
  local.set(CHOICE, id);
  localize(document);
  // What is not said through this module, such as a date, is written again by who wrote it.
  dispatchEvent(new Event("languagechange"));
}

/** A text in the language that is shown. Numbers are written as the language does. */
export function phrase(key, values = {}) {
  const template = TABLES[current.id][key] ?? key;
  return template.replace(/\{(\w+)\}/g, (_, name) => written(values[name] ?? ""));
}

function written(value) {
  if (typeof value !== "number") return String(value);
  return value.toLocaleString(current.tag, { maximumFractionDigits: value < 10 ? 2 : 1 });
}

// What each element says, so that it can be said again in another language.
const said = new WeakMap();

function say(node, slot, key, values) {
  if (!said.has(node)) said.set(node, new Map());
  said.get(node).set(slot, { key, values });
  node.dataset.said = "";
  write(node, slot, key, values);
}

function write(node, slot, key, values) {
  if (slot === "text") node.textContent = phrase(key, values);
  else node.setAttribute(slot, phrase(key, values));
}

export const setText = (node, key, values) => say(node, "text", key, values);
export const setLabel = (node, key, values) => say(node, "aria-label", key, values);
export const setPlaceholder = (node, key, values) => say(node, "placeholder", key, values);

/** Says everything under `root` again, in the language that is shown now. */
export function localize(root) {
  document.documentElement.lang = current.tag;
  for (const node of root.querySelectorAll("[data-said]")) {
    for (const [slot, { key, values }] of said.get(node) ?? []) write(node, slot, key, values);
  }
}
