/** Many things at once, but not too many. PURE but for what `work` does. */

/**
 * Calls `work` for each item, at most `limit` at a time, taking from `items` no faster than that. Resolves to the results in
 * the order of the items. After a failure, of `items` too, nothing is begun any more; what had begun is waited for, and
 * the first failure is thrown.
 */
export async function mapConcurrently<T, R>(
  items: AsyncIterable<T> | Iterable<T>,
  limit: number,
  work: (item: T) => Promise<R>,
): Promise<R[]> {
  const results: R[] = [];
  const running = new Set<Promise<void>>();
  let failure: { readonly error: unknown } | undefined;
  const fail = (error: unknown) => {
    failure ??= { error };
  };
  const begin = (item: T, index: number) => {
    const run = work(item).then((result) => {
      results[index] = result;
    }, fail);
    const tracked = run.finally(() => running.delete(tracked));
    running.add(tracked);
  };
  let count = 0;
  try {
    for await (const item of items) {
      begin(item, count++);
      while (running.size >= limit) await Promise.race(running);
      if (failure !== undefined) break;
    }
  } catch (error) {
    fail(error);
  }
  await Promise.all(running);
  if (failure !== undefined) throw failure.error;
  return results;
}
