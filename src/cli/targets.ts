/** Which running mount a command means: its instance name, its mountpoint, or the only one there is. */
import { readlink, realpath } from 'node:fs/promises';
import path from 'node:path';
import type { Argv } from 'yargs';
import { ask, type Results } from '../control/client.ts';
import { listNames, lookDirectory } from '../control/directory.ts';
import type { Operation, Status } from '../control/protocol.ts';
import type { SettingName } from '../daemon/config.ts';
import { ControlError, quote, SecretsfsError, UsageError } from '../errors.ts';
import { type Context, optionalTextArg } from './command.ts';
import { nearest } from './near.ts';

/** The part of a command that is about one running mount. */
export const ABOUT_A_MOUNT = {
  settings: ['runtimeDir'] satisfies SettingName[],
  build: (yargs: Argv) =>
    yargs.positional('mount', { type: 'string', describe: 'instance name or mountpoint' }),
};

/** Asks the mount that the command names, or the only one there is. Throws what ask() and resolveInstance() do. */
export async function askMount<O extends Operation>(
  operation: O,
  timeoutMs: number,
  args: Readonly<Record<string, unknown>>,
  context: Context,
): Promise<{ instance: string; result: Results[O] }> {
  const runtimeDir = controlDirectory(context);
  const instance = await resolveInstance(runtimeDir, optionalTextArg(args, 'mount'));
  return { instance, result: await ask(runtimeDir, instance, operation, timeoutMs) };
}

/** A status is answered from memory. */
export const STATUS_MS_MAX = 5_000;

export function controlDirectory({ settings, env }: Context): string {
  return lookDirectory({ chosen: settings.runtimeDir, uid: process.getuid?.() ?? -1, env });
}

export interface Running {
  readonly mounts: readonly Status[];
  /** Those that are there and gave no status: another user's, or one that hangs. */
  readonly silent: readonly { readonly name: string; readonly error: SecretsfsError }[];
  /** Those whose socket nobody listens on: they ended without removing it. */
  readonly dead: readonly string[];
}

/** Asks every mount for its status, all at once. */
export async function runningMounts(runtimeDir: string, timeoutMs = STATUS_MS_MAX): Promise<Running> {
  const mounts: Status[] = [];
  const silent: { name: string; error: SecretsfsError }[] = [];
  const dead: string[] = [];
  const names = await listNames(runtimeDir);
  const answers = await Promise.allSettled(names.map((name) => ask(runtimeDir, name, 'status', timeoutMs)));
  for (const [i, answer] of answers.entries()) {
    if (answer.status === 'fulfilled') {
      mounts.push(answer.value);
      continue;
    }
    const error: unknown = answer.reason;
    if (!(error instanceof SecretsfsError)) throw error;
    const name = names[i] ?? '';
    if (error.code !== 'control-not-running') silent.push({ name, error });
    else if ((error.cause as NodeJS.ErrnoException | undefined)?.code === 'ECONNREFUSED') dead.push(name);
  }
  return { mounts, silent, dead };
}

/** The instance name that `wanted` (a name, a mountpoint, or nothing) stands for. */
export async function resolveInstance(
  runtimeDir: string,
  wanted: string | undefined,
  timeoutMs = STATUS_MS_MAX,
): Promise<string> {
  if (wanted !== undefined && (await listNames(runtimeDir)).includes(wanted)) return wanted;
  const { mounts, silent } = await runningMounts(runtimeDir, Math.min(timeoutMs, STATUS_MS_MAX));
  if (wanted !== undefined) {
    const place = await placeOf(wanted);
    const found = mounts.find((mount) => mount.mountpoint === place);
    if (found !== undefined) return found.instance;
    const whole = partOf(wanted);
    if (whole !== undefined && mounts.some(({ instance }) => instance === whole))
      throw new UsageError(`cannot take one bundle of a mount alone: ${quote(wanted)}`, {
        hint: `name the mount, ${whole}: of all commands only remount takes INSTANCE/DIRECTORY`,
      });
    const near = nearest(
      wanted,
      mounts.map(({ instance }) => instance),
    );
    throw new ControlError('control-not-running', `no mount called or at ${quote(wanted)} is running`, {
      hint:
        near === undefined
          ? 'secretsfs status lists the running ones; secretsfs mount starts one'
          : `did you mean ${quote(near)}? secretsfs status lists the running ones`,
    });
  }
  const names = [...mounts.map((mount) => mount.instance), ...silent.map(({ name }) => name)];
  if (names[0] === undefined) {
    throw new ControlError('control-not-running', 'no mount is running', {
      hint: 'secretsfs mount starts one; --runtime-dir if it was started with one',
    });
  }
  if (names.length > 1) {
    throw new UsageError(`${names.length} mounts are running: ${names.join(', ')}`, {
      hint: 'name the one you mean',
    });
  }
  return names[0];
}

/** The same; of a mount of several bundles, INSTANCE/DIRECTORY is one of them. */
export async function resolvePart(
  runtimeDir: string,
  wanted: string | undefined,
): Promise<{ readonly instance: string; readonly part: string | undefined }> {
  const [, name, part] = /^([^/]+)\/([^/]+)$/.exec(wanted ?? '') ?? [];
  if (name !== undefined && part !== undefined && (await listNames(runtimeDir)).includes(name))
    return { instance: name, part };
  return { instance: await resolveInstance(runtimeDir, wanted), part: undefined };
}

/** The INSTANCE of INSTANCE/DIRECTORY; the directory may be left out. */
function partOf(wanted: string): string | undefined {
  return /^([^/]+)\/[^/]*$/.exec(wanted)?.[1];
}

/** A mountpoint without symlinks, as a status has it. The mountpoint itself is not looked at: its mount may hang. */
export async function placeOf(mountpoint: string): Promise<string> {
  const link = await readlink(mountpoint).catch(() => undefined);
  const resolved = path.resolve(link === undefined ? mountpoint : path.join(path.dirname(mountpoint), link));
  const target = link?.startsWith('/') ? link : resolved;
  const parent = await realpath(path.dirname(target)).catch(() => path.dirname(target));
  return path.join(parent, path.basename(target));
}
