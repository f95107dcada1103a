/**
 * What `wait` says of a mount that is long in coming: one line on stderr, once, so that a service that may wait for hours has
 * in its own log for what.
 */
import { quote, SecretsfsError } from '../errors.ts';
import { realTimers } from '../system/timers.ts';
import { placeOf, runningMounts } from './targets.ts';
import type { Ui } from './ui.ts';

const LONG_MS = 10_000;

/** Says it after 10 s, unless cancel() comes first. `wanted`: an instance or a mountpoint; undefined: the only one. */
export function sayWhenLong(
  runtimeDir: string,
  wanted: string | undefined,
  ui: Pick<Ui, 'warn'>,
): { cancel(): void } {
  let isOver = false;
  const say = async () => {
    const words = await whatFor(runtimeDir, wanted);
    if (!isOver) ui.warn(words);
  };
  const timer = realTimers.set(() => void say(), LONG_MS);
  return {
    cancel() {
      isOver = true;
      realTimers.clear(timer);
    },
  };
}

async function whatFor(runtimeDir: string, wanted: string | undefined): Promise<string> {
  const what = wanted === undefined ? 'a mount' : `the mount ${quote(wanted)}`;
  try {
    const { mounts, silent } = await runningMounts(runtimeDir);
    const place = wanted === undefined ? undefined : await placeOf(wanted);
    const isWanted = (name: string) => wanted === undefined || name === wanted;
    const running = mounts.find(({ instance, mountpoint }) => isWanted(instance) || mountpoint === place);
    const mute = silent.find(({ name }) => isWanted(name));
    if (running !== undefined)
      return `waits for ${what}, which is ${running.state}: ${running.error?.message ?? `secretsfs status ${running.instance} and its log say more`}`;
    if (mute !== undefined) return `waits for ${what}: ${mute.error.message}`;
    const isName = wanted !== undefined && !wanted.includes('/');
    return `waits for ${what}, which does not run${isName ? `: systemctl status secretsfs@${wanted}` : ''}`;
  } catch (error) {
    // A notice is not worth the wait: whatever else is wrong ends no more than the notice.
    return `waits for ${what}${error instanceof SecretsfsError ? `: ${error.message}` : ''}`;
  }
}
