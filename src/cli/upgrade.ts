import { setTimeout as sleep } from 'node:timers/promises';
import { ask } from '../control/client.ts';
import type { UpgradeResult } from '../control/protocol.ts';
import { type ErrorCode, SecretsfsError } from '../errors.ts';
import type { Command, Context } from './command.ts';
import { ABOUT_A_MOUNT, askMount, controlDirectory, STATUS_MS_MAX } from './targets.ts';

/** Each process is replaced only when its successor is ready. */
const UPGRADE_MS_MAX = 2 * 60_000;
const ASK_EVERY_MS = 100;
const SETTLE_MS_MAX = 15_000;
const PASSING: readonly ErrorCode[] = ['control-not-running', 'control-protocol'];

export const upgrade: Command = {
  usage: 'upgrade [mount]',
  ...ABOUT_A_MOUNT,
  build: (yargs) =>
    ABOUT_A_MOUNT.build(yargs).option('supervisor', {
      type: 'boolean',
      default: false,
      describe: 'the supervisor too, by a restart of its unit, where that costs no read',
    }),
  async run(args, context) {
    const isWhole = args['supervisor'] === true;
    const begin = () => askMount('upgrade', UPGRADE_MS_MAX, args, context);
    const { instance, result } = await (isWhole ? patiently(begin) : begin());
    const { supervisorStays, ...facts } = isWhole
      ? await withSupervisor(instance, result, context)
      : { ...result, supervisorStays: undefined };
    if (context.json) return context.ui.printJson(isWhole ? { ...facts, supervisorStays } : facts);
    context.ui.print(`${instance}: replaced ${facts.replaced.join(', ') || 'nothing'}`);
    if (supervisorStays != null) context.ui.print(`${instance}: the supervisor stays: ${supervisorStays}`);
  },
};

/** `supervisorStays`: why it does; null: it was replaced. */
async function withSupervisor(
  instance: string,
  { replaced }: UpgradeResult,
  context: Context,
): Promise<UpgradeResult & { readonly supervisorStays: string | null }> {
  const { replaceSupervisor } = await import('./replace-supervisor.ts');
  const status = () => patiently(() => ask(controlDirectory(context), instance, 'status', STATUS_MS_MAX));
  const stays = await replaceSupervisor(await status());
  const { processes = [] } = await status();
  return {
    replaced: stays === undefined ? [...replaced, 'supervisor'] : replaced,
    processes,
    supervisorStays: stays ?? null,
  };
}

/** The agent that answers is replaced, too, and what is asked meanwhile gets half an answer, or none. All of it may be asked twice. */
async function patiently<T>(asked: () => Promise<T>): Promise<T> {
  const deadline = performance.now() + SETTLE_MS_MAX;
  for (;;) {
    try {
      return await asked();
    } catch (error) {
      if (!(error instanceof SecretsfsError) || !isPassing(error) || performance.now() > deadline)
        throw error;
      await sleep(ASK_EVERY_MS);
    }
  }
}

/** But where nobody listens. */
function isPassing({ code, cause }: SecretsfsError): boolean {
  const { code: errno = '' } = (cause ?? {}) as NodeJS.ErrnoException;
  return PASSING.includes(code) && !['ECONNREFUSED', 'ENOENT'].includes(errno);
}
