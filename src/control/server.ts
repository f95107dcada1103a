/**
 * The daemon's end of the control sockets. One request a connection, a bounded line, a time limit: whoever connects
 * can neither block the daemon nor make it remember anything.
 */
import { chmod, chown, rmdir, unlink } from 'node:fs/promises';
import { connect, createServer, type Server, type Socket } from 'node:net';
import path from 'node:path';
import { ControlError, quote, SecretsfsError } from '../errors.ts';
import { CONTROL_SOCKET, STATUS_SOCKET } from './directory.ts';
import {
  type Arguments,
  failureOf,
  type HookResult,
  OPERATIONS,
  type Operation,
  PROTOCOL_VERSION,
  READ_ONLY_OPERATIONS,
  REQUEST_BYTES_MAX,
  type RemountResult,
  requestSchema,
  type Status,
  type UnmountResult,
  type UpgradeResult,
} from './protocol.ts';

/** A client has this long to send its line. */
const REQUEST_MS_MAX = 5_000;
/** A client has this long to read its answer. */
const ANSWER_MS_MAX = 5_000;
/** More clients than this at once are turned away: each costs a descriptor. */
const CONNECTIONS_MAX = 256;

/** What a mount can be asked. Each may throw a SecretsfsError, which travels to the client. */
export interface Operations {
  status(): Promise<Status>;
  /** Resolves once a generation is served. */
  wait(): Promise<Status>;
  remount(args: Arguments): Promise<RemountResult>;
  /** Resolves when nothing is mounted any more and all plaintext is wiped. */
  unmount(): Promise<UnmountResult>;
  /** Resolves when every process runs the program that is now on disk. */
  upgrade(): Promise<UpgradeResult>;
  /** Runs a hook now. Resolves when it has run. */
  hook(args: Arguments): Promise<HookResult>;
}

export interface ControlServer {
  /** Closes and removes the sockets. */
  close(): Promise<void>;
}

interface Answering {
  readonly operations: Operations;
  /** Called for a failure that is a bug, after the client was told so. */
  readonly onBug: (error: unknown) => void;
}

/** Listens in `directory` (made by makeSocketDirectory). `statusGid` adds the read-only socket for that group. */
export async function serveControl(
  options: Answering & {
    readonly directory: string;
    readonly statusGid?: number | undefined;
  },
): Promise<ControlServer> {
  const { directory, statusGid } = options;
  const endpoints = new Endpoints(options);
  const open = async (file: string, allowed: readonly Operation[], mode: number, gid?: number) => {
    const socketPath = path.join(directory, file);
    await listen(endpoints.add(allowed), socketPath);
    if (gid !== undefined) await chown(socketPath, -1, gid);
    await chmod(socketPath, mode);
  };
  const close = async () => {
    await endpoints.close();
    await rmdir(directory).catch(() => undefined);
  };
  try {
    await open(CONTROL_SOCKET, OPERATIONS, 0o600);
    if (statusGid !== undefined) await open(STATUS_SOCKET, READ_ONLY_OPERATIONS, 0o660, statusGid);
    else await unlink(path.join(directory, STATUS_SOCKET)).catch(() => undefined);
  } catch (error) {
    await close();
    throw error;
  }
  return { close };
}

/** Answers on sockets that somebody else made, listens on, and removes. close() closes the descriptors. */
export async function serveListening(
  options: Answering & { readonly controlFd: number; readonly statusFd?: number | undefined },
): Promise<ControlServer> {
  const { controlFd, statusFd } = options;
  const endpoints = new Endpoints(options);
  const open = (fd: number, allowed: readonly Operation[]) =>
    new Promise<void>((resolve, reject) => {
      endpoints.add(allowed).once('error', reject).listen({ fd }, resolve);
    });
  try {
    await open(controlFd, OPERATIONS);
    if (statusFd !== undefined) await open(statusFd, READ_ONLY_OPERATIONS);
  } catch (error) {
    await endpoints.close();
    throw error;
  }
  return { close: () => endpoints.close() };
}

/** The servers of one mount, and who is connected to them. */
class Endpoints {
  readonly #answering: Answering;
  readonly #servers: Server[] = [];
  readonly #sockets = new Set<Socket>();

  constructor(answering: Answering) {
    this.#answering = answering;
  }

  /** A server that does not listen yet. */
  add(allowed: readonly Operation[]): Server {
    const { operations, onBug } = this.#answering;
    const server = createServer({ allowHalfOpen: true }, (socket) => {
      this.#sockets.add(socket);
      socket.on('close', () => this.#sockets.delete(socket));
      answer(socket, operations, allowed, onBug);
    });
    server.maxConnections = CONNECTIONS_MAX;
    this.#servers.push(server);
    return server;
  }

  async close(): Promise<void> {
    const closed = this.#servers.map((server) => new Promise((resolve) => server.close(resolve)));
    // Answers that were settled just now still go out; whoever waits for another gets none.
    await new Promise((resolve) => setImmediate(resolve));
    for (const socket of this.#sockets) socket.destroySoon();
    await Promise.all(closed);
  }
}

/** Binds with a mode of 0600 from the first instant; takes the path over from a daemon that is dead. */
async function listen(server: Server, socketPath: string): Promise<void> {
  for (let attempt = 0; ; attempt++) {
    const umask = process.umask(0o177);
    try {
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject);
        // Binding a unix socket happens inside this call, under the umask above.
        server.listen(socketPath, () => {
          server.removeListener('error', reject);
          resolve();
        });
        process.umask(umask);
      });
      return;
    } catch (cause) {
      process.umask(umask);
      if ((cause as NodeJS.ErrnoException).code !== 'EADDRINUSE' || attempt > 0) {
        throw new ControlError('control-directory', `cannot listen on ${quote(socketPath)}`, {
          hint: 'give --runtime-dir DIR, a directory that you may write to',
          cause,
        });
      }
      if (await isAlive(socketPath)) {
        throw new ControlError(
          'control-busy',
          `cannot start: a mount of this name answers on ${quote(socketPath)}`,
          {
            hint: 'secretsfs status shows it; give another --instance, or unmount it first',
          },
        );
      }
      await unlink(socketPath);
    }
  }
}

function isAlive(socketPath: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(socketPath);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    // Anything else, a full queue for one, is somebody who lives.
    socket.once('error', ({ code }: NodeJS.ErrnoException) =>
      resolve(code !== 'ECONNREFUSED' && code !== 'ENOENT'),
    );
  });
}

function answer(
  socket: Socket,
  operations: Operations,
  allowed: readonly Operation[],
  onBug: (error: unknown) => void,
): void {
  let text = '';
  let asked = false;
  let waiting = false;
  const finish = (body: object) => {
    if (socket.destroyed) return;
    socket.end(`${JSON.stringify({ v: PROTOCOL_VERSION, ...body })}\n`);
    // Whoever neither reads nor closes has had its time.
    setTimeout(() => socket.destroy(), ANSWER_MS_MAX).unref();
  };
  const refuse = (message: string) => {
    asked = true;
    finish({
      ok: false,
      error: failureOf(
        new ControlError('control-protocol', message, { hint: 'docs/cli-abi.md describes the protocol' }),
      ),
    });
    socket.destroySoon();
  };
  socket.setEncoding('utf8');
  const late = setTimeout(() => {
    if (!asked) refuse('cannot answer: no request came in time');
  }, REQUEST_MS_MAX);
  socket.on('close', () => clearTimeout(late));
  socket.on('error', () => socket.destroy());
  socket.on('end', () => {
    if (!asked) refuse('cannot answer: the request is not a line');
    // Whoever waits and goes away must not take up a place for ever.
    else if (waiting) socket.destroy();
  });
  socket.on('data', (chunk: string) => {
    if (asked) return;
    text += chunk;
    const end = text.indexOf('\n');
    if (end < 0 && text.length <= REQUEST_BYTES_MAX) return;
    if (end < 0 || end > REQUEST_BYTES_MAX) return refuse('cannot answer: the request is too long');
    const request = parseRequest(text.slice(0, end));
    if (request === undefined) {
      return refuse(`cannot answer: want {"v":${PROTOCOL_VERSION},"op":"${OPERATIONS.join('"|"')}"}`);
    }
    const { op: operation, ...args } = request;
    asked = true;
    waiting = operation === 'wait';
    if (!allowed.includes(operation)) {
      const error = new ControlError(
        'control-denied',
        `cannot ${operation}: this socket answers status only`,
        {
          hint: 'run as root, or as the user of the mount',
        },
      );
      return finish({ ok: false, error: failureOf(error) });
    }
    operations[operation](args).then(
      (result) => finish({ ok: true, result }),
      (error: unknown) => {
        if (error instanceof SecretsfsError) return finish({ ok: false, error: failureOf(error) });
        onBug(error);
        const failure = { code: 'bug', message: 'internal error: see the log of the mount', exitCode: 1 };
        finish({ ok: false, error: failure });
      },
    );
  });
}

function parseRequest(line: string): (Arguments & { readonly op: Operation }) | undefined {
  try {
    const request = requestSchema.safeParse(JSON.parse(line)).data;
    if (request === undefined) return undefined;
    const { v, ...rest } = request;
    return rest;
  } catch {
    return undefined;
  }
}
