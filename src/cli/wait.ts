import { setTimeout as sleep } from 'node:timers/promises';
import { ask } from '../control/client.ts';
import { ControlError, quote, SecretsfsError, UsageError } from '../errors.ts';
import { type Command, optionalTextArg, textArg } from './command.ts';
import { controlDirectory, resolveInstance } from './targets.ts';

/** A daemon that has not started yet has no socket to be told by: looking is cheap. */
const LOOK_EVERY_MS = 100;

export const wait: Command = {
  usage: 'wait [mount]',
  settings: ['runtimeDir'],
  build: (yargs) =>
    yargs.positional('mount', { type: 'string', describe: 'instance name or mountpoint' }).option('timeout', {
      type: 'string',
      requiresArg: true,
      default: '60',
      describe: 'seconds to wait at most',
    }),
  async run(args, context) {
    const seconds = Number(textArg(args, 'timeout'));
    if (!(seconds > 0 && seconds <= 86_400)) {
      throw new UsageError(
        `cannot wait: --timeout is ${quote(textArg(args, 'timeout'))}, want seconds from 1 to 86400`,
        { hint: 'for example --timeout 60' },
      );
    }
    const runtimeDir = controlDirectory(context);
    const wanted = optionalTextArg(args, 'mount');
    const deadline = performance.now() + seconds * 1000;
    let last: SecretsfsError | undefined;
    for (;;) {
      const leftMs = deadline - performance.now();
      if (leftMs <= 0) {
        const what = wanted === undefined ? 'no mount is' : `the mount ${quote(wanted)} is not`;
        throw new ControlError('wait-timeout', `${what} ready after ${seconds} s`, {
          hint:
            last?.code === 'wait-timeout'
              ? 'it is starting: its log says what it waits for'
              : 'secretsfs status, and the log of the mount',
          cause: last,
        });
      }
      try {
        const instance = await resolveInstance(runtimeDir, wanted, leftMs);
        const status = await ask(runtimeDir, instance, 'wait', Math.max(1, deadline - performance.now()));
        if (context.json) return context.ui.printJson(status);
        return context.ui.print(`${instance}: ready at ${status.mountpoint}`);
      } catch (error) {
        if (!(error instanceof SecretsfsError)) throw error;
        if (
          error.code !== 'control-not-running' &&
          error.code !== 'wait-timeout' &&
          error.code !== 'control-protocol'
        ) {
          throw error;
        }
        last = error;
        await sleep(LOOK_EVERY_MS);
      }
    }
  },
};
