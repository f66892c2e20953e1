// For which model, and how, a data file is looked at.

import { element } from "./dom.js";
import { setPlaceholder, setText } from "./i18n.js";

const TRAIN_ON = [
  ["all-answers", "trainOnAll"],
  ["last-answer", "trainOnLast"],
  ["whole-text", "trainOnWhole"],
];

function field(input, text, ...below) {
  return element("div", {}, element("label", { for: input.id, text }), input, ...below);
}

/**
 * Gives `{ node, useModels(models), values(), valid() }`. `values()` are those of the server's
 * requests; what is null is left to it.
 */
export function dataSettings(changed) {
  let models = [];
  const model = element("select", { id: "data-model", testid: "data-model", on: { change: () => (tellSystem(), changed()) } });
  const options = TRAIN_ON.map(([value, text]) => element("option", { value, text }));
  const trainOn = element("select", { id: "data-train-on", testid: "data-train-on", on: { change: () => changed() } }, ...options);
  const length = element("input", {
    id: "data-max-length", testid: "data-max-length", type: "number", min: 1, max: 1_000_000, step: 1, inputmode: "numeric",
    placeholder: "leftToServer", "aria-describedby": "data-max-length-wrong", on: { change: () => (tellLength(), changed()), input: () => tellLength() },
  });
  const wrong = element("p", { class: "bad note", id: "data-max-length-wrong", hidden: true });
  setText(wrong, "outOfRangeWhole", { min: "1", max: "1000000" });
  const system = element("textarea", { id: "data-system", testid: "data-system", rows: 1, dir: "auto", on: { change: () => changed() } });
  const node = element(
    "form",
    { class: "data-settings", label: "dataSettings", testid: "data-settings", on: { submit: (event) => event.preventDefault() } },
    field(model, "model"),
    field(trainOn, "trainOn"),
    field(length, "maxLength", wrong),
    field(system, "dataSystem"),
  );

  const valid = () => length.validity.valid;
  const tellLength = () => {
    length.setAttribute("aria-invalid", String(!valid()));
    wrong.hidden = valid();
  };
  const tellSystem = () => {
    const own = models.find(({ id }) => id === model.value)?.system;
    if (own) setPlaceholder(system, "asIs", { text: own });
    else setPlaceholder(system, "systemNone");
  };
  const useModels = (listed) => {
    const before = model.value;
    models = listed;
    model.replaceChildren(...models.map(({ id }) => element("option", { value: id }, id)));
    // Without one that is gone, the server's first.
    if (models.some(({ id }) => id === before)) model.value = before;
    tellSystem();
  };
  const values = () => ({
    model: model.value || null,
    system: system.value.trim() === "" ? null : system.value,
    train_on: trainOn.value,
    max_length: length.value === "" ? null : length.value,
  });
  return { node, useModels, values, valid };
}
