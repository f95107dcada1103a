import { ask } from '../control/client.ts';
import { ControlError, type ErrorCode, SecretsfsError, UsageError } from '../errors.ts';
import { type Command, type Context, optionalTextArg } from './command.ts';
import { exitCodeOf, problemsOf } from './status-health.ts';
import { statusLines } from './status-text.ts';
import { watch } from './status-watch.ts';
import {
  ABOUT_A_MOUNT,
  controlDirectory,
  type Running,
  resolveInstance,
  runningMounts,
  STATUS_MS_MAX,
} from './targets.ts';
import { hang, wrap } from './width.ts';

const KILLED = 'it was killed; secretsfs mount clears what it left';

export const status: Command = {
  usage: 'status [mount]',
  ...ABOUT_A_MOUNT,
  build: (yargs) =>
    ABOUT_A_MOUNT.build(yargs)
      .option('check', {
        type: 'boolean',
        default: false,
        describe: 'only what is wrong, and end with the code of the first of it',
      })
      .option('watch', {
        type: 'boolean',
        default: false,
        describe: 'show it anew each second, until Ctrl-C',
      }),
  async run(args, context) {
    const wanted = optionalTextArg(args, 'mount');
    if (args['watch'] === true) return watchMounts(wanted, args['check'] === true, context);
    const running = await lookFor(controlDirectory(context), wanted);
    if (args['check'] === true) return check(running, context);
    const { mounts, silent, dead } = running;
    if (mounts.length === 0 && silent[0] !== undefined) throw silent[0].error;
    for (const { name, error } of silent) context.ui.warn(`${name}: ${error.message}`);
    for (const name of dead) context.ui.warn(`${name}: ${KILLED}`);
    if (context.json) return context.ui.printJson(mounts);
    if (mounts.length === 0) return context.ui.print('no mount is running');
    for (const mount of mounts)
      for (const line of statusLines(mount, Date.now(), context.ui.columns))
        context.ui.printSpans([typeof line === 'string' ? { text: line } : line]);
  },
};

async function lookFor(runtimeDir: string, wanted: string | undefined): Promise<Running> {
  if (wanted === undefined) return runningMounts(runtimeDir);
  const instance = await resolveInstance(runtimeDir, wanted);
  return { mounts: [await ask(runtimeDir, instance, 'status', STATUS_MS_MAX)], silent: [], dead: [] };
}

/** A line for each problem. Resolves to the exit code: 0, or that of the first one. Throws where nothing runs. */
async function check({ mounts, silent, dead }: Running, { ui, json }: Context): Promise<number> {
  const unseen = [
    ...silent.map(({ name, error }) => ({ instance: name, code: error.code, text: error.message })),
    ...dead.map((name) => ({
      instance: name,
      code: 'control-not-running' satisfies ErrorCode,
      text: KILLED,
    })),
  ];
  if (mounts.length === 0 && unseen.length === 0) {
    throw new ControlError('control-not-running', 'no mount is running', {
      hint: 'secretsfs mount starts one; --runtime-dir if it was started with one',
    });
  }
  const nowMs = Date.now();
  const found = mounts.flatMap((mount) =>
    problemsOf(mount, nowMs).map((each) => ({ instance: mount.instance, ...each })),
  );
  const problems = [...unseen, ...found];
  if (json) ui.printJson({ mounts: mounts.map(({ instance }) => instance), problems });
  for (const { instance, code, text } of json ? [] : problems)
    for (const line of hang(`${instance}: `, `${text} (${code})`, ui.columns)) ui.print(line);
  if (!json && problems.length === 0)
    ui.print(`${mounts.map(({ instance }) => instance).join(', ')}: all is well`);
  return problems[0] === undefined ? 0 : exitCodeOf(problems[0]);
}

async function watchMounts(wanted: string | undefined, checks: boolean, context: Context): Promise<void> {
  const { env, json, stdout } = context;
  if (json || checks || stdout.isTTY !== true || env['TERM'] === 'dumb') {
    throw new UsageError(
      'cannot watch: --watch is for a terminal that can be drawn on, without --json and --check',
      {
        hint: 'secretsfs status --json, as often as it is wanted; docs/metrics.md is for what watches by itself',
      },
    );
  }
  await watch(context, async (columns) => {
    const nowMs = Date.now();
    const title = `${new Date(nowMs).toISOString().slice(0, 19)}Z, Ctrl-C ends`;
    const narrowed = (lines: readonly string[]) => lines.flatMap((line) => wrap(line, columns));
    try {
      const { mounts, silent, dead } = await lookFor(controlDirectory(context), wanted);
      const unseen = [
        ...silent.map(({ name, error }) => `${name}: ${error.message}`),
        ...dead.map((name) => `${name}: ${KILLED}`),
      ];
      const none = mounts.length + unseen.length === 0 ? ['no mount is running'] : [];
      return [
        title,
        ...mounts.flatMap((mount) => statusLines(mount, nowMs, columns)),
        ...narrowed([...unseen, ...none]),
      ];
    } catch (error) {
      // It may come back: that is what somebody watches for.
      if (!(error instanceof SecretsfsError)) throw error;
      return [title, ...narrowed([`${error.message} (${error.code})`])];
    }
  });
}
