/** What systemd is told while a mount starts, which may take longer than TimeoutStartSec=: that it goes on. */

/** systemd.service(5): it must come anew within the time that the one before asked for. */
const EVERY_MS = 20_000;
const EXTEND_US = 120_000_000;

/** Until close(). Each step of a start has a limit of its own; who tells this lives. */
export function extendStart(notify: (state: string) => void): { close(): void } {
  const extend = () => notify(`EXTEND_TIMEOUT_USEC=${EXTEND_US}`);
  extend();
  const timer = setInterval(extend, EVERY_MS);
  return { close: () => clearInterval(timer) };
}
