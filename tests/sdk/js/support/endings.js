// What is done when a test ends: last begun, first ended, and all of it, whatever fails. Node leaves out the rest of a
// test's `after` hooks when one throws, and a client that is never told to end comes back for ever.

const endings = new WeakMap();

export function atEnd(t, end) {
  if (!endings.has(t)) {
    endings.set(t, []);
    t.after(() => endAll(endings.get(t)));
  }
  endings.get(t).push(end);
}

async function endAll(ends) {
  const failures = [];
  for (const end of ends.reverse()) {
    try {
      await end();
    } catch (failure) {
      failures.push(failure);
    }
  }
  if (failures.length > 0) throw failures[0];
}
