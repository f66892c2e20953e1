// A panel beside the chat where there is room, and a drawer over it where there is not.

import { button, element } from "./dom.js";

// The width is style.css's, too.
const NARROW = matchMedia("(max-width: 60rem)");

/**
 * A closed panel. `toggle` is the button that opens and closes it.
 * Gives `{ node, open(), closeDrawer(), isDrawer() }`.
 */
export function panel(id, title, toggle, ...content) {
  const node = element(
    "dialog",
    { id, class: "panel", testid: id, "aria-labelledby": `${id}-title` },
    element(
      "div",
      { class: "inside" },
      element(
        "div",
        { class: "bar" },
        element("h2", { id: `${id}-title`, text: title }),
        button("close", () => node.close(), { class: "quiet", testid: `${id}-close` }),
      ),
      ...content,
    ),
  );
  const tell = () => toggle.setAttribute("aria-expanded", String(node.open));
  const open = () => {
    if (node.open) return;
    // A modal dialog keeps the focus inside and closes on Escape. Beside the chat, the focus
    // stays where it is, for which `show()` has no way.
    if (NARROW.matches) node.showModal();
    else node.open = true;
    tell();
  };
  const closeDrawer = () => node.matches(":modal") && node.close();
  // A drawer that is open keeps its place when the window grows, and a panel when it shrinks
  // would cover the chat.
  const resized = () => node.open && node.close();

  toggle.setAttribute("aria-controls", id);
  toggle.addEventListener("click", () => (node.open ? node.close() : open()));
  node.addEventListener("close", tell);
  // `inside` fills the drawer: what hits the dialog itself is beside it.
  node.addEventListener("click", (event) => event.target === node && closeDrawer());
  NARROW.addEventListener("change", resized);
  tell();
  return { node, open, closeDrawer, isDrawer: () => NARROW.matches };
}
