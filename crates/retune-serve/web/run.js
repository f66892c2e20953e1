// A run, as the lines of its metrics.jsonl tell it.

/** What is known of a run before its first line. */
export function newRun(id) {
  return { id, state: null, next: 0, more: false, ...untold() };
}

function untold() {
  return { starts: [], train: [], evals: [], samples: [], notices: [], finish: null };
}

/** Takes an answer of the server: `{ state, events, next, more, from_start }`. */
export function take(run, { state, events, next, more, from_start }) {
  if (from_start) Object.assign(run, untold());
  for (const event of events) {
    if (Number.isFinite(event?.step)) TAKERS.get(event.type)?.(run, event);
  }
  Object.assign(run, { state, next, more });
}

const TAKERS = new Map([
  ["start", takeStart],
  ["train", (run, event) => takeLine(run.train, event)],
  ["eval", (run, event) => takeLine(run.evals, event)],
  ["sample", takeSample],
  ["notice", (run, event) => run.notices.push({ step: event.step, text: String(event.text ?? "") })],
  ["finish", (run, event) => (run.finish = event)],
]);

function takeStart(run, event) {
  // A run that goes on from a checkpoint does again what came after it.
  for (const lines of [run.train, run.evals, run.samples, run.notices]) drop(lines, (line) => line.step > event.step);
  run.finish = null;
  run.starts.push(event);
}

function takeLine(lines, event) {
  drop(lines, (line) => line.step >= event.step);
  lines.push(event);
}

function takeSample(run, { step, prompt, answer }) {
  const sample = { step, prompt: String(prompt ?? ""), answer: String(answer ?? "") };
  const same = run.samples.findIndex((each) => each.step === step && each.prompt === sample.prompt);
  if (same >= 0) run.samples[same] = sample;
  else run.samples.push(sample);
}

// The lines are in the order of their steps: those that go are at the end.
function drop(lines, goes) {
  while (lines.length > 0 && goes(lines.at(-1))) lines.pop();
}

/** The points of a figure over the steps; what was not finite is NaN. */
export function curve(lines, name) {
  return lines.map((line) => ({ x: line.step, y: number(line[name]) }));
}

/** A figure of a line; NaN where there is none. */
export function number(value) {
  return typeof value === "number" ? value : NaN;
}

export const maxSteps = (run) => number(run.starts.at(-1)?.max_steps);

/** The last step that is known of. */
export function lastStep(run) {
  const lines = [run.starts, run.train, run.evals].map((each) => each.at(-1)?.step ?? 0);
  return Math.max(...lines, run.finish?.step ?? 0);
}

/** What the list of runs says of one, as its lines have it: they are asked for more often. */
export function listEntry(run) {
  const [loss, evalLoss] = [run.train.at(-1)?.loss, run.evals.at(-1)?.eval_loss];
  return { id: run.id, state: run.state, step: lastStep(run), max_steps: maxSteps(run), loss, eval_loss: evalLoss };
}

/** Seconds of training so far; NaN before the first line. */
export function secondsSoFar(run) {
  return number((run.finish ?? run.train.at(-1))?.seconds);
}

// So many lines back, the pace is that of now.
const RECENT = 20;

/** Seconds until the last step, at the pace of the last lines; NaN if nobody can tell. */
export function secondsLeft(run) {
  if (run.state !== "running") return NaN;
  const [first, last] = [paceFrom(run), run.train.at(-1)];
  const pace = (number(last?.seconds) - number(first?.seconds)) / (last?.step - first?.step);
  return pace > 0 ? Math.max(0, maxSteps(run) - lastStep(run)) * pace : NaN;
}

function paceFrom({ train, starts }) {
  if (train.length > 1) return train[Math.max(0, train.length - 1 - RECENT)];
  return starts.length === 1 && starts[0].step === 0 ? { step: 0, seconds: 0 } : null;
}

/** The validation with the lowest loss. */
export function bestEval(run) {
  const finite = run.evals.filter((line) => Number.isFinite(line.eval_loss));
  return finite.reduce((best, line) => (best && best.eval_loss <= line.eval_loss ? best : line), null);
}
