// What the browser keeps. It may refuse (private windows, a full quota): then it is kept in
// memory, as long as the page is open.

function keeper(name) {
  const memory = new Map();
  // Even looking at the property may throw.
  const attempt = (work, otherwise) => {
    try {
      return work(window[name]);
    } catch {
      return otherwise;
    }
  };
  return {
    get: (key) => memory.get(key) ?? attempt((store) => store.getItem(key), null),
    /** Whether the browser keeps it beyond this page. */
    set(key, value) {
      const kept = attempt((store) => (store.setItem(key, value), true), false);
      if (kept) memory.delete(key);
      else memory.set(key, value);
      return kept;
    },
    remove(key) {
      memory.delete(key);
      attempt((store) => store.removeItem(key));
    },
    keys: () => [...new Set([...attempt((store) => Object.keys(store), []), ...memory.keys()])],
  };
}

/** Kept until it is deleted. */
export const local = keeper("localStorage");
/** Kept as long as the tab. */
export const session = keeper("sessionStorage");
