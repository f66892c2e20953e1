// The system prompt, and how answers are sampled.
//
// The fields begin with the model's own values. Only what the user changes is sent, so that the
// server's defaults hold for the rest, and so that two models side by side keep each their own.

import { button, element } from "./dom.js";
import { setLabel, setPlaceholder, setText } from "./i18n.js";
import { panel } from "./panel.js";

const FIELDS = [
  { name: "temperature", min: 0, max: 2, step: 0.05 },
  { name: "top_p", min: 0, max: 1, step: 0.05, above: true },
  { name: "top_k", min: 0, max: 1_000_000, step: 1, whole: true },
  { name: "repetition_penalty", min: 0, max: 10, step: 0.05, above: true },
  { name: "max_tokens", min: 1, max: 1_000_000, step: 1, whole: true },
  // Larger seeds are not exact as numbers of JavaScript.
  { name: "seed", min: 0, max: Number.MAX_SAFE_INTEGER, step: 1, whole: true },
];

/**
 * Gives `{ panel, useModels(models), system(), setSystem(text), sampling(), check() }`. `actions`:
 * `setSystem(text)` while it is written, `keepSystem()` when it is.
 */
export function settingsPanel(toggle, actions) {
  let models = [];
  const system = element("textarea", {
    id: "system", testid: "system", rows: 4, "aria-describedby": "system-note",
    on: { input: () => (actions.setSystem(system.value), tellChanged()), change: () => actions.keepSystem() },
  });
  const fields = FIELDS.map((field) => samplingField(field, () => tellChanged()));
  const reset = () => {
    fields.forEach((field) => field.reset(models));
    tellChanged();
  };
  const form = element(
    "form",
    { class: "settings", on: { submit: (event) => event.preventDefault() } },
    element("label", { for: "system", text: "system" }),
    system,
    element("p", { class: "note", id: "system-note", text: "systemNote" }),
    element("h3", { text: "sampling" }),
    ...fields.map((field) => field.node),
    button("reset", reset, { testid: "reset" }),
    element("p", { class: "note", text: "samplingNote" }),
  );
  const side = panel("settings", "settings", toggle, form);

  // Closed, the panel still says that answers are not what the model gives by itself.
  const tellChanged = () => {
    const changed = system.value.trim() !== "" || fields.some((field) => field.changed());
    setText(toggle, changed ? "settingsChanged" : "settings");
    setLabel(toggle, changed ? "settingsChangedLabel" : "settings");
  };
  const useModels = (chosen) => {
    models = chosen;
    fields.forEach((field) => field.follow(models));
    const [own, ...others] = new Set(models.map((model) => model.system));
    if (others.length > 0) setPlaceholder(system, "systemOwn");
    else if (own) setPlaceholder(system, "asIs", { text: own });
    else setPlaceholder(system, "systemNone");
    tellChanged();
  };
  const setSystem = (text) => {
    system.value = text;
    tellChanged();
  };
  const check = () => {
    const wrong = fields.find((field) => !field.valid());
    if (!wrong) return true;
    side.open();
    wrong.focus();
    return false;
  };
  const sampling = () => {
    const sent = Object.fromEntries(fields.filter((field) => field.changed()).map((field) => [field.name, field.value()]));
    // By themselves they have the server draw, where the field beside them may say 0.
    const temperature = fields[0].value();
    if (("top_p" in sent || "top_k" in sent) && Number.isFinite(temperature)) sent.temperature = temperature;
    return sent;
  };

  tellChanged();
  return { panel: side, useModels, setSystem, system: () => system.value, sampling, check };
}

function samplingField({ name, min, max, step, whole, above }, changedBy) {
  const input = element("input", {
    id: name, testid: name, type: "number", min, max, step, autocomplete: "off",
    inputmode: whole ? "numeric" : "decimal", "aria-describedby": `${name}-wrong`,
  });
  const wrong = element("p", { class: "bad note", id: `${name}-wrong`, hidden: true });
  setText(wrong, whole ? "outOfRangeWhole" : above ? "outOfRangeAbove" : "outOfRange", { min: String(min), max: String(max) });
  const node = element("div", { class: "field" }, element("label", { for: name, text: name }), input, wrong);

  let changed = false;
  let own = null;
  const valid = () => {
    if (!changed) return !input.validity.badInput;
    const value = input.valueAsNumber;
    return Number.isFinite(value) && (above ? value > min : value >= min) && value <= max && (!whole || Number.isInteger(value));
  };
  const tell = () => {
    node.classList.toggle("changed", changed);
    input.setAttribute("aria-invalid", String(!valid()));
    wrong.hidden = valid();
  };
  const showOwn = () => {
    if (!changed) input.value = own ?? "";
    tell();
  };
  const follow = (models) => {
    const values = [...new Set(models.map((model) => model.sampling[name] ?? null))];
    own = values.length === 1 ? values[0] : null;
    if (values.length > 1) setPlaceholder(input, "asIs", { text: values.map((value) => value ?? "–").join(" | ") });
    else setPlaceholder(input, name === "seed" ? "seedNone" : "ownValue");
    showOwn();
  };
  input.addEventListener("input", () => {
    // Emptied, it is the model's own again; text that is no number also has an empty value.
    changed = input.value !== "" && input.valueAsNumber !== own;
    tell();
    changedBy();
  });
  input.addEventListener("blur", () => input.validity.badInput || showOwn());
  const reset = (models) => {
    changed = false;
    input.value = "";
    follow(models);
  };
  return { name, node, follow, reset, valid, changed: () => changed, value: () => input.valueAsNumber, focus: () => input.focus() };
}
