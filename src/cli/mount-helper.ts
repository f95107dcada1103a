/**
 * mount.secretsfs and mount.fuse.secretsfs, which mount(8) runs for lines of /etc/fstab and for .mount units of systemd:
 * starts a mount in the background, and returns when it serves.
 *
 * What it says until then is shown here, if it is an error; its log goes to the journal, else to a file. It is in a session
 * of its own, in the control group of who called.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdirSync, openSync, realpathSync } from 'node:fs';
import path from 'node:path';
import { errnoWords, MountError, quote } from '../errors.ts';
import { type FstabMount, parseFstabMount } from './fstab.ts';
import { READY } from './leave-terminal.ts';
import { mount } from './mount.ts';
import { createUi } from './ui.ts';

/** mount(8), "EXIT STATUS". */
const EXIT = { ok: 0, usage: 1, internal: 4, failure: 32 } as const;
const JOURNAL = '/run/systemd/journal/stdout';
const DEFAULT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
const LOG_DIRECTORY = '/var/log/secretsfs';
const SELINUX = '/sys/fs/selinux/enforce';
/** Where the mount, which takes its log from there, finds it. */
const LOG_FD = 3;
/** systemd-cat leaves the journal as 1 and 2; 3 is our end of the standard error. */
const SWAP_DESCRIPTORS = 'exec "$@" 2>&3 3>&1 >/dev/null';

/** `given`: the arguments without node and the program. Never throws. */
export async function runMountHelper(given: readonly string[], process: NodeJS.Process): Promise<number> {
  const { env, stdout, stderr } = process;
  const ui = createUi({ stdout, stderr, env });
  let wanted: FstabMount;
  try {
    wanted = parseFstabMount(given, mount.settings);
  } catch (error) {
    ui.fail(error, { json: false });
    return EXIT.usage;
  }
  try {
    if (wanted.isFake) return EXIT.ok;
    const said = await startInBackground(wanted, process);
    if (said !== READY) {
      stderr.write(said === '' ? 'secretsfs: the mount ended without a word\n' : said);
      return EXIT.failure;
    }
    if (wanted.isVerbose) ui.print(`${wanted.source} mounted on ${wanted.mountpoint}.`);
    await ui.flushed();
    return EXIT.ok;
  } catch (error) {
    return ui.fail(error, { json: false }) === 1 ? EXIT.internal : EXIT.failure;
  }
}

/** What the mount says on its standard error until it serves, or ends. */
async function startInBackground(wanted: FstabMount, process: NodeJS.Process): Promise<string> {
  const program = process.execPath;
  const args = [realpathSync(process.argv[1] ?? ''), 'mount', ...mountArguments(wanted)];
  const options = { cwd: '/', detached: true, env: mountEnvironment(wanted, process.env) };
  const systemdCat =
    wanted.log === undefined && existsSync(JOURNAL) ? find('systemd-cat', process.env) : undefined;
  let child: ChildProcess;
  let pipe: ChildProcess['stderr'];
  if (systemdCat !== undefined) {
    const journal = ['--identifier=secretsfs', '/bin/sh', '-c', SWAP_DESCRIPTORS, 'sh', program, ...args];
    child = spawn(systemdCat, journal, { ...options, stdio: ['ignore', 'ignore', 'ignore', 'pipe'] });
    pipe = child.stdio[LOG_FD] as ChildProcess['stderr'];
  } else {
    // Of a mount that has no settings there is to be no log.
    if (wanted.config !== undefined) (await import('./config-file.ts')).readConfigFile(wanted.config);
    child = spawn(program, args, { ...options, stdio: ['ignore', 'ignore', 'pipe', openLog(wanted)] });
    pipe = child.stderr;
  }
  let said = '';
  await new Promise<void>((resolve, reject) => {
    child.once('error', reject);
    pipe?.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
    pipe?.once('close', resolve);
  });
  child.unref();
  return said;
}

/** A program in PATH, which mount(8) may leave unset: a container may have the journal's socket without systemd-cat. */
function find(program: string, { PATH = DEFAULT_PATH }: NodeJS.ProcessEnv): string | undefined {
  const places = PATH.split(':').filter((directory) => path.isAbsolute(directory));
  return places.map((directory) => path.join(directory, program)).find((file) => existsSync(file));
}

function mountArguments({ source, instance, config, flags, selinuxContext }: FstabMount): string[] {
  const args = [`--log-fd=${LOG_FD}`, `--fsname=${source}`, ...flags];
  if (instance !== undefined && !flags.some((flag) => flag.startsWith('--instance=')))
    args.push(`--instance=${instance}`);
  if (config !== undefined) args.push(`--config=${config}`);
  // As mount(8) does it for others: where no SELinux runs, nobody has a use for it, and the kernel refuses it.
  if (selinuxContext !== undefined && existsSync(SELINUX)) args.push(`--selinux-context=${selinuxContext}`);
  return args;
}

/** The two that have no flag; and nothing of a service that is being started: it is not us whom it waits for. */
function mountEnvironment({ mountpoint, bundle }: FstabMount, env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const { NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID, ...rest } = env;
  return {
    ...rest,
    SECRETSFS_MOUNTPOINT: mountpoint,
    ...(bundle === undefined ? {} : { SECRETSFS_BUNDLE: bundle }),
  };
}

function openLog({ log, instance }: FstabMount): number {
  const file = log ?? path.join(LOG_DIRECTORY, `${instance ?? 'mounts'}.log`);
  try {
    if (log === undefined) mkdirSync(LOG_DIRECTORY, { recursive: true, mode: 0o750 });
    return openSync(file, 'a', 0o640);
  } catch (cause) {
    throw new MountError('mount-failed', `cannot write the log ${quote(file)}: ${errnoWords(cause)}`, {
      hint: 'the option log=FILE names another',
      cause,
    });
  }
}
