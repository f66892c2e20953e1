// The data page: what is wrong with a data file, and what a model will learn from its rows.

import { dataRow, explain, lintData, listModels } from "./api.js";
import { fileChooser } from "./datafile.js";
import { dataSettings } from "./datasettings.js";
import { element } from "./dom.js";
import { reportView } from "./findings.js";
import { phrase } from "./i18n.js";
import { notices } from "./notice.js";
import { rowView } from "./rowview.js";

/** Builds the page in `root`: a view of main.js. */
export function mount(root) {
  let file = null;
  // Stops the check that is under way.
  let checking = null;

  const notice = notices();
  const chooser = fileChooser(take);
  const settings = dataSettings(() => file && look());
  const report = reportView((row) => rows.open(row, { reveal: true }));
  const rows = rowView((row, signal) => dataRow(file, row, settings.values(), signal));
  const columns = element("div", { class: "data-columns", hidden: true }, report.node, rows.node);

  function take(chosen) {
    file = chosen;
    columns.hidden = false;
    rows.reset();
    look();
  }

  // With other settings, a row has other tokens, and the file other faults.
  function look() {
    if (!settings.valid()) return;
    check();
    rows.again();
  }

  async function check() {
    checking?.abort();
    const { signal } = (checking = new AbortController());
    report.busy();
    try {
      const found = await lintData(file, settings.values(), signal);
      if (signal.aborted) return;
      report.show(found);
      rows.setCount(found.rows);
    } catch (error) {
      if (!signal.aborted) report.fail(explain(error), check);
    }
  }

  async function refreshModels() {
    try {
      settings.useModels(await listModels());
      notice.clear("modelsFailed");
    } catch (error) {
      const { key, values } = explain(error);
      notice.show("modelsFailed", { reason: phrase(key, values) }, { text: "retry", run: refreshModels });
    }
  }

  chooser.catchDrops(root);
  root.append(
    element("div", { class: "page" }, element("div", { class: "main-column" }, notice.node, chooser.node, settings.node, columns)),
  );
  return { shown: () => refreshModels(), hidden() {}, focus: chooser.focus };
}
