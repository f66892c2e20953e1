// Where questions are written. While answers come, the button that sends is the one that stops.

import { button, element, submitOnEnter } from "./dom.js";

const TOUCH = matchMedia("(pointer: coarse)");

/** Gives `{ node, focus(), busy(on) }`. `send(text)` says whether it took the text. */
export function composer(send, stop) {
  const input = element("textarea", {
    id: "input", testid: "input", class: "growing", rows: 2, label: "question", placeholder: "questionHint",
    enterkeyhint: "send", autocomplete: "off", dir: "auto",
  });
  const submit = () => {
    if (!stopButton.hidden) return;
    if (input.value.trim() === "") input.focus();
    else if (send(input.value)) input.value = "";
  };
  const sendButton = element("button", { type: "submit", id: "send", testid: "send", class: "main", text: "send" });
  const stopButton = button("stop", stop, { id: "stop", testid: "stop", hidden: true });
  const node = element(
    "form",
    { class: "composer", on: { submit: (event) => (event.preventDefault(), submit()) } },
    input,
    sendButton,
    stopButton,
  );
  submitOnEnter(input, submit);

  const busy = (on) => {
    const [from, to] = on ? [sendButton, stopButton] : [stopButton, sendButton];
    // A button that goes takes the focus of whoever pressed it along. So do those in the
    // messages that began the answer; an editor is gone by now.
    const active = document.activeElement;
    const lost = active === from || (on && (active === document.body || active.matches(".last-only")));
    to.hidden = false;
    // On a phone, the focus in the question would open the keyboard over the answer.
    if (lost) (on || TOUCH.matches ? to : input).focus();
    from.hidden = true;
  };
  return { node, focus: () => input.focus(), busy };
}
