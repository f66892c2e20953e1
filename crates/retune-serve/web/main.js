// The shell: which view is shown, and in which language.

import { mount as mountChat } from "./chat.js";
import { mount as mountData } from "./data.js";
import { element } from "./dom.js";
import { language, languages, localize, phrase, setLabel, setLanguage, setText } from "./i18n.js";
import { mount as mountTraining } from "./training.js";

// A view is an entry here. `mount(element)` builds it, once, and gives `{ shown(path), hidden(),
// focus() }`: an answer goes on coming, and a file stays chosen, while another view is shown.
// The address is `#id`, or `#id/path/…`.
const VIEWS = [
  { id: "chat", mount: mountChat },
  { id: "training", mount: mountTraining },
  { id: "data", mount: mountData },
];

const root = document.getElementById("view");
const nav = document.getElementById("nav");
const built = new Map();
let current = null;

function show() {
  const [id, ...path] = addressed();
  // The page's own address is the first one's; a fragment that names none changes nothing.
  const wanted = VIEWS.find((view) => view.id === id) ?? (location.hash === "" || !current ? VIEWS[0] : null);
  if (!wanted) return;
  if (current !== wanted) exchange(wanted);
  built.get(wanted).view.shown(path);
}

// The parts of the fragment; none if it is not well written.
function addressed() {
  try {
    return location.hash.slice(1).split("/").map(decodeURIComponent);
  } catch {
    return [];
  }
}

function exchange(wanted) {
  const before = built.get(current);
  if (before) {
    before.view.hidden();
    // A drawer that nobody sees would still keep everything else from being used.
    for (const drawer of before.node.querySelectorAll("dialog:modal")) drawer.close();
    before.node.inert = true;
  }
  if (!built.has(wanted)) {
    const node = element("section", { class: "view", id: `view-${wanted.id}`, testid: `view-${wanted.id}`, tabindex: "-1" });
    setLabel(node, wanted.id);
    root.append(node);
    built.set(wanted, { node, view: wanted.mount(node) });
  }
  built.get(wanted).node.inert = false;
  current = wanted;
  for (const link of nav.children) {
    if (link.dataset.view === wanted.id) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  tellTitle();
}

function tellTitle() {
  document.title = current ? `${phrase(current.id)} · retune` : "retune";
}

function buildNav() {
  setLabel(nav, "views");
  nav.append(...VIEWS.map(({ id }) => element("a", { href: `#${id}`, text: id, testid: `nav-${id}`, "data-view": id })));
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
    tellTitle();
  });
  label();
}

function buildSkip() {
  const skip = document.getElementById("skip");
  setText(skip, "skip");
  skip.addEventListener("click", (event) => {
    event.preventDefault();
    built.get(current).view.focus();
  });
}

buildSkip();
buildNav();
buildLanguageSwitch();
localize(document);
addEventListener("hashchange", show);
show();
