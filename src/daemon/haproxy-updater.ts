/**
 * Hands changed certificates from the mount to haproxy's runtime API and ends. It sees their plaintext, which the supervisor must
 * not, and waits for the mount, which the supervisor can't: so it is a process of its own, with neither the kernel connection nor
 * the store. Each file is a transaction: set, then commit; what is not committed is aborted and leaves haproxy as it was.
 *
 * Descriptors: 3 the channel. Buffers are overwritten before it ends; nothing of them becomes a string.
 */
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { connect, Socket } from 'node:net';
import {
  isAccepted,
  isCommitted,
  isPlainName,
  keepPemBlocks,
  loadedCertificates,
  PEM_BYTES_MAX,
} from '../hooks/haproxy.ts';
import { Channel } from './channel.ts';
import { enterChild } from './child.ts';
import { type HaproxyResult, type HaproxyTask, haproxyTaskSchema } from './haproxy-channel.ts';

const CHANNEL_FD = 3;
/** Names of all that is loaded: thousands of them. */
const ANSWER_BYTES_MAX = 8 * 1024 * 1024;

type Failure = NonNullable<HaproxyResult['failed']>;

class UpdateError extends Error {
  readonly failure: Failure;
  constructor(failure: Failure) {
    super(failure);
    this.failure = failure;
  }
}

/** The process. Never returns. */
export async function runHaproxyUpdater(): Promise<never> {
  enterChild({ role: 'haproxy', fds: [/^socket:/] });
  const channel = new Channel(new Socket({ fd: CHANNEL_FD, readable: true, writable: true }));
  const task = haproxyTaskSchema.parse(await channel.receive());
  channel.send(await updateCertificates(task));
  channel.end();
  // Until the supervisor, which has its answer, closes it or kills us.
  await channel.receive().catch(() => undefined);
  process.exit(0);
}

/** One after the other, up to the first that fails. Never rejects for what the world does. */
export async function updateCertificates({ socket, timeoutMs, files }: HaproxyTask): Promise<HaproxyResult> {
  const deadlineMs = performance.now() + timeoutMs;
  const say = (...parts: Uint8Array[]) => exchange(socket, parts, deadlineMs - performance.now());
  const command = (line: string) => say(Buffer.from(`${line}\n`));
  let updated = 0;
  try {
    const loaded = loadedCertificates(await command('show ssl cert'));
    if (files.some(({ name }) => !isPlainName(name) || !loaded.has(name)))
      throw new UpdateError('unknown-file');
    for (const { path, name } of files) {
      await withPem(path, async (pem) => {
        const accepted = await say(Buffer.from(`set ssl cert ${name} <<\n`), pem, Buffer.from('\n'));
        if (!isAccepted(accepted)) throw new UpdateError('refused');
      });
      if (!isCommitted(await command(`commit ssl cert ${name}`))) {
        await command(`abort ssl cert ${name}`);
        throw new UpdateError('not-committed');
      }
      updated += 1;
    }
    return { updated, failed: null };
  } catch (error) {
    if (!(error instanceof UpdateError)) throw error;
    return { updated, failed: error.failure };
  }
}

/** Lends the PEM blocks of a file to `use`, and overwrites them. */
async function withPem(path: string, use: (pem: Buffer) => Promise<void>): Promise<void> {
  const bytes = readWhole(path);
  try {
    const length = keepPemBlocks(bytes);
    if (length === 0) throw new UpdateError('not-pem');
    await use(bytes.subarray(0, length));
  } finally {
    bytes.fill(0);
  }
}

/** With a newline at the end. */
function readWhole(path: string): Buffer {
  let fd: number | undefined;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const { size } = fstatSync(fd);
    if (size > PEM_BYTES_MAX) throw new UpdateError('not-pem');
    const bytes = Buffer.alloc(size + 1, '\n');
    let at = 0;
    for (let got = -1; got !== 0 && at < size; at += got) got = readSync(fd, bytes, at, size - at, at);
    return bytes;
  } catch (error) {
    throw error instanceof UpdateError ? error : new UpdateError('unreadable');
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

/** One command a connection: haproxy answers and closes. */
function exchange(path: string, parts: readonly Uint8Array[], timeoutMs: number): Promise<string> {
  return new Promise((resolve, reject) => {
    let answer = '';
    const socket = connect(path);
    const fail = (failure: Failure) => {
      clearTimeout(timer);
      socket.destroy();
      reject(new UpdateError(failure));
    };
    const timer = setTimeout(() => fail('timeout'), Math.max(1, timeoutMs));
    socket.setEncoding('latin1');
    socket.on('connect', () => {
      for (const part of parts) socket.write(part);
    });
    socket.on('data', (text: string) => {
      answer += text;
      if (answer.length > ANSWER_BYTES_MAX) fail('socket');
    });
    socket.on('error', () => fail('socket'));
    socket.on('end', () => {
      clearTimeout(timer);
      socket.destroy();
      resolve(answer);
    });
  });
}
