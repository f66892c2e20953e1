// The training page: follows runs while they go on, and compares them.

import { explain, listRuns, runMetrics } from "./api.js";
import { element } from "./dom.js";
import { figuresView } from "./figures.js";
import { phrase } from "./i18n.js";
import { notices } from "./notice.js";
import { poller } from "./poll.js";
import { progressView } from "./progress.js";
import { listEntry, newRun, take } from "./run.js";
import { chartsView } from "./runcharts.js";
import { runList } from "./runlist.js";
import { noticesView, samplesView } from "./samples.js";

// As many as there are colours, which training.css has.
const MOST = 8;
const SOON = 1_000;
const LATER = 5_000;

/** Builds the page in `root`: a view of main.js. Its path are the chosen runs. */
export function mount(root) {
  let [folder, listed] = ["", null];
  // The chosen runs, in the order of choice: `id → { run, slot, poll }`.
  const chosen = new Map();
  // Until somebody chooses, it is the run that changed last.
  let hasChosen = false;
  let isShown = false;
  let frame = null;

  const notice = notices();
  const list = runList({ only: (id) => chooseBy([id]), also: (id, on) => chooseBy(withOrWithout(id, on)) });
  const empty = element("p", { class: "empty", text: "chooseRun", testid: "choose-run" });
  const parts = [progressView(), chartsView(), figuresView(), samplesView(), noticesView()];
  const content = element("div", { class: "run-content" }, ...parts.map((part) => part.node));

  // Which runs are shown

  const withOrWithout = (id, on) => [...[...chosen.keys()].filter((each) => each !== id), ...(on ? [id] : [])];

  function chooseBy(ids) {
    hasChosen = true;
    choose(ids);
  }

  function choose(ids) {
    for (const id of [...chosen.keys()].filter((each) => !ids.includes(each))) {
      chosen.get(id).poll.stop();
      succeeded(chosen.get(id).run);
      chosen.delete(id);
    }
    for (const id of ids.slice(0, MOST)) {
      if (!chosen.has(id)) chosen.set(id, followed(id));
    }
    tellAddress();
    draw();
  }

  // The lowest colour that is free: no run changes its own when another comes.
  function followed(id) {
    const taken = [...chosen.values()].map(({ slot }) => slot);
    const slot = Array.from({ length: MOST }, (_, each) => each).find((each) => !taken.includes(each));
    const run = newRun(id);
    const poll = poller((signal) => fetchMetrics(run, signal), () => pauseOf(run));
    if (isShown) poll.start();
    return { run, slot, poll };
  }

  function pauseOf(run) {
    if (failing.has(run)) return LATER;
    if (run.more) return 0;
    return run.state === "running" && document.visibilityState === "visible" ? SOON : LATER;
  }

  // The address says what is shown, so that it can be kept and sent.
  function tellAddress() {
    const path = ["training", ...[...chosen.keys()].map(encodeURIComponent)].join("/");
    if (isShown && location.hash !== `#${path}`) history.replaceState(null, "", `#${path}`);
  }

  // What the server has

  const listing = poller((signal) => attempt(list, "runsFailed", signal, () => fetchList(signal)), () => LATER);

  async function fetchList(signal) {
    const answer = await listRuns(signal);
    [folder, listed] = [answer.folder, answer.runs];
    if (!hasChosen && chosen.size === 0) choose(listed.slice(0, 1).map(({ id }) => id));
    draw();
  }

  const fetchMetrics = (run, signal) => attempt(run, "metricsFailed", signal, async () => {
    take(run, await runMetrics(run.id, run.next, signal));
    if (!run.more) draw();
  });

  // What could not be fetched is told once, and tried again.
  const failing = new Set();

  async function attempt(what, key, signal, work) {
    try {
      await work();
      succeeded(what);
    } catch (error) {
      if (!signal.aborted) failed(what, key, error);
    }
  }

  function succeeded(what) {
    failing.delete(what);
    if (failing.size > 0) return;
    notice.clear("runsFailed");
    notice.clear("metricsFailed");
  }

  function failed(what, key, error) {
    if (error.code === "run_not_found") {
      choose(withOrWithout(what.id, false));
      notice.show("runGone", { run: what.id });
      return;
    }
    // Who does not tell the key is not asked again and again.
    if (error.status === 401) polls().forEach((poll) => poll.stop());
    if (failing.has(what)) return;
    failing.add(what);
    const reason = explain(error);
    notice.show(key, { run: what.id, reason: phrase(reason.key, reason.values) }, { text: "retry", run: again });
  }

  const polls = () => [listing, ...[...chosen.values()].map(({ poll }) => poll)];

  function again() {
    failing.clear();
    polls().forEach((poll) => poll.stop());
    polls().forEach((poll) => poll.start());
  }

  // What is seen

  function freshest(entry) {
    const run = chosen.get(entry.id)?.run;
    return run?.starts.length > 0 && !run.more ? listEntry(run) : entry;
  }

  function draw() {
    frame ??= requestAnimationFrame(() => {
      frame = null;
      const runs = [...chosen.values()];
      if (listed) list.show(folder, listed.map(freshest), (id) => chosen.get(id)?.slot, chosen.size === MOST);
      content.hidden = runs.length === 0;
      empty.hidden = runs.length > 0 || !listed?.length;
      if (runs.length > 0) parts.forEach((part) => part.show(runs));
    });
  }

  root.append(element("div", { class: "page" }, list.node, element("div", { class: "main-column" }, notice.node, empty, content)));
  content.hidden = true;
  empty.hidden = true;
  // Numbers and times are written as the language does.
  addEventListener("languagechange", draw);
  document.addEventListener("visibilitychange", () => isShown && document.visibilityState === "visible" && again());

  function shown(path) {
    isShown = true;
    if (path.length > 0) chooseBy(path);
    else tellAddress();
    polls().forEach((poll) => poll.start());
  }

  function hidden() {
    isShown = false;
    polls().forEach((poll) => poll.stop());
  }

  return { shown, hidden, focus: list.focus };
}
