// Waiting with a limit. Every wait of these tests is for an event, and goes through here.

// Far above anything a healthy run needs, so that only a real fault runs into it.
export const PATIENCE_MS = 20_000;

// What `promise` brings, or an error that says what was awaited and, by `seen()`, what came instead.
export async function bounded(promise, what, seen = () => '') {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => {
      reject(new Error(`waited ${PATIENCE_MS} ms in vain for ${what}\n${seen()}`));
    }, PATIENCE_MS);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

// Asks `probe` again and again until it brings something true: for what the server tells only when asked.
export async function polled(probe, what) {
  let last;
  const found = async () => {
    for (;;) {
      last = await probe();
      if (last) return last;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  };
  return bounded(found(), what);
}
