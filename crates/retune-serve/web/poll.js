// Work that is done again and again, while somebody looks.

/**
 * Does `work(signal)` at once when started, and again `pause()` milliseconds after it ended.
 * Gives `{ start(), stop() }`; stopping takes back what is under way. `work` does not throw.
 */
export function poller(work, pause) {
  let running = null;
  let timer = null;
  const round = async (stop) => {
    await work(stop.signal);
    if (!stop.signal.aborted) timer = setTimeout(round, pause(), stop);
  };
  const start = () => {
    if (running) return;
    running = new AbortController();
    round(running);
  };
  const stop = () => {
    clearTimeout(timer);
    running?.abort();
    running = null;
  };
  return { start, stop };
}
