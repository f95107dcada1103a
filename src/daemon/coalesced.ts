/**
 * However often something is asked for while it runs, it runs once more after: one that has begun may have seen what is old
 * by now, one that has not begun will do for everybody.
 */
export function coalesced<T>(run: () => Promise<T>): () => Promise<T> {
  let running: Promise<unknown> = Promise.resolve();
  let waiting: Promise<T> | undefined;
  return () => {
    waiting ??= running
      .catch(() => undefined)
      .then(() => {
        waiting = undefined;
        const begun = run();
        running = begun;
        return begun;
      });
    return waiting;
  };
}
