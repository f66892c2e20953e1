// The messages of a conversation, in a region that follows what is added as long as the reader
// is at its end.

import { element } from "./dom.js";
import { setText } from "./i18n.js";
import { turnView } from "./turn.js";

// How far from the end, in pixels, still counts as being there.
const NEAR = 48;

/** Gives `{ node, show(conversation), add(turn), refresh(turn, thread), flush(), busy(on) }`. */
export function transcript(actions) {
  const empty = element("p", { class: "empty", testid: "empty" });
  const turns = element("div", { class: "turns" });
  const node = element(
    "div",
    { id: "messages", class: "messages", testid: "messages", role: "log", "aria-live": "polite", label: "messages", tabindex: "0" },
    empty,
    turns,
  );
  let views = new Map();
  let waiting = new Map();
  let frame = null;

  const toEnd = () => (node.scrollTop = node.scrollHeight);
  const following = (change) => {
    const atEnd = node.scrollHeight - node.scrollTop - node.clientHeight < NEAR;
    change();
    if (atEnd) toEnd();
  };
  const append = (turn) => {
    // Only the last question can be edited.
    [...views.values()].at(-1)?.settle();
    const view = turnView(turn, actions);
    views.set(turn, view);
    turns.append(view.node);
    empty.hidden = true;
  };
  const flush = () => {
    cancelAnimationFrame(frame);
    frame = null;
    following(() => {
      for (const [turn, threads] of waiting) threads.forEach((thread) => views.get(turn)?.refresh(thread));
    });
    waiting = new Map();
  };
  // Tokens may come faster than the screen shows them.
  const refresh = (turn, thread) => {
    if (!waiting.has(turn)) waiting.set(turn, new Set());
    waiting.get(turn).add(thread);
    frame ??= requestAnimationFrame(flush);
  };
  const show = (conversation) => {
    views = new Map();
    turns.replaceChildren();
    setText(empty, conversation.models.length > 1 ? "emptySideBySide" : "empty");
    empty.hidden = false;
    conversation.turns.forEach(append);
    toEnd();
  };
  const add = (turn) => {
    append(turn);
    toEnd();
  };
  const busy = (on) => node.classList.toggle("busy", on);
  return { node, show, add, refresh, flush, busy };
}
