// The dialog that asks for an API key.

import { button, element } from "./dom.js";

let asked = null;

/**
 * Asks for the key, and gives null if nobody wants to tell. Whoever asks while the dialog is
 * open, such as the other column, gets the same answer.
 */
export function askForKey(refused) {
  asked ??= openDialog(refused).finally(() => (asked = null));
  return asked;
}

function openDialog(refused) {
  const input = element("input", {
    id: "key", testid: "key", type: "password", required: true, autocomplete: "off", spellcheck: "false",
    // A header has no place for anything but visible ASCII; what was pasted may have space around it.
    pattern: "\\s*[!-~]+\\s*",
  });
  const dialog = element(
    "dialog",
    { class: "ask", testid: "key-dialog", "aria-labelledby": "key-title" },
    element(
      "form",
      { method: "dialog", on: { submit: () => (dialog.returnValue = "given") } },
      element("h2", { id: "key-title", text: "keyTitle" }),
      element("p", { text: refused ? "keyRefused" : "keyWanted", class: refused ? "bad" : "" }),
      element("label", { for: "key", text: "key" }),
      input,
      element("p", { class: "note", text: "keyKept" }),
      element(
        "div",
        { class: "buttons" },
        button("cancel", () => dialog.close(), { testid: "key-cancel" }),
        element("button", { type: "submit", class: "main", text: "use", testid: "key-use" }),
      ),
    ),
  );
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      const key = input.value.trim();
      resolve(dialog.returnValue === "given" && key ? key : null);
    });
  });
}
