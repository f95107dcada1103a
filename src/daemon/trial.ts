/**
 * A candidate, served where the live generation is, for programs to look at before it goes live: a FUSE connection and a
 * server of its own, and a runner in whose namespaces alone that mount exists (trial-runner.ts). The server reads the
 * candidate's image in the store, the one that will be live: nothing is copied.
 *
 * Invariants: nothing here waits for the trial mount; when tryCandidate() has settled, its connection, its mount, its
 * processes and theirs are gone. Should this process end before that, they end with it.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { MountError, quote } from '../errors.ts';
import { openDevice } from '../fuse/device.ts';
import { negotiate } from '../fuse/kernel/init.ts';
import { answerInit } from '../fuse/kernel/mount.ts';
import { RamfsStore } from '../store/ramfs.ts';
import { closeQuietly } from '../system/files.ts';
import { SystemCallError } from '../system/libc.ts';
import { makeFuseAside } from '../system/mounts.ts';
import type { ProcessUser } from '../system/process-users.ts';
import type { Account } from '../system/users.ts';
import { refused } from './candidate.ts';
import { ChannelError, type Message } from './channel.ts';
import type { Child } from './children.ts';
import { ControlPage } from './control-page.ts';
import type { ProgramEnd } from './hook-process.ts';
import type { Log } from './log.ts';
import { parseFromRunner } from './trial-channel.ts';

/** A server and a runner that have not started by then never will. */
const READY_MS_MAX = 20_000;
/** The kernel has sent INIT before the filesystem is made. */
const INIT_MS_MAX = 1_000;
/** For the runner to say that time is up. Then it is the trial mount that is waited for, and that is ended. */
const LATE_MS_MAX = 3_000;
/** For what is ended to be gone. */
const GONE_MS_MAX = 5_000;

export interface TrialOptions {
  /** Without symlinks. */
  readonly mountpoint: string;
  /** What the mount table shows. */
  readonly source: string;
  readonly cache: 'page' | 'none';
  readonly fastOpen: boolean;
  readonly preserve: boolean;
  /** The server's. */
  readonly user: ProcessUser;
}

export interface TrialPorts {
  readonly spawnServer: (fds: { fuse: number; store: number; image: number }) => Child;
  readonly spawnRunner: (fds: { mount: number }) => Child;
  readonly log: Log;
  readonly nowMs: () => number;
}

/** A program, as it is run. */
export interface TrialCheck {
  readonly name: string;
  readonly run: readonly [string, ...string[]];
  readonly timeout: number;
  readonly user: Account;
}

/** A generation's image, by a descriptor that stays the caller's. */
export interface Tried {
  readonly id: number;
  readonly imageFd: number;
}

/**
 * Runs the checks, one after the other. Throws MountError check-exec for the first that does not end with 0, and where they
 * could not be run, or the signal said so meanwhile; generation-refused where the server can't serve the generation.
 */
export async function tryCandidate(
  tried: Tried,
  checks: readonly TrialCheck[],
  options: TrialOptions,
  ports: TrialPorts,
  signal: AbortSignal,
): Promise<void> {
  let trial: Trial | undefined;
  let stop = () => {};
  const stopped = new Promise<never>((_, reject) => {
    stop = () => reject(cannotTry('the mount is stopping'));
    if (signal.aborted) stop();
  });
  signal.addEventListener('abort', stop);
  stopped.catch(() => undefined);
  try {
    if (!signal.aborted) trial = new Trial(tried, options, ports);
    await Promise.race([stopped, trial?.run(checks)]);
  } catch (error) {
    if (error === LATE) throw cannotTry('it takes too long to start');
    if (error instanceof SystemCallError || error instanceof ChannelError)
      throw cannotTry(error.message, error);
    throw error;
  } finally {
    // It lives as long as the mount.
    signal.removeEventListener('abort', stop);
    await trial?.end();
  }
}

class Trial {
  readonly #ports: TrialPorts;
  readonly #mountpoint: string;
  readonly #fuseFd: number;
  #store: RamfsStore | undefined;
  #server: Child | undefined;
  #runner: Child | undefined;
  #ending = false;

  /** Starts all of it. What it throws leaves nothing. */
  constructor({ id, imageFd }: Tried, options: TrialOptions, ports: TrialPorts) {
    const { mountpoint, source, cache, fastOpen, preserve, user } = options;
    this.#ports = ports;
    this.#mountpoint = mountpoint;
    this.#fuseFd = openDevice();
    let mountFd: number | undefined;
    try {
      const store = RamfsStore.create({ serverUid: user.uid, serverGid: user.gid });
      this.#store = store;
      const page = new ControlPage(store, {
        cachePolicy: cache,
        fastOpen,
        resend: false,
        // There is one generation, and there will be no other.
        consistencyWindowMs: 0,
        preserve,
      });
      mountFd = makeFuseAside({ fuseFd: this.#fuseFd, source });
      page.parameters = answerInit(this.#fuseFd, {
        path: mountpoint,
        negotiate: (request) => negotiate(request, { resend: false }),
        initTimeoutMs: INIT_MS_MAX,
      });
      page.show({ live: id });
      this.#server = ports.spawnServer({ fuse: this.#fuseFd, store: store.directoryFd, image: imageFd });
      this.#runner = ports.spawnRunner({ mount: mountFd });
    } catch (error) {
      void this.end();
      throw error;
    } finally {
      closeQuietly(mountFd);
    }
  }

  async run(checks: readonly TrialCheck[]): Promise<void> {
    const [server, runner] = [this.#server as Child, this.#runner as Child];
    await Promise.race([died('server', server), died('runner', runner), this.#run(server, runner, checks)]);
  }

  /** Resolves when nothing of it is left. Never throws. */
  async end(): Promise<void> {
    if (this.#ending) return;
    this.#ending = true;
    this.#server?.kill('SIGKILL');
    await this.#server?.exited;
    this.#store?.close();
    // The last one: the connection ends, and whoever waits for an answer gets an error.
    closeQuietly(this.#fuseFd);
    const runner = this.#runner;
    if (runner === undefined) return;
    runner.channel.close();
    if (await isGone(runner)) return;
    runner.kill('SIGKILL');
    if (!(await isGone(runner))) this.#ports.log.warn('check-left', { pid: runner.pid });
  }

  async #run(server: Child, runner: Child, checks: readonly TrialCheck[]): Promise<void> {
    await Promise.all([this.#serve(server), this.#attach(runner)]);
    for (const check of checks) await this.#check(runner, check);
  }

  async #serve(server: Child): Promise<void> {
    const said = await hear(server, 'server', READY_MS_MAX);
    if (said['ready'] !== true) throw refused(reason(said['refused']));
    server.channel.send({ go: true, skip: false });
  }

  async #attach(runner: Child): Promise<void> {
    runner.channel.send({ mountpoint: this.#mountpoint });
    const said = parseFromRunner(await hear(runner, 'runner', READY_MS_MAX));
    if ('attached' in said) return;
    throw cannotTry('failed' in said ? said.failed : 'its runner talks nonsense');
  }

  async #check(runner: Child, check: TrialCheck): Promise<void> {
    const { log, nowMs } = this.#ports;
    const { name, run, user, timeout } = check;
    const startedMs = nowMs();
    const endMs = startedMs + timeout + LATE_MS_MAX;
    runner.channel.send({ run, user, timeoutMs: timeout });
    const said: string[] = [];
    let ended: ProgramEnd | undefined;
    while (ended === undefined) {
      const heard = await hear(runner, 'runner', endMs - nowMs()).then(parseFromRunner, (error: unknown) => {
        // It waits for the mount, and can't be killed: end() is what ends it.
        if (error === LATE)
          return { ended: { code: undefined, signal: undefined, isLate: true, dropped: 0 } };
        throw error;
      });
      if ('ended' in heard) ended = heard.ended;
      if (!('line' in heard)) continue;
      const { stream, line } = heard;
      said.push(line);
      log.info('check-output', { check: name, stream, line });
    }
    if (ended.dropped > 0) log.warn('check-output', { check: name, dropped: ended.dropped });
    const ms = Math.round(nowMs() - startedMs);
    if (ended.code === 0 && !ended.isLate) {
      log.info('check-passed', { check: name, ms });
      return;
    }
    const how = howItEnded(ended, timeout);
    log.warn('check-refused', { check: name, ms, how });
    throw failed(check, how, tellingLine(said));
  }
}

/** Rejects when the child has ended. */
async function died(what: string, child: Child): Promise<never> {
  const { code, signal } = await child.exited;
  // A server ends by itself when it is unmounted; its runner's end may be heard of a moment later.
  if (child.role === 'server' && code === 0) throw cannotTry('its mount is gone');
  throw cannotTry(`its ${what} ended with ${signal ?? `code ${code}`}`);
}

const LATE = Symbol('late');

/** The next thing that a child says. Rejects with LATE, or as died(). */
async function hear(child: Child, what: string, timeoutMs: number): Promise<Message> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(LATE), timeoutMs);
  });
  try {
    return await Promise.race([child.channel.receive(), late]);
  } catch (error) {
    if (!(error instanceof ChannelError)) throw error;
    // It is gone, or says what is no message.
    child.kill('SIGKILL');
    return died(what, child);
  } finally {
    clearTimeout(timer);
  }
}

async function isGone(child: Child): Promise<boolean> {
  const timer = new AbortController();
  const late = sleep(GONE_MS_MAX, false, { signal: timer.signal }).catch(() => false);
  const gone = await Promise.race([child.exited.then(() => true), late]);
  timer.abort();
  return gone;
}

function reason(refusal: unknown): string {
  return refusal === 'version' || refusal === 'invalid' ? refusal : 'the server could not load it';
}

function howItEnded({ code, signal, isLate }: ProgramEnd, timeoutMs: number): string {
  if (isLate) return `did not end within ${timeoutMs} ms`;
  if (signal !== undefined) return `was ended by ${signal}`;
  return code === undefined ? 'could not be started' : `ended with code ${code}`;
}

/** The first line that speaks of an error, as nginx and haproxy do below what they have to say otherwise; else the first. */
function tellingLine(lines: readonly string[]): string | undefined {
  return (
    lines.find((line) => /\b(emerg|alert|crit|fatal|error)\b/i.test(line)) ??
    lines.find((line) => line !== '')
  );
}

function failed({ name, run }: TrialCheck, how: string, line: string | undefined): MountError {
  const said = line === undefined ? '' : `: ${quote(line)}`;
  return new MountError('check-exec', `cannot activate the generation: check ${quote(name)} ${how}${said}`, {
    hint: `the log has all that it said (check-output); on what is live, repeat it: ${command(run)}`,
  });
}

function cannotTry(why: string, cause?: unknown): MountError {
  return new MountError('check-exec', `cannot activate the generation: it could not be tried: ${why}`, {
    hint: 'what was live stays live, and it is tried again; the log says more',
    cause,
  });
}

/** For a shell, as far as a line goes. */
function command(argv: readonly string[]): string {
  return argv
    .map((word) => (/^[A-Za-z0-9_@%+=:,./-]+$/.test(word) ? word : quote(word)))
    .join(' ')
    .slice(0, 400);
}
