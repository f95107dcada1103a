/** What each kind of hook does to tell its service of a new generation. Whether it arrived is looked at by others (hook-run.ts). */
import { existsSync } from 'node:fs';
import path from 'node:path';
import type { Batch } from '../hooks/queue.ts';
import type { Action, HaproxyAction, NginxAction, SignalAction, SystemdAction } from '../hooks/settings.ts';
import { parseUnits } from '../hooks/units.ts';
import type { Account } from '../system/users.ts';
import type { Child } from './children.ts';
import { HAPROXY_FILES_MAX, type HaproxyTask, haproxyResultSchema } from './haproxy-channel.ts';
import { HookFailure } from './hook-failure.ts';
import type { ProgramEnd } from './hook-process.ts';
import { signalPidfile } from './hook-signal.ts';

type Argv = [string, ...string[]];

/** What an action may use. Everything ends by the time limit of the hook. */
export interface ActionTools {
  readonly mountpoint: string;
  readonly batch: Batch;
  readonly user: Account;
  /** Whether there is something at the path of haproxy's socket. Throws HookFailure where it may be anybody's. */
  isSocketThere(path: string): boolean;
  /** Milliseconds until the time limit. */
  leftMs(): number;
  /** Runs a program to its end. What it says goes to the log; its standard output to `onLine`, if there is one. */
  program(argv: readonly [string, ...string[]], onLine?: (line: string) => void): Promise<ProgramEnd>;
  /** Ended when the time limit is over. */
  spawnHaproxyUpdater(user: Account): Child;
}

/** As far as it can be told without looking: throws HookFailure. `attempt` is 1 or, after a look that was in vain, 2. */
export async function act(action: Action, tools: ActionTools, attempt: number): Promise<void> {
  switch (action.kind) {
    case 'run':
      return succeed(tools, action.run);
    case 'nginx':
      return nginx(action, tools);
    case 'haproxy':
      return haproxy(action, tools, attempt);
    case 'systemd':
      return systemd(action, tools);
    case 'signal':
      return signal(action, tools);
  }
}

/** The commands that it will run, as far as they can be exchanged: who starts the hook looks at each of them first. */
export function commandsOf(action: Action): Argv[] {
  if (action.kind === 'run') return [action.run];
  const own = action.kind === 'nginx' ? [nginxCommand(action)] : [];
  const hasUnit = action.kind === 'systemd' || ('unit' in action && action.unit !== undefined);
  return hasUnit ? [...own, [systemctl()]] : own;
}

/** nginx itself says whether the configuration, with the new files, is one that it can take. */
async function nginx(action: NginxAction, tools: ActionTools): Promise<void> {
  const { pidfile, unit } = action;
  const command = nginxCommand(action);
  await succeed(tools, [...command, '-t', '-q'], 'the test of the configuration');
  if (unit !== undefined) await reloadUnits(tools, [unit], true);
  else if (pidfile !== undefined) signalPidfile(pidfile, 'SIGHUP', tools.mountpoint);
  else await succeed(tools, [...command, '-s', 'reload'], 'the reload');
}

/** Its configuration may name modules: whoever can write there has nginx run anything. */
function nginxCommand({ binary, config }: NginxAction): Argv {
  return [binary, ...(config === undefined ? [] : ['-c', config])];
}

async function haproxy(action: HaproxyAction, tools: ActionTools, attempt: number): Promise<void> {
  const { pidfile, unit } = action;
  const why = attempt === 1 ? await updateHaproxy(action, tools) : 'the new certificate is not served';
  if (why === undefined) return;
  if (unit !== undefined) await reloadUnits(tools, [unit], true);
  else if (pidfile !== undefined) signalPidfile(pidfile, 'SIGUSR2', tools.mountpoint);
  else
    throw new HookFailure(
      `the runtime API is not enough (${why}), and there is no pidfile or unit to reload by`,
    );
}

/** Why it needs a reload; undefined where it does not. */
async function updateHaproxy(action: HaproxyAction, tools: ActionTools): Promise<string | undefined> {
  const { changed } = tools.batch;
  if (changed.length === 0) return 'it is to be told of nothing in particular';
  if (changed.some(({ change }) => change !== 'changed')) return 'files were added or removed';
  if (changed.length > HAPROXY_FILES_MAX) return 'too many files';
  if (!tools.isSocketThere(action.socket)) return 'there is no socket';
  const name = action.directory ?? tools.mountpoint;
  const child = tools.spawnHaproxyUpdater(tools.user);
  try {
    child.channel.send({
      socket: action.socket,
      // Half of the time is the reload's.
      timeoutMs: Math.max(1, Math.floor(tools.leftMs() / 2)),
      files: changed.map((file) => {
        return { path: path.join(tools.mountpoint, file.path), name: path.join(name, file.path) };
      }),
    } satisfies HaproxyTask);
    const result = haproxyResultSchema.safeParse(await child.channel.receive()).data;
    if (result === undefined) return 'its answer is not readable';
    return result.failed ?? undefined;
  } catch {
    return 'the process that speaks to it ended';
  } finally {
    child.channel.close();
    child.kill();
  }
}

async function systemd({ reload, restart }: SystemdAction, tools: ActionTools): Promise<void> {
  if (reload.length > 0) await reloadUnits(tools, reload, false);
  // One that does not run stays so.
  if (restart.length > 0)
    await succeed(tools, [systemctl(), ...QUIETLY, 'try-restart', '--', ...restart], 'systemctl');
}

const QUIETLY = ['--no-ask-password', '--no-pager'] as const;

/** Units that do not run read their files when they start; what is no unit is an error. */
async function reloadUnits(tools: ActionTools, units: readonly string[], must: boolean): Promise<void> {
  const shown: string[] = [];
  const command = [
    systemctl(),
    ...QUIETLY,
    'show',
    '--property=Id,LoadState,ActiveState',
    '--',
    ...units,
  ] as const;
  const end = await tools.program([...command], (line) => shown.push(line));
  if (end.code !== 0) throw new HookFailure(`systemctl ${howItEnded(end)}`);
  const states = parseUnits(shown.join('\n'));
  const unknown = states.find(({ isLoaded }) => !isLoaded);
  if (unknown !== undefined) throw new HookFailure(`there is no unit ${unknown.id}`);
  const active = states.filter(({ isActive }) => isActive).map(({ id }) => id);
  if (must && active.length < units.length) throw new HookFailure(`${units.join(' ')} does not run`);
  if (active.length > 0)
    await succeed(tools, [systemctl(), ...QUIETLY, 'reload', '--', ...active], 'systemctl');
}

function signal({ pidfile, signal }: SignalAction, tools: ActionTools): void {
  signalPidfile(pidfile, `SIG${signal}`, tools.mountpoint);
}

/** Where there is a separate /bin, it is there. */
function systemctl(): string {
  return existsSync('/usr/bin/systemctl') ? '/usr/bin/systemctl' : '/bin/systemctl';
}

async function succeed(
  tools: ActionTools,
  argv: readonly [string, ...string[]],
  what?: string,
): Promise<void> {
  const end = await tools.program(argv);
  if (end.code === 0 && !end.isLate) return;
  const how = howItEnded(end);
  throw new HookFailure(what === undefined ? how : `${what} ${how}`);
}

function howItEnded({ code, signal, isLate }: ProgramEnd): string {
  if (isLate) return 'took too long and was killed';
  if (signal !== undefined) return `was ended by ${signal}`;
  return code === undefined ? 'could not be started' : `exited with ${code}`;
}
