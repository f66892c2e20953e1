// The server's API: its models, answers as they come, runs, and what is wrong with data.

import { askForKey } from "./key.js";
import { events } from "./sse.js";
import { session } from "./storage.js";

const KEY = "retune.key";

/** What the server refused, in its words. Within a stream, such an error has no status. */
export class ApiError extends Error {
  constructor(status, error, retryAfter = null) {
    super(typeof error?.message === "string" ? error.message : `HTTP ${status}`);
    this.status = status;
    this.code = error?.code ?? null;
    this.retryAfter = retryAfter;
  }
}

/** An answer that ended before the server said so. */
export class BrokenStream extends Error {}

/** The models: `[{ id, kind, system, sampling }]`. */
export async function listModels(signal) {
  const response = await send("v1/models", { signal });
  const { data } = await response.json();
  return data.map(({ id, retune = {} }) => ({
    id,
    kind: retune.kind ?? null,
    system: retune.system ?? null,
    sampling: retune.sampling ?? {},
  }));
}

/** The chunks of an answer. */
export async function* streamChat(request, signal) {
  const response = await send("v1/chat/completions", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ ...request, stream: true, stream_options: { include_usage: true } }),
    signal,
  });
  for await (const data of events(response.body)) {
    if (data === "[DONE]") return;
    const chunk = JSON.parse(data);
    if (chunk.error) throw new ApiError(null, chunk.error);
    yield chunk;
  }
  throw new BrokenStream();
}

/** The runs: `{ folder, runs: [{ id, state, step, max_steps, … }] }`, the one changed last first. */
export async function listRuns(signal) {
  return (await send("runs", { signal })).json();
}

/** The lines of a run's metrics from a byte on: `{ state, events, next, more, from_start }`. */
export async function runMetrics(id, after, signal) {
  return (await send(`runs/${encodeURIComponent(id)}/metrics?after=${after}`, { signal })).json();
}

/** What is wrong with a data file, as `retune data lint --json` says it. */
export function lintData(file, settings, signal) {
  return sendData("lint", file, settings, signal);
}

/** A row of a data file, token by token: `{ row, line, length, scored, tokens, turns, cut }`. */
export function dataRow(file, row, settings, signal) {
  return sendData("row", file, { row, ...settings }, signal);
}

// `file`: `{ name, bytes }`. Settings that are null are left to the server.
async function sendData(what, { name, bytes }, settings, signal) {
  const given = Object.entries(settings).filter(([, value]) => value !== null);
  const query = new URLSearchParams({ name, ...Object.fromEntries(given) });
  const headers = { "Content-Type": "application/octet-stream" };
  return (await send(`data/${what}?${query}`, { method: "POST", headers, body: bytes, signal })).json();
}

/** Sends a request, with the API key where the server wants one. */
async function send(path, options) {
  for (;;) {
    const key = session.get(KEY);
    const headers = { ...options.headers, ...(key && { Authorization: `Bearer ${key}` }) };
    const response = await fetch(path, { ...options, headers });
    if (response.ok) return response;
    const error = await refusal(response);
    if (response.status !== 401) throw error;
    // Another request may have got a key in the meantime.
    if (session.get(KEY) !== key) continue;
    const given = await askForKey(key !== null);
    options.signal?.throwIfAborted();
    if (given === null) throw error;
    session.set(KEY, given);
  }
}

async function refusal(response) {
  const body = await response.json().catch(() => ({}));
  return new ApiError(response.status, body?.error, response.headers.get("Retry-After"));
}

/** An error as a phrase of i18n.js: `{ key, values }`. */
export function explain(error) {
  if (error instanceof BrokenStream) return { key: "errorBroken", values: {} };
  if (!(error instanceof ApiError)) {
    // Browsers name a failed connection each in their own words, but always so.
    if (error instanceof TypeError) return { key: "errorUnreachable", values: {} };
    return { key: "asIs", values: { text: String(error?.message ?? error) } };
  }
  if (error.status === null) return { key: "asIs", values: { text: error.message } };
  const values = { message: error.message, status: String(error.status), seconds: error.retryAfter ?? "" };
  if (error.status === 401) return { key: "errorKey", values };
  if (error.status === 429) return { key: error.retryAfter ? "errorBusyFor" : "errorBusy", values };
  if (error.status === 503) return { key: "errorUnavailable", values };
  return { key: "errorRefused", values };
}
