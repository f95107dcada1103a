import { setTimeout as sleep } from 'node:timers/promises';
import { ask } from '../control/client.ts';
import type { Status } from '../control/protocol.ts';
import { parseDuration } from '../daemon/config-values.ts';
import { ControlError, type ErrorCode, quote, SecretsfsError, UsageError } from '../errors.ts';
import { type Command, optionalTextArg, textArg } from './command.ts';
import { ABOUT_A_MOUNT, controlDirectory, resolveInstance } from './targets.ts';
import { sayWhenLong } from './wait-notice.ts';

/** A daemon that has not started yet has no socket to be told by: looking is cheap. */
const LOOK_EVERY_MS = 100;
const NOT_YET: readonly ErrorCode[] = ['control-not-running', 'wait-timeout', 'control-protocol'];
const TIMEOUT_MS_MAX = 24 * 3_600_000;

export const wait: Command = {
  usage: 'wait [mount]',
  ...ABOUT_A_MOUNT,
  build: (yargs) =>
    ABOUT_A_MOUNT.build(yargs)
      .option('timeout', {
        type: 'string',
        requiresArg: true,
        default: '60s',
        describe: 'how long to wait at most, for example 90s or 5m; a number alone is seconds',
      })
      .option('restarts', {
        type: 'boolean',
        default: false,
        describe: 'wait on when the mount ends: somebody starts it again',
      }),
  async run(args, context) {
    const timeoutMs = parseTimeout(textArg(args, 'timeout'));
    const runtimeDir = controlDirectory(context);
    const wanted = optionalTextArg(args, 'mount');
    const notice = sayWhenLong(runtimeDir, wanted, context.ui);
    try {
      const status = await untilReady(runtimeDir, wanted, timeoutMs, args['restarts'] === true);
      if (context.json) context.ui.printJson(status);
      else context.ui.print(`${status.instance}: ready at ${status.mountpoint}`);
    } finally {
      notice.cancel();
    }
  },
};

/** Throws ControlError wait-timeout, and what ends the wait: anything but that it is not there yet. */
async function untilReady(
  runtimeDir: string,
  wanted: string | undefined,
  timeoutMs: number,
  overRestarts: boolean,
): Promise<Status> {
  const deadline = performance.now() + timeoutMs;
  let last: SecretsfsError | undefined;
  for (;;) {
    const leftMs = deadline - performance.now();
    if (leftMs <= 0) throw tooLate(wanted, timeoutMs, last);
    try {
      const instance = await resolveInstance(runtimeDir, wanted, leftMs);
      return await ask(runtimeDir, instance, 'wait', Math.max(1, deadline - performance.now()));
    } catch (error) {
      if (!(error instanceof SecretsfsError)) throw error;
      const isOver = error.code === 'mount-failed';
      if (!NOT_YET.includes(error.code) && !(isOver && overRestarts)) throw error;
      last = error;
      await sleep(LOOK_EVERY_MS);
    }
  }
}

function tooLate(wanted: string | undefined, timeoutMs: number, last: SecretsfsError | undefined) {
  const what = wanted === undefined ? 'no mount is' : `the mount ${quote(wanted)} is not`;
  return new ControlError('wait-timeout', `${what} ready after ${timeoutMs / 1000} s`, {
    hint:
      last?.code === 'wait-timeout'
        ? 'it is starting: its log says what it waits for'
        : 'secretsfs status shows what runs; the log of the mount says what it waits for',
    cause: last,
  });
}

function parseTimeout(text: string): number {
  const ms = parseDuration(/^[\d.]+$/.test(text) ? `${text}s` : text) ?? 0;
  if (ms > 0 && ms <= TIMEOUT_MS_MAX) return ms;
  throw new UsageError(`cannot wait: --timeout is ${quote(text)}, want a time up to 24h`, {
    hint: 'for example --timeout 90s or --timeout 5m; a number alone is seconds',
  });
}
