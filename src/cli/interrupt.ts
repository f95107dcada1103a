/** The first Ctrl-C asks a command to end in good order, the second ends it. */

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** `end` lets signals be again what they were; to be called whatever happens. */
export function onInterrupt(): { readonly signal: AbortSignal; end(): void } {
  const controller = new AbortController();
  const end = () => {
    for (const signal of SIGNALS) process.removeListener(signal, stop);
  };
  const stop = () => {
    end();
    controller.abort();
  };
  for (const signal of SIGNALS) process.on(signal, stop);
  return { signal: controller.signal, end };
}
