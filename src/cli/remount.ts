import path from 'node:path';
import { ask } from '../control/client.ts';
import { allowRollback } from '../control/consent.ts';
import type { RemountResult } from '../control/protocol.ts';
import { EXIT_CODES } from '../errors.ts';
import { type Command, optionalTextArg } from './command.ts';
import { since } from './status-times.ts';
import { ABOUT_A_MOUNT, controlDirectory, resolvePart } from './targets.ts';

/** A bundle may be large and far away; a person who waits longer than this wants to know. */
const REMOUNT_MS_MAX = 10 * 60_000;
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

export const remount: Command = {
  usage: 'remount [mount]',
  ...ABOUT_A_MOUNT,
  build: (yargs) =>
    ABOUT_A_MOUNT.build(yargs).option('allow-rollback', {
      type: 'boolean',
      default: false,
      describe: 'take a bundle that is older than what was live before, this once',
    }),
  async run(args, context) {
    const runtimeDir = controlDirectory(context);
    const { instance, part } = await resolvePart(runtimeDir, optionalTextArg(args, 'mount'));
    const called = part === undefined ? instance : `${instance}/${part}`;
    const rollback = args['allowRollback'] === true;
    const takeBack = rollback ? await allowRollback(path.join(runtimeDir, instance), part) : undefined;
    let result: RemountResult;
    // Whoever gives up waiting takes it back, too.
    const interrupted = () => void takeBack?.().finally(() => process.exit(EXIT_CODES.control));
    if (rollback) for (const signal of SIGNALS) process.once(signal, interrupted);
    try {
      result = await ask(runtimeDir, instance, 'remount', REMOUNT_MS_MAX, { allowRollback: rollback, part });
    } finally {
      await takeBack?.();
    }
    if (context.json) return context.ui.printJson(result);
    const { generation, changes } = result;
    if (result.outcome === 'unchanged') {
      // A moment ago, perhaps: whoever watches the source was first.
      const liveSince = since(generation.activated, Date.now());
      return context.ui.print(
        `${called}: nothing changed; serial ${generation.serial} is live, generation ${generation.id}, since ${liveSince}`,
      );
    }
    const what =
      changes === null
        ? ''
        : ` (${changes.added} added, ${changes.changed} changed, ${changes.removed} removed)`;
    context.ui.print(`${called}: serial ${generation.serial} is live, generation ${generation.id}${what}`);
  },
};
