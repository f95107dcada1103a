/**
 * The trial runner: where programs look at a generation that is not live yet. It starts in a mount namespace and a pid
 * namespace of its own, puts the trial mount where the live one is there, and runs what it is told to. Nobody else sees
 * that mount, and when the runner ends, however it ends, the kernel ends all that it started and takes the mount with it.
 *
 * Descriptors: 3 the trial mount, attached nowhere yet, 4 the channel to the supervisor (trial-channel.ts). It has neither a
 * FUSE connection nor a store: whoever waits for the trial mount can be ended by ending its server.
 *
 * It is root, and what it runs may be. The right to mount is gone before the first program starts.
 */
import { closeSync, fchownSync, readlinkSync } from 'node:fs';
import { Socket } from 'node:net';
import { makePipe, openDirectoryPath } from '../system/files.ts';
import { SystemCallError } from '../system/libc.ts';
import { readMounts } from '../system/mountinfo.ts';
import { attachHere, MNT_DETACH, unmount } from '../system/mounts.ts';
import { available, dropCapabilities } from '../system/privileges.ts';
import type { Account } from '../system/users.ts';
import { Channel, ChannelError } from './channel.ts';
import { enterChild } from './child.ts';
import { runProgram } from './hook-process.ts';
import { PROGRAM_CAPABILITIES } from './trial-capabilities.ts';
import { type FromRunner, parseMountpoint, parseRunOrder, type RunOrder } from './trial-channel.ts';

const MOUNT_FD = 3;
const CHANNEL_FD = 4;
/** Read by nobody: programs are told nothing. */
const NOTHING = new Uint8Array(0);

/** The process. Ends with its channel. */
export async function runTrialRunner(): Promise<never> {
  enterChild({ role: 'trial', fds: [/^\/$/, /^socket:/] });
  const channel = new Channel(new Socket({ fd: CHANNEL_FD, readable: true, writable: true }));
  const say = (message: FromRunner) => channel.send({ ...message });
  try {
    const mountpoint = parseMountpoint(await channel.receive());
    try {
      await attach(mountpoint);
      dropCapabilities(available(PROGRAM_CAPABILITIES));
    } catch (error) {
      say({ failed: whyNot(error) });
      await channel.receive();
      process.exit(1);
    }
    say({ attached: true });
    for (let next = channel.receive(); ; ) {
      const order = parseRunOrder(await next);
      next = channel.receive();
      // Its end while a program runs: nobody waits for that any more.
      next.catch(() => process.exit(0));
      await run(order, say);
    }
  } catch (error) {
    if (error instanceof ChannelError) process.exit(0);
    throw error;
  }
}

/** In this namespace alone, what stands there makes room: programs can't get below the trial mount, nor around it. */
async function attach(mountpoint: string): Promise<void> {
  const there = (await readMounts()).filter((entry) => entry.mountpoint === mountpoint);
  for (const _ of there) unmount(mountpoint, MNT_DETACH);
  const directoryFd = openDirectoryPath(mountpoint);
  try {
    if (readlinkSync(`/proc/self/fd/${directoryFd}`) !== mountpoint)
      throw new Error('the mountpoint was replaced');
    attachHere(MOUNT_FD, directoryFd);
  } finally {
    closeSync(directoryFd);
  }
  closeSync(MOUNT_FD);
}

async function run({ run, user, timeoutMs }: RunOrder, say: (message: FromRunner) => void): Promise<void> {
  const ended = await runProgram({
    argv: run,
    user,
    environment: {},
    stdin: NOTHING,
    timeoutMs,
    signal: new AbortController().signal,
    onLine: (stream, line) => say({ line, stream }),
    openOutput: () => pipeOf(user),
  });
  say({ ended });
}

/** Servers open /dev/stderr by its name, for their log: that works with a pipe, by whom it belongs to. */
function pipeOf({ uid, gid }: Account) {
  const { readFd, writeFd } = makePipe();
  fchownSync(writeFd, uid, gid);
  return { writeFd, stream: new Socket({ fd: readFd, readable: true, writable: false }) };
}

function whyNot(error: unknown): string {
  if (error instanceof SystemCallError) return error.message;
  return (error as NodeJS.ErrnoException).code ?? (error instanceof Error ? error.message : 'unknown');
}
