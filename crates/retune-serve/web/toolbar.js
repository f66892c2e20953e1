// What stands above the messages: which models answer, and what else can be opened or begun.

import { button, element } from "./dom.js";
import { setLabel, setText } from "./i18n.js";

/**
 * Gives `{ node, historyToggle, settingsToggle, show(models, chosen) }`. `actions`:
 * `choose(thread, id)`, `sideBySide(on)`, `begin()`, `clear()`.
 */
export function toolbar(actions) {
  // What these open listens to them itself.
  const historyToggle = button("history", () => {}, { testid: "history-toggle" });
  const settingsToggle = button("settings", () => {}, { testid: "settings-toggle" });
  const both = element("input", {
    id: "side-by-side", testid: "side-by-side", type: "checkbox", role: "switch",
    on: { change: () => actions.sideBySide(both.checked) },
  });
  const selects = [0, 1].map((thread) => modelSelect(thread, actions.choose));
  const node = element(
    "div",
    { class: "toolbar", role: "group", label: "toolbar" },
    historyToggle,
    button("newChat", actions.begin, { testid: "new-chat" }),
    button("clear", actions.clear, { testid: "clear" }),
    ...selects.map((select) => select.node),
    element("label", { class: "switch", for: "side-by-side" }, both, element("span", { text: "sideBySide" })),
    settingsToggle,
  );
  const show = (models, chosen) => {
    both.checked = chosen.length > 1;
    node.dataset.threads = chosen.length;
    selects.forEach((select, thread) => select.show(models, chosen[thread], both.checked));
  };
  return { node, historyToggle, settingsToggle, show };
}

function modelSelect(thread, choose) {
  const id = thread === 0 ? "model" : "model-right";
  const select = element("select", { id, testid: id, on: { change: () => choose(thread, select.value) } });
  const label = element("label", { for: id });
  const node = element("div", { class: "model" }, label, select);
  const show = (models, chosen, sideBySide) => {
    node.hidden = chosen === undefined;
    setText(label, sideBySide ? ["left", "right"][thread] : "model");
    setLabel(select, sideBySide ? ["modelLeft", "modelRight"][thread] : "model");
    select.replaceChildren(...models.map((model) => modelOption(model)));
    select.value = chosen ?? "";
    select.disabled = models.length === 0;
  };
  return { node, show };
}

function modelOption({ id, kind }) {
  const option = element("option", { value: id }, id);
  if (kind === "base") setText(option, "baseModel", { id });
  return option;
}
