// The shell: which view is shown, and in which language.

import { mount as mountChat } from "./chat.js";
import { element } from "./dom.js";
import { language, languages, localize, setLanguage, setText } from "./i18n.js";

// A view is an entry here: `mount` builds it in an element and returns what takes it down again.
const VIEWS = [{ id: "chat", title: "chat", mount: mountChat }];

const root = document.getElementById("view");
const nav = document.getElementById("nav");
let shown = null;
let unmount = () => {};

function show() {
  const wanted = VIEWS.find((view) => `#${view.id}` === location.hash);
  // A fragment that names no view, such as the skip link's, changes nothing.
  const view = wanted ?? shown ?? VIEWS[0];
  if (view === shown) return;
  unmount();
  root.replaceChildren();
  unmount = view.mount(root) ?? (() => {});
  shown = view;
  for (const link of nav.children) {
    if (link.hash === `#${view.id}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

function buildNav() {
  nav.hidden = VIEWS.length < 2;
  nav.append(...VIEWS.map((view) => element("a", { href: `#${view.id}`, text: view.title })));
}

function buildLanguageSwitch() {
  const button = document.getElementById("language");
  const other = () => languages.find((each) => each.id !== language().id);
  const label = () => {
    button.textContent = other().name;
    button.lang = other().tag;
  };
  button.addEventListener("click", () => {
    setLanguage(other().id);
    label();
  });
  label();
}

setText(document.getElementById("skip"), "skip");
buildNav();
buildLanguageSwitch();
localize(document);
addEventListener("hashchange", show);
show();
