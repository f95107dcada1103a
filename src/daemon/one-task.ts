/**
 * A process that has one task: it is told, says {"alive":true} while it waits for others, says one result, and ends. What
 * it says is foreign, and nothing of it is believed before it is gone: it may hold what it writes to.
 */
import type { MountError } from '../errors.ts';
import type { Channel, Message } from './channel.ts';
import type { Exit } from './children.ts';

/** To exit, once it has said its result. */
const EXIT_MS_MAX = 2_000;
/** To be gone, once it was killed. */
const GONE_MS_MAX = 10_000;

/** As spawnChild() gives it. */
export interface TaskProcess {
  readonly channel: Channel;
  readonly exited: Promise<Exit>;
  kill(): void;
}

export interface TaskLimits {
  readonly timeoutMs: number;
  /** Without a word from it. */
  readonly silenceMs: number;
  readonly signal: AbortSignal;
}

/**
 * Gives the task and waits for the result, and for the end of the process: nothing writes for it any more when this returns
 * or throws. Throws what `failed` makes of a reason where it ended, said what `parse` does not take, or took too long; and
 * the signal's reason.
 */
export async function performedBy<R>(
  child: TaskProcess,
  task: Message,
  limits: TaskLimits,
  reading: {
    parse(said: Message): R | undefined;
    failed(why: string): MountError;
    /** Takes what it may say before its result; false for anything else. */
    hear?(said: Message): boolean;
  },
): Promise<R> {
  const { channel, exited } = child;
  const { timeoutMs, silenceMs, signal } = limits;
  const { parse, failed, hear = () => false } = reading;
  let late: string | undefined;
  let grace: NodeJS.Timeout | undefined;
  let stuck: NodeJS.Timeout | undefined;
  let giveUp: () => void;
  const stays = new Promise<undefined>((resolve) => {
    giveUp = () => resolve(undefined);
  });
  const kill = () => {
    child.kill();
    // As it ends it closes files, and their file system may not answer that. It writes no more all the same.
    stuck ??= setTimeout(giveUp, GONE_MS_MAX);
  };
  const endAfter = (ms: number, why: string) =>
    setTimeout(() => {
      late ??= `${why} ${Math.round(ms / 1000)} s`;
      kill();
    }, ms);
  const timer = endAfter(timeoutMs, 'it took longer than');
  const silence = endAfter(silenceMs, 'it said nothing for');
  signal.addEventListener('abort', kill, { once: true });
  try {
    if (signal.aborted) kill();
    channel.send(task);
    const said = await lastWord(channel, hear, () => silence.refresh()).catch((error: Error) => error);
    clearTimeout(silence);
    // It has nothing left to do; nor has one that says what is no message.
    if (said instanceof Error) kill();
    grace = setTimeout(kill, EXIT_MS_MAX);
    const end = await Promise.race([exited, stays]);
    signal.throwIfAborted();
    if (late !== undefined) throw failed(late);
    if (said instanceof Error) {
      throw failed(`${said.message}; it ended with ${end?.signal ?? end?.code ?? 'nothing'}`);
    }
    const result = parse(said);
    if (result === undefined) throw failed('its result is not readable');
    return result;
  } finally {
    clearTimeout(timer);
    clearTimeout(silence);
    clearTimeout(grace);
    clearTimeout(stuck);
    signal.removeEventListener('abort', kill);
    channel.close();
  }
}

async function lastWord(
  channel: Channel,
  hear: (said: Message) => boolean,
  onAlive: () => void,
): Promise<Message> {
  for (;;) {
    const said = await channel.receive();
    if (hear(said)) continue;
    if (said['alive'] !== true) return said;
    onAlive();
  }
}
