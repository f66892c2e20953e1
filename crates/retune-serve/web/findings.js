// What was found in a data file.

import { button, element } from "./dom.js";
import { NONE, figure, percent } from "./format.js";
import { setLabel, setText } from "./i18n.js";
import { ruleName } from "./rules.js";

const SEVERITIES = new Map([["error", "severityError"], ["warning", "severityWarning"], ["info", "severityInfo"]]);
// The server names no more rows of a finding.
const MOST_ROWS = 1_000;

const count = (value) => figure(value, 12);

/** An element with a text, in which values stand. */
function said(tag, key, values, attributes = {}) {
  const node = element(tag, attributes);
  setText(node, key, values);
  return node;
}

/** Gives `{ node, busy(), show(report), fail(reason, again) }`; `openRow(row)` shows a row. */
export function reportView(openRow) {
  const status = element("p", { class: "note", role: "status", testid: "lint-status" });
  const body = element("div", { class: "report", testid: "report" });
  const node = element("section", { class: "block" }, element("h2", { text: "findings" }), status, body);
  let last = null;

  const busy = () => {
    setText(status, "checking");
    node.setAttribute("aria-busy", "true");
  };
  const end = () => {
    status.replaceChildren();
    node.removeAttribute("aria-busy");
  };
  const show = (report) => {
    last = report;
    end();
    setText(status, report.findings.length > 0 ? "findingsAre" : "findingsNone", severities(report));
    body.replaceChildren(
      summary(report),
      ...report.findings.map((finding) => findingView(finding, openRow)),
      ...(report.phrases.length > 0 ? [phrasesView(report.phrases)] : []),
    );
  };
  const fail = (reason, again) => {
    last = null;
    end();
    const text = said("p", reason.key, reason.values, { class: "bad prose", role: "alert", testid: "lint-failed" });
    body.replaceChildren(text, button("retry", again, { testid: "lint-retry" }));
  };
  // Numbers are written as the language does.
  addEventListener("languagechange", () => last && show(last));
  return { node, busy, show, fail };
}

function severities({ findings }) {
  const of = (severity) => count(findings.filter((each) => each.severity === severity).length);
  return { errors: of("error"), warnings: of("warning"), infos: of("info") };
}

function summary({ rows, files, tokens }) {
  const [file] = files;
  const counted = tokens?.tokens > 0 ? tokens : null;
  const facts = [
    ["factRows", count(rows)],
    ["factFormat", [file?.format, file?.encoding, file?.layout].filter(Boolean).join(" · ") || NONE],
    ["factTokens", count(counted?.tokens)],
    ["factScored", counted ? `${count(counted.scored)} (${percent(counted.scored / counted.tokens)})` : NONE],
    ["factLongest", count(counted?.longest)],
  ];
  return element(
    "dl",
    { class: "facts", testid: "facts" },
    ...facts.filter(([, value]) => value !== NONE).map(([key, value]) =>
      element("div", { "data-fact": key }, element("dt", { text: key }), element("dd", {}, value))),
  );
}

function findingView(finding, openRow) {
  const { rule, severity, message, fix, examples, rows } = finding;
  const name = ruleName(rule);
  return element(
    "article",
    { class: "finding", testid: "finding", "data-rule": rule, "data-severity": severity },
    element(
      "div",
      { class: "bar" },
      said("span", SEVERITIES.get(severity) ?? "asIs", { text: severity }, { class: `severity ${SEVERITIES.has(severity) ? severity : ""}` }),
      element("h3", {}, element("code", { translate: "no" }, rule)),
      ...(name ? [element("span", {}, name)] : []),
      element("span", { class: "count" }, count(finding.count)),
    ),
    element("p", { class: "prose" }, message),
    said("p", "fixIs", { fix }, { class: "note prose" }),
    element("ul", { class: "examples" }, ...examples.map((example) => exampleView(example, openRow))),
    // Those that are not shown as examples already.
    ...(rows.length > examples.length ? [rowsView(rule, rows, openRow)] : []),
  );
}

function exampleView({ row, text, rows }, openRow) {
  return element(
    "li",
    {},
    ...(row ? [rowButton(row, openRow)] : []),
    element("span", { class: "prose", dir: "auto" }, text),
    ...(rows > 1 ? [said("span", "rowsLike", { rows: count(rows) }, { class: "note" })] : []),
  );
}

function rowButton({ row, line }, openRow) {
  const node = button("", () => openRow(row), { class: "small row-link", testid: "row-link", "data-row": row });
  setText(node, "rowIs", { row: count(row) });
  // Where it stands in the file helps whoever edits it.
  if (line > 0) setLabel(node, "rowAtLine", { row: count(row), line: count(line) });
  if (line > 0) node.title = node.getAttribute("aria-label");
  return node;
}

// So many buttons are made only for who wants to see them.
function rowsView(rule, rows, openRow) {
  const list = element("div", { class: "row-links" });
  const fill = () => list.childElementCount === 0 && list.append(...rows.map((row) => rowButton(row, openRow)));
  return element(
    "details",
    { testid: "finding-rows", on: { toggle: fill } },
    said("summary", rows.length < MOST_ROWS ? "rowsOfFinding" : "rowsFirst", { rows: count(rows.length) }),
    list,
  );
}

function phrasesView(phrases) {
  const items = phrases.map(({ phrase, answers, share }) =>
    element(
      "li",
      {},
      element("span", { class: "prose", dir: "auto" }, phrase),
      said("span", "phraseIn", { answers: count(answers), share: percent(share) }, { class: "note" }),
    ));
  return element("details", { class: "finding", testid: "phrases" }, element("summary", { text: "phrases" }), element("ul", { class: "examples" }, ...items));
}
