// One line that says what happened, and what can be done about it. It stays until it is
// dismissed or another takes its place: nobody reads against a clock.

import { button, element } from "./dom.js";
import { setText } from "./i18n.js";

/** Gives `{ node, show(key, values, action), clear(key) }`; an action is `{ text, run }`. */
export function notices() {
  const node = element("div", { class: "notices", role: "status", label: "notices", testid: "notice" });
  let shown = null;
  // With a key, only the notice that says this.
  const clear = (key = shown) => key === shown && node.replaceChildren();
  const show = (key, values = {}, action = null) => {
    shown = key;
    const text = element("span");
    setText(text, key, values);
    const act = () => {
      clear();
      action.run();
    };
    node.replaceChildren(
      text,
      ...(action ? [button(action.text, act, { testid: "notice-action" })] : []),
      button("dismiss", () => clear(), { class: "quiet", testid: "notice-dismiss" }),
    );
  };
  return { node, show, clear };
}
