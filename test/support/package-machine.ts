/** A Debian of its own that packages are put into, and what is seen of one there. */
import { cp, readdir, readFile } from 'node:fs/promises';
import type { TestContext } from 'node:test';
import { writeArchive } from '../../src/bundle/archive.ts';
import type { Status } from '../../src/control/protocol.ts';
import { KEY, sealTest } from './bundles.ts';
import { debianRoot } from './debian.ts';
import { file } from './entries.ts';
import { Systemd } from './systemd.ts';

export const SETTINGS = 'bundle: /etc/secretsfs/web.enc\nacceptKey: local:/etc/secretsfs/key\n';
const EVERY_FILE = ['/', '-xdev', '-printf', '%p\\n'];
/** What dpkg, systemd and the account tools write for themselves. */
const OF_THE_SYSTEM =
  /^\/(var\/(log|cache|tmp)\/|var\/lib\/(dpkg|systemd)\/|etc\/(passwd|group|shadow|gshadow)-$|etc\/\.pwd\.lock$|root\/)/;

/** `deb`: what is installed in it. */
export async function machineWith(t: TestContext, deb?: string): Promise<Systemd> {
  const machine = await Systemd.machine(t, await debianRoot());
  if (deb !== undefined) await install(machine, deb);
  return machine;
}

/** dpkg -i; what it said. Throws where it failed. */
export async function install(machine: Systemd, deb: string): Promise<string> {
  await cp(deb, machine.path('/root/secretsfs.deb'));
  return machine.must('/bin/sh', ['-c', 'dpkg -i /root/secretsfs.deb 2>&1']);
}

export const filesOf = async (machine: Systemd) =>
  new Set((await machine.must('find', EVERY_FILE)).split('\n'));

/** What is there that was not, and the reverse. */
export async function differences(machine: Systemd, before: ReadonlySet<string>): Promise<string[]> {
  const now = await filesOf(machine);
  const changed = [...now, ...before].filter((name) => !(now.has(name) && before.has(name)));
  const isOurs = (name: string) => /secretsfs/.test(name) && !name.startsWith('/root/');
  return changed.filter((name) => (isOurs(name) || !OF_THE_SYSTEM.test(name)) && name !== '/root').sort();
}

/** One file, `secret`, in a bundle that SETTINGS name, which are those of `web`. */
export async function putBundle(machine: Systemd, secret: string): Promise<void> {
  await machine.write('/etc/secretsfs/key', KEY, 0o400);
  const tar = await writeArchive([file('secret', secret)]);
  await machine.write('/etc/secretsfs/web.enc', await sealTest(tar, { serial: Date.now() }));
  await machine.write('/etc/secretsfs/web.yaml', SETTINGS);
}

export async function statusOf(machine: Systemd): Promise<Status> {
  return JSON.parse(await machine.must('secretsfs', ['status', 'web', '--json']))[0];
}

export async function pidOf(machine: Systemd, role: string): Promise<number> {
  const { processes = [] } = await statusOf(machine);
  const pid = processes.find((each) => each.role === role)?.pid;
  if (pid === undefined) throw new Error(`there is no ${role}`);
  return pid;
}

/** The supervisor's store, by its descriptor. */
export async function storeOf(machine: Systemd): Promise<string> {
  const fds = `/proc/${await pidOf(machine, 'supervisor')}/fd`;
  for (const fd of await readdir(machine.path(fds))) {
    const names: string[] = await readdir(`${machine.path(fds)}/${fd}/`).catch(() => []);
    if (names.includes('handover')) return `${fds}/${fd}`;
  }
  throw new Error('the supervisor has no store');
}

/** Reads the file, which has to say `one`, until it is told to stop. */
export function readAllTheTime(name: string): { stop(): Promise<{ reads: number; failed: string[] }> } {
  const failed: string[] = [];
  let [reads, goesOn] = [0, true];
  const reading = (async () => {
    while (goesOn) {
      reads += 1;
      const text = await readFile(name, 'utf8').catch((error: unknown) => String(error));
      if (text !== 'one') failed.push(text);
    }
  })();
  return {
    async stop() {
      goesOn = false;
      await reading;
      return { reads, failed };
    },
  };
}
