// Tokens, each a unit that can be seen: green is learned from, grey is not.

import { element } from "./dom.js";
import { figure } from "./format.js";
import { phrase, setLabel, setText } from "./i18n.js";

/** Gives `{ node, show(tokens) }`; `tokens`: `[{ id, text, role, scored }]`. */
export function tokensView() {
  let [tokens, nodes, active] = [[], [], null];
  const readout = element("p", { class: "note readout", testid: "token-readout" });
  const list = element("div", { class: "tokens", role: "listbox", "aria-orientation": "horizontal", label: "tokensList", testid: "tokens" });
  const key = element(
    "p",
    { class: "note key" },
    element("span", { class: "token learned", text: "learned" }),
    " ",
    element("span", { class: "token", text: "notLearned" }),
  );
  const node = element("div", { class: "token-view" }, key, readout, list);

  const tell = (index) => {
    if (index === null) setText(readout, "tokenHint");
    else setText(readout, "asIs", { text: described(tokens, index) });
  };
  // One of them is reached by the tab key, the others from it by the arrow keys.
  const activate = (index) => {
    nodes[active]?.setAttribute("tabindex", "-1");
    nodes[active]?.setAttribute("aria-selected", "false");
    active = index;
    nodes[active].setAttribute("tabindex", "0");
    nodes[active].setAttribute("aria-selected", "true");
    setLabel(nodes[active], "asIs", { text: described(tokens, index) });
    tell(index);
  };
  const indexOf = (event) => {
    const token = event.target.closest?.("[data-index]");
    return token ? Number(token.dataset.index) : null;
  };
  list.addEventListener("pointerover", (event) => indexOf(event) !== null && tell(indexOf(event)));
  list.addEventListener("pointerleave", () => tell(list.contains(document.activeElement) ? active : null));
  list.addEventListener("focusin", (event) => indexOf(event) !== null && activate(indexOf(event)));
  list.addEventListener("keydown", (event) => {
    const wanted = moveTo(event, nodes, active);
    if (wanted === null) return;
    event.preventDefault();
    nodes[wanted].focus();
  });

  const show = (next) => {
    [tokens, active] = [next, null];
    nodes = tokens.map(tokenNode);
    node.hidden = tokens.length === 0;
    list.replaceChildren(...groups(tokens, nodes));
    tell(null);
    nodes[0]?.setAttribute("tabindex", "0");
  };
  show([]);
  return { node, show };
}

function described(tokens, index) {
  const { id, text, role, scored } = tokens[index];
  return phrase("tokenIs", {
    text: text === "" ? phrase("partOfCharacter") : visible(text),
    index: figure(index + 1, 12),
    count: figure(tokens.length, 12),
    id: String(id),
    role: role ?? phrase("roleNone"),
    learned: phrase(scored ? "learned" : "notLearned"),
  });
}

function tokenNode({ text, scored }, index) {
  const kind = `token${scored ? " learned" : ""}${text === "" ? " part" : ""}`;
  return element("span", { class: kind, role: "option", tabindex: "-1", "aria-selected": "false", "data-index": index }, text === "" ? "⋯" : visible(text));
}

// The tokens of a turn stand together, and lines end where the text's do.
function groups(tokens, nodes) {
  const parts = [];
  tokens.forEach(({ role, text }, index) => {
    if (index === 0 || tokens[index - 1].role !== role) {
      const name = element("span", { class: "role", "aria-hidden": "true" });
      if (role) name.append(role);
      else setText(name, "roleNone");
      const pieces = element("div", { class: "pieces", role: "presentation" });
      parts.push(element("div", { class: "token-group", role: "group", "aria-label": role ?? phrase("roleNone"), "data-role": role ?? "" }, name, pieces));
    }
    parts.at(-1).lastChild.append(nodes[index], ...(text.includes("\n") ? [element("br")] : []));
  });
  return parts;
}

function moveTo({ key }, nodes, active) {
  const last = nodes.length - 1;
  const from = active ?? 0;
  if (key === "ArrowRight") return Math.min(last, from + 1);
  if (key === "ArrowLeft") return Math.max(0, from - 1);
  if (key === "Home") return 0;
  if (key === "End") return last;
  if (key === "ArrowDown") return below(nodes, from, 1);
  if (key === "ArrowUp") return below(nodes, from, -1);
  return null;
}

// The nearest token on the next line, or on the one before.
function below(nodes, from, by) {
  const middle = ({ left, right }) => (left + right) / 2;
  const place = nodes[from].getBoundingClientRect();
  let [found, line, distance] = [from, null, Infinity];
  for (let index = from + by; index >= 0 && index < nodes.length; index += by) {
    const other = nodes[index].getBoundingClientRect();
    if (Math.abs(other.top - place.top) < place.height / 2) continue;
    line ??= other.top;
    if (Math.abs(other.top - line) >= place.height / 2) break;
    const away = Math.abs(middle(other) - middle(place));
    if (away < distance) [found, distance] = [index, away];
  }
  return found;
}

// Line ends, and characters that cannot be seen, of which some would hide or turn others.
const UNSEEN = /[[\p{C}\p{Z}]--[ ]]/gv;
const NAMES = new Map([["\n", "⏎"], ["\t", "⇥"]]);

/** A text in which everything can be seen, but for the space, which the unit around it shows. */
export function visible(text) {
  const name = (character) => `U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;
  return text.replace(UNSEEN, (character) => NAMES.get(character) ?? name(character));
}
