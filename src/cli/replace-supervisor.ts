/**
 * The last step of an upgrade: the supervisor, by a restart of its unit, which hands the mount over to the next one. Invariant:
 * it is restarted only where the next one, for all that can be told beforehand, goes on with the mount; else it stays.
 */
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import type { Status } from '../control/protocol.ts';
import { isLegible } from '../daemon/legible.ts';
import { MountError, SecretsfsError } from '../errors.ts';
import { run } from '../system/run.ts';
import { unitOf } from '../system/systemd-job.ts';

const ASK_MS_MAX = 10_000;
/** A restart returns when files are served again. */
const RESTART_MS_MAX = 2 * 60_000;
/** The kernel connection, the store, a view of the mount. */
const DESCRIPTORS = 3;

/** Why it stays, in words; undefined: another is in its place. Throws MountError upgrade-refused where the restart failed. */
export async function replaceSupervisor({ processes, config }: Status): Promise<string | undefined> {
  const pid = processes?.find(({ role }) => role === 'supervisor')?.pid;
  if (pid === undefined) return 'the mount has none';
  const unit = unitOf(await readFile(`/proc/${pid}/cgroup`, 'utf8').catch(() => ''));
  if (unit === undefined || !(await holds(unit, pid))) return 'systemd does not hold its mount';
  if (config?.state === 'refused') return 'its config is wrong';
  if (config?.state === 'restart-needed')
    return `its config changed, and a restart would unmount (${config.restartNeeded.join(', ')})`;
  const given = configGiven(await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => ''));
  if (given === undefined && config != null) return 'its command line does not name its config';
  const wrong = await problemOf(given && path.resolve(`/proc/${pid}/cwd`, given));
  if (wrong !== undefined) return `this version does not take its config: ${wrong}`;
  if (!isLegible(pid)) return 'this version can not go on with what it holds';
  const { code, stderr } = await run('systemctl', ['restart', unit], RESTART_MS_MAX);
  if (code === 0) return undefined;
  throw new MountError(
    'upgrade-refused',
    `cannot replace the supervisor: systemctl restart ${unit}: ${stderr}`,
    {
      hint: `journalctl -u ${unit}`,
    },
  );
}

async function holds(unit: string, pid: number): Promise<boolean> {
  const show = ['show', '--property=MainPID,NFileDescriptorStore', unit];
  const { stdout } = await run('systemctl', show, ASK_MS_MAX);
  const { MainPID, NFileDescriptorStore } = Object.fromEntries(
    stdout.split('\n').map((line) => line.split('=') as [string, string]),
  );
  return MainPID === `${pid}` && Number(NFileDescriptorStore) >= DESCRIPTORS;
}

/**
 * --config of a mount's /proc/PID/cmdline, as it stands there. Status names it too, but a subverted agent answers that, and
 * which file root opens is not for it to choose.
 */
export function configGiven(cmdline: string): string | undefined {
  const words = cmdline.split('\0');
  const at = words.findLastIndex((word) => /^--config(=|$)/.test(word));
  const [, glued] = words[at]?.split(/=(.*)/s) ?? [];
  return at === -1 ? undefined : (glued ?? words[at + 1]);
}

async function problemOf(config: string | undefined): Promise<string | undefined> {
  if (config === undefined) return undefined;
  try {
    (await import('./config-file.ts')).readConfigFile(config, { trustedOnly: true });
    return undefined;
  } catch (error) {
    if (error instanceof SecretsfsError) return error.message;
    throw error;
  }
}
