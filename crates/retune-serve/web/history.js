// The conversations that this browser keeps, and the panel that lists them.

import { exported, parse, title } from "./conversation.js";
import { button, element } from "./dom.js";
import { language, phrase, setLabel } from "./i18n.js";
import { panel } from "./panel.js";
import { local } from "./storage.js";

// Each has a key of its own, so that two tabs do not write over each other's.
const PREFIX = "retune.conversation.";

/** Whether the browser keeps it beyond this page. */
export function save(conversation) {
  conversation.updated = Date.now();
  return local.set(PREFIX + conversation.id, JSON.stringify(conversation));
}

export const load = (id) => parse(local.get(PREFIX + id));
export const isKept = (id) => local.get(PREFIX + id) !== null;
export const remove = (id) => local.remove(PREFIX + id);

function all() {
  const kept = local.keys().filter((key) => key.startsWith(PREFIX)).map((key) => parse(local.get(key)));
  return kept.filter((each) => each !== null).sort((a, b) => b.updated - a.updated);
}

/** Offers a conversation as a file. */
function download(conversation, systemOf) {
  const text = JSON.stringify(exported(conversation, systemOf), null, 2);
  const url = URL.createObjectURL(new Blob([text, "\n"], { type: "application/json" }));
  const day = new Date(conversation.created).toISOString().slice(0, 10);
  element("a", { href: url, download: `retune-${day}-${conversation.id.slice(0, 6)}.json` }).click();
  // The browser reads the file after the click has returned.
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

/**
 * Gives `{ panel, list(openId) }`. `actions`: `open(id)`, `remove(id)`, and `systemOf(model)`,
 * a model's own system prompt.
 */
export function historyPanel(toggle, actions) {
  const items = element("ul", { class: "history", testid: "history-list" });
  const empty = element("p", { class: "note", text: "historyEmpty" });
  const side = panel(
    "history",
    "history",
    toggle,
    items,
    empty,
    element("p", { class: "note", text: "historyNote" }),
  );
  const open = (id) => {
    side.closeDrawer();
    actions.open(id);
  };
  const remove = (id) => {
    actions.remove(id);
    // The button that was pressed is gone, and the focus with it.
    (items.querySelector("button") ?? toggle).focus();
  };
  const list = (openId) => {
    const conversations = all();
    empty.hidden = conversations.length > 0;
    items.replaceChildren(...conversations.map((each) => historyItem(each, each.id === openId, { ...actions, open, remove })));
  };
  return { panel: side, list };
}

function historyItem(conversation, isOpen, { open, remove, systemOf }) {
  const values = { title: title(conversation) || phrase("untitled") };
  const labelled = (node, key) => {
    setLabel(node, key, values);
    return node;
  };
  const small = (key, click) => button(key, click, { class: "quiet small", testid: `history-${key}` });
  const opener = element(
    "button",
    { type: "button", class: "open", testid: "history-open", "aria-current": isOpen && "true", on: { click: () => open(conversation.id) } },
    element("span", { class: "title", dir: "auto" }, values.title),
    element("span", { class: "note" }, `${conversation.models.join(" | ")} · ${when(conversation.updated)}`),
  );
  return element(
    "li",
    {},
    labelled(opener, "openConversation"),
    element(
      "div",
      { class: "buttons" },
      labelled(small("export", () => download(conversation, systemOf)), "exportConversation"),
      labelled(small("delete", () => remove(conversation.id)), "deleteConversation"),
    ),
  );
}

function when(time) {
  return new Date(time).toLocaleString(language().tag, { dateStyle: "medium", timeStyle: "short" });
}
