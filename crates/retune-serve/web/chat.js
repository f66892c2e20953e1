// The chat: asks one model, or two side by side, and keeps what they say.

import { fill } from "./answer.js";
import { explain, listModels } from "./api.js";
import { composer } from "./composer.js";
import { messagesBefore, newAnswer, newConversation, newTurn, title } from "./conversation.js";
import { element } from "./dom.js";
import * as history from "./history.js";
import { phrase } from "./i18n.js";
import { notices } from "./notice.js";
import { settingsPanel } from "./settings.js";
import { session } from "./storage.js";
import { toolbar } from "./toolbar.js";
import { transcript } from "./transcript.js";

// The conversation that a tab shows is there again when the tab is loaded again.
const OPEN = "retune.open";

/** Builds the chat in `root`: a view of main.js. */
export function mount(root) {
  let models = [];
  let conversation = history.load(session.get(OPEN)) ?? newConversation([""], "");
  // Stops the answers that are coming; null if there are none.
  let running = null;

  const notice = notices();
  const bar = toolbar({ choose, sideBySide, begin: () => begin(conversation.models), clear: () => removeConversation(conversation.id) });
  const messages = transcript({ edit, regenerate });
  const input = composer(ask, () => running?.abort());
  const settings = settingsPanel(bar.settingsToggle, { setSystem, keepSystem: keepIfBegun });
  const past = history.historyPanel(bar.historyToggle, {
    open: openKept, remove: removeConversation, systemOf: (id) => modelOf(id)?.system,
  });

  const modelOf = (id) => models.find((model) => model.id === id);
  const base = () => models.find((model) => model.kind === "base") ?? models[0];
  const adapter = () => models.find((model) => model.kind === "adapter") ?? models.findLast((model) => model !== base()) ?? models[0];

  // Which models answer

  function choose(thread, id) {
    conversation.models[thread] = id;
    showModels();
    keepIfBegun();
  }

  function sideBySide(on) {
    const [one] = conversation.models;
    if (!on) return begin([conversation.models.at(-1)]);
    // The one that was chosen against the base, or the base against the first adapter.
    const tuned = one === base()?.id ? adapter()?.id : one;
    begin([base()?.id ?? one, tuned ?? one]);
  }

  function showModels() {
    bar.show(models, conversation.models);
    settings.useModels(conversation.models.map(modelOf).filter(Boolean));
  }

  async function refreshModels() {
    try {
      models = await listModels();
    } catch (error) {
      const { key, values } = explain(error);
      notice.show("modelsFailed", { reason: phrase(key, values) }, { text: "retry", run: refreshModels });
      return;
    }
    notice.clear("modelsFailed");
    if (models.length === 0) notice.show("noModels", {}, { text: "retry", run: refreshModels });
    replaceGone();
    showModels();
  }

  // A model that the server no longer has cannot go on; another does, and the user is told.
  function replaceGone() {
    conversation.models.forEach((id, thread) => {
      if (modelOf(id) || models.length === 0) return;
      const other = thread === 0 && conversation.models.length > 1 ? base() : adapter();
      conversation.models[thread] = other.id;
      if (id !== "") notice.show("modelGone", { gone: id, model: other.id });
    });
  }

  // Which conversation is shown

  function show(next) {
    running?.abort();
    conversation = next;
    session.set(OPEN, conversation.id);
    replaceGone();
    showModels();
    settings.setSystem(conversation.system);
    messages.show(conversation);
    past.list(conversation.id);
  }

  function begin(ids) {
    show(newConversation(ids, settings.system()));
    if (!past.panel.isDrawer()) input.focus();
  }

  function openKept(id) {
    const kept = id === conversation.id ? null : history.load(id);
    if (kept) show(kept);
  }

  function removeConversation(id) {
    const removed = id === conversation.id ? conversation : history.load(id);
    if (id === conversation.id) begin(conversation.models);
    history.remove(id);
    past.list(conversation.id);
    if (!removed || removed.turns.length === 0) return;
    const undo = () => {
      keep(removed);
      show(removed);
    };
    notice.show("deleted", { title: title(removed) }, { text: "undo", run: undo });
  }

  function setSystem(text) {
    conversation.system = text;
  }

  // What nobody asked anything in is not worth a line in the list.
  function keepIfBegun() {
    if (conversation.turns.length > 0) keep(conversation);
  }

  function keep(kept) {
    if (!history.save(kept)) notice.show("notKept");
    past.list(conversation.id);
  }

  // Questions and answers

  function ask(question) {
    if (running || !isReady()) return false;
    const turn = newTurn(question, conversation.models);
    conversation.turns.push(turn);
    messages.add(turn);
    answer(turn, turn.answers.keys());
    return true;
  }

  function edit(question) {
    if (running || !isReady()) return;
    conversation.turns.pop();
    messages.show(conversation);
    ask(question);
  }

  function regenerate(thread) {
    if (running || !isReady()) return;
    const turn = conversation.turns.at(-1);
    const { attempt } = turn.answers[thread];
    turn.answers[thread] = { ...newAnswer(conversation.models[thread]), attempt: attempt + 1 };
    answer(turn, [thread]);
  }

  function isReady() {
    if (models.length > 0) return settings.check();
    refreshModels();
    return false;
  }

  async function answer(turn, threads) {
    // All that changes while answers come, when another conversation may be shown.
    const asked = conversation;
    const stop = new AbortController();
    running = stop;
    notice.clear();
    setBusy(true);
    keep(asked);
    await Promise.all([...threads].map((thread) => {
      const { attempt } = turn.answers[thread];
      const request = requestFor(asked, turn, thread, attempt);
      turn.answers[thread].seed = request.seed ?? null;
      messages.refresh(turn, thread);
      return fill(turn.answers[thread], request, stop.signal, () => messages.refresh(turn, thread));
    }));
    messages.flush();
    // Deleted while it was answered, it stays deleted.
    if (history.isKept(asked.id)) keep(asked);
    if (turn.answers.some(({ error }) => error?.values.status === "404")) refreshModels();
    if (running !== stop) return;
    running = null;
    setBusy(false);
  }

  function requestFor(asked, turn, thread, attempt) {
    const sampling = settings.sampling();
    // The same seed would give the same answer again.
    if (sampling.seed !== undefined) sampling.seed = Math.min(sampling.seed + attempt, Number.MAX_SAFE_INTEGER);
    return { model: asked.models[thread], messages: messagesBefore(asked, turn, thread), ...sampling };
  }

  function setBusy(on) {
    input.busy(on);
    messages.busy(on);
  }

  // Adapters come and go while the server runs.
  const shown = () => running || refreshModels();
  document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && shown());
  // Another tab kept or deleted one; or dates are written otherwise.
  addEventListener("storage", () => past.list(conversation.id));
  addEventListener("languagechange", () => past.list(conversation.id));
  addEventListener("pagehide", () => running && history.save(conversation));

  root.append(
    element(
      "div",
      { class: "chat" },
      past.panel.node,
      element("div", { class: "middle" }, bar.node, notice.node, messages.node, input.node),
      settings.panel.node,
    ),
  );
  show(conversation);
  if (!past.panel.isDrawer()) {
    past.panel.open();
    input.focus();
  }
  return { shown, hidden() {}, focus: input.focus };
}
