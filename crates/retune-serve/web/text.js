// A message as it is read: text with its line breaks, and code between fences of ```.
// What a model says is hostile until shown otherwise, so it becomes text nodes and nothing else.

import { copyButton, element } from "./dom.js";

const OPENING = /^ {0,3}(`{3,})([^`]*)$/;

/** Text in parts: `[{ kind: "prose" | "code", text, info }]`. Code that is not closed yet is code. */
export function split(text) {
  const parts = [];
  let lines = [];
  let fence = null;
  const end = (kind, info) => {
    // No part for the empty text around fences.
    if (kind === "code" || lines.some((line) => line !== "")) parts.push({ kind, info, text: lines.join("\n") });
    lines = [];
  };
  for (const line of text.split(/\r?\n/)) {
    const opening = fence === null && OPENING.exec(line);
    if (opening) {
      end("prose", "");
      fence = { marks: opening[1], info: opening[2].trim() };
    } else if (fence !== null && closes(line, fence.marks)) {
      end("code", fence.info);
      fence = null;
    } else {
      lines.push(line);
    }
  }
  end(fence === null ? "prose" : "code", fence?.info ?? "");
  return parts;
}

function closes(line, marks) {
  const found = /^ {0,3}(`+)\s*$/.exec(line);
  return found !== null && found[1].length >= marks.length;
}

/** An element that shows a text which may grow: `{ node, show(text) }`. */
export function textView() {
  const node = element("div", { class: "text" });
  let views = [];
  const show = (text) => {
    const parts = split(text);
    // What is there already stays as it is, and with it what the reader has selected.
    const same = views.findIndex((view, index) => view.kind !== parts[index]?.kind);
    for (const view of same < 0 ? [] : views.splice(same)) view.node.remove();
    parts.forEach((part, index) => {
      if (index === views.length) {
        views.push(part.kind === "code" ? codeView() : proseView());
        node.append(views[index].node);
      }
      views[index].show(part);
    });
  };
  return { node, show };
}

function proseView() {
  const text = document.createTextNode("");
  const node = element("div", { class: "prose", dir: "auto" }, text);
  return { kind: "prose", node, show: (part) => grow(text, withoutBlankEnds(part.text)) };
}

// No regular expression: one for the end would look at a long run of newlines again and again.
function withoutBlankEnds(text) {
  let [from, to] = [0, text.length];
  while (text[from] === "\n") from += 1;
  while (to > from && text[to - 1] === "\n") to -= 1;
  return text.slice(from, to);
}

function codeView() {
  const text = document.createTextNode("");
  const info = element("span", { class: "info" });
  const node = element(
    "div",
    { class: "code" },
    element("div", { class: "bar" }, info, copyButton(() => text.data, { class: "quiet small", label: "copyCode" })),
    element("pre", { tabindex: "0" }, element("code", { translate: "no" }, text)),
  );
  const show = (part) => {
    info.textContent = part.info.slice(0, 40);
    grow(text, part.text);
  };
  return { kind: "code", node, show };
}

function grow(node, text) {
  if (text.startsWith(node.data)) node.appendData(text.slice(node.length));
  else node.data = text;
}
