/**
 * What the supervisor before this one left with systemd, looked at before it is used: the kernel connection, the store, a view of
 * the mount. Nobody but that supervisor and root can have put it there; still, what is not exactly that is not used.
 */
import { fstatSync, readlinkSync, statSync } from 'node:fs';
import { KernelMount } from '../fuse/kernel/mount.ts';
import { FSTYPE } from '../fuse/mountpoint.ts';
import { lastControl, whyNoStore } from '../store/handed.ts';
import { RamfsStore } from '../store/ramfs.ts';
import type { Received } from '../system/fd-store.ts';
import { closeQuietly } from '../system/files.ts';
import { readMounts } from '../system/mountinfo.ts';
import { deviceOf } from '../system/statx.ts';
import { isBroken } from '../system/wait.ts';
import { decodeFacts, FACTS_BYTES_MAX, type Facts } from './facts.ts';
import { type HandoverRecord, readRecord } from './handover-record.ts';
import { type Restored, restore } from './restored.ts';

/** Under which names systemd keeps them. */
export const NAMES = { fuse: 'secretsfs-fuse', store: 'secretsfs-store', view: 'secretsfs-view' } as const;

/** Linux's misc device 229, Documentation/admin-guide/devices.txt. */
const FUSE_RDEV = (10 << 8) | 229;

export interface Handed {
  readonly restored: Restored;
  readonly record: HandoverRecord;
  readonly facts: Facts;
}

/** Why it can't be used, and what of it must be wiped all the same. */
export interface Unusable {
  readonly why: string;
  readonly store: RamfsStore | undefined;
  readonly mount: KernelMount | undefined;
}

/**
 * `received`: of receivedDescriptors(), at least one. What is returned is the caller's; of what is unusable all descriptors but the
 * store's and the mount's are closed. Whether it is the mount that is wanted, the record says.
 */
export async function examine(received: readonly Received[], nowMs: number): Promise<Handed | Unusable> {
  const found = { store: undefined as RamfsStore | undefined, mount: undefined as KernelMount | undefined };
  const fds = Object.values(NAMES).map((name) => received.filter((each) => each.name === name));
  const [[fuse], [directory], [view]] = fds as [Received[], Received[], Received[]];
  const unusable = (why: string): Unusable => {
    const kept = [found.store?.directoryFd, found.mount?.cloneFd];
    closeQuietly(...received.map(({ fd }) => fd).filter((fd) => !kept.includes(fd)));
    return { why, ...found };
  };
  try {
    if (
      received.length !== fds.length ||
      fuse === undefined ||
      directory === undefined ||
      view === undefined
    ) {
      const isOne = received.filter(({ name }) => name === NAMES.store).length === 1;
      const why = 'it is not a connection, a store and a view';
      return unusable((isOne && directory !== undefined && (await findAlone(directory.fd, found))) || why);
    }
    // Nothing is asked of a mount whose server is gone: not even what it is.
    if (deviceOf(directory.fd) === deviceOf(view.fd)) return unusable('the store is the mount');
    const owner = ownerOfStore(directory.fd);
    const whyNot = await whyNoStore(directory.fd, owner);
    if (whyNot !== undefined) return unusable(`the store is none of ours: ${whyNot}`);
    found.store = RamfsStore.adopt(directory.fd, owner);
    const control = lastControl(directory.fd);
    if (control === undefined) return unusable('the store is of another version');
    const record = readRecord(found.store.notes);
    const facts = decodeFacts(found.store.notes.read(`facts-${control.live}`, FACTS_BYTES_MAX));
    if (record === undefined || facts === undefined) return unusable('it is of another version');
    const { server } = record.same.users;
    if (server.uid !== owner.serverUid || server.gid !== owner.serverGid)
      return unusable('the store has another owner');
    if (!isDevice(fuse.fd)) return unusable('the connection is none');
    if (deviceOf(view.fd) !== record.mount.device) return unusable('the view is of another filesystem');
    const mount = new KernelMount(record.same.mountpoint, { ...record.mount, cloneFd: view.fd });
    found.mount = mount;
    if (control.closed) return unusable('it was being unmounted');
    if (isBroken(fuse.fd)) return unusable('the connection was ended');
    if (!(await isInTable(record))) return unusable('somebody else unmounted it');
    const images = facts.parts.flatMap(({ image }) => image?.id ?? []);
    const ground = { fuseFd: fuse.fd, store: found.store, control, mount };
    return { restored: restore(ground, images, nowMs), record, facts };
  } catch (error) {
    return unusable((error as Error).message);
  }
}

/**
 * A store without the rest: nobody goes on with it. Puts into `found` what is to be ended; returns why it is none of ours, or has
 * nothing to say.
 */
async function findAlone(
  directoryFd: number,
  found: { store: RamfsStore | undefined; mount: KernelMount | undefined },
): Promise<string | undefined> {
  const owner = ownerOfStore(directoryFd);
  const whyNot = await whyNoStore(directoryFd, owner);
  if (whyNot !== undefined) return `the store is none of ours: ${whyNot}`;
  found.store = RamfsStore.adopt(directoryFd, owner);
  const record = readRecord(found.store.notes);
  if (record === undefined) return 'it is of another version';
  if (await isInTable(record)) {
    // There is no view of it, and none to be closed.
    found.mount = new KernelMount(record.same.mountpoint, { ...record.mount, cloneFd: -1 });
  }
  return undefined;
}

async function isInTable({ mount, same }: HandoverRecord): Promise<boolean> {
  const entry = (await readMounts()).find(({ id, device }) => id === mount.id && device === mount.device);
  return entry?.fstype === FSTYPE && entry.mountpoint === same.mountpoint;
}

export function isUsable(handed: Handed | Unusable): handed is Handed {
  return 'restored' in handed;
}

/** Of the file that is the server's. */
function ownerOfStore(directoryFd: number): { readonly serverUid: number; readonly serverGid: number } {
  const { uid, gid } = statSync(`/proc/self/fd/${directoryFd}/status`);
  return { serverUid: uid, serverGid: gid };
}

/** Not of the mounted filesystem: of the descriptor of its device. */
function isDevice(fd: number): boolean {
  const stat = fstatSync(fd);
  return (
    stat.isCharacterDevice() && stat.rdev === FUSE_RDEV && readlinkSync(`/proc/self/fd/${fd}`) === '/dev/fuse'
  );
}
