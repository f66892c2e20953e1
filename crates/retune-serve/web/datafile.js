// Where a data file is chosen, or dropped.

import { element } from "./dom.js";
import { bytes } from "./format.js";
import { setText } from "./i18n.js";

// More the server does not take.
const MOST = 64 * 1024 * 1024;

/**
 * Gives `{ node, focus(), catchDrops(area) }`. `taken({ name, bytes })` is called with each file,
 * as it was when it was chosen: what is changed on the disk afterwards is another file.
 */
export function fileChooser(taken) {
  const input = element("input", { id: "data-file", testid: "data-file", type: "file", class: "file-input", on: { change: () => take(input.files[0]) } });
  const name = element("span", { class: "file-name", testid: "data-file-name", dir: "auto" });
  const hint = element("span", { class: "note" }, element("span", { text: "fileHint" }), element("br"), element("span", { text: "dataIntro" }));
  const wrong = element("p", { class: "bad", role: "alert", testid: "data-file-wrong" });
  const node = element(
    "div",
    { class: "chooser", testid: "data-drop" },
    input,
    element("label", { for: "data-file", class: "chooser-label" }, element("span", { class: "as-button", text: "chooseFile" }), name, hint),
    wrong,
  );

  async function take(file) {
    // Chosen again, the same file is read again.
    input.value = "";
    if (!file) return;
    wrong.replaceChildren();
    if (file.size > MOST) return setText(wrong, "fileTooLarge", { name: file.name });
    try {
      const read = new Blob([await file.arrayBuffer()]);
      setText(name, "fileIs", { name: file.name, size: bytes(file.size) });
      hint.hidden = true;
      node.classList.add("chosen");
      taken({ name: file.name, bytes: read });
    } catch {
      // A folder, or a file that may not be read.
      setText(wrong, "fileUnreadable", { name: file.name });
    }
  }

  const catchDrops = (area) => {
    const mark = (on) => node.classList.toggle("dropping", on);
    const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
    area.addEventListener("dragover", (event) => {
      if (!hasFiles(event)) return;
      event.preventDefault();
      mark(true);
    });
    area.addEventListener("dragleave", (event) => area.contains(event.relatedTarget) || mark(false));
    area.addEventListener("drop", (event) => {
      if (!hasFiles(event)) return;
      event.preventDefault();
      mark(false);
      take(event.dataTransfer.files[0]);
    });
  };
  return { node, focus: () => input.focus(), catchDrops };
}
