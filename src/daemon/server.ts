/**
 * The server: answers the kernel from the store, as a user of its own, with no network, no capability and no event loop.
 * It is started as a successor: it loads what is live, compiles its code, says that it is ready, and waits. Told to go,
 * it first answers the request that its predecessor may have taken into the grave, then asks for all others again.
 *
 * Descriptors: 3 /dev/fuse, 4 the store's directory, 5 the channel to the supervisor (server-channel.ts), and with
 * --cache none 6, the pipe to the notifier. The server of a trial (trial.ts) has the image that it serves there instead. What it must know while it serves stands in the control page.
 */
import { closeSync, fstatSync, openSync, writeSync } from 'node:fs';
import { constants, endianness } from 'node:os';
import { type FileRule, whyNotRuled } from '../checks/ownership.ts';
import { describeBug } from '../errors.ts';
import type { Policy } from '../fuse/kernel/context.ts';
import { canResend, type Params } from '../fuse/kernel/init.ts';
import { LATENCY_CELLS, Latencies } from '../fuse/kernel/latencies.ts';
import { answer, serve } from '../fuse/kernel/loop.ts';
import { resendNotification } from '../fuse/kernel/notifications.ts';
import { PagesPipe } from '../fuse/kernel/pages.ts';
import { OUT_HEADER_BYTES } from '../fuse/kernel/protocol.ts';
import { type Consistency, Session } from '../fuse/kernel/session.ts';
import { Staging } from '../fuse/kernel/staging.ts';
import { STALE_ANSWERS_WORDS } from '../fuse/kernel/stale-answers.ts';
import type { Generation } from '../generation/generation.ts';
import { whyNotPrivate } from '../generation/succession.ts';
import { type OpenGuard, openGuard } from '../opens/guard.ts';
import type { OpensSettings } from '../opens/rules.ts';
import { ImageError, openImage } from '../store/image.ts';
import {
  CONTROL,
  CONTROL_VERSION,
  type Control,
  decodeControl,
  LATENCIES_AT,
  PASSES_BYTES,
  READ_BUFFER_BYTES,
  REQUEST_BYTES,
  SHARED_BYTES,
  STATUS,
  STATUS_MAGIC,
  STATUS_VERSION,
} from '../store/shared.ts';
import { NativeDevice, setNonBlocking, writerTo } from '../system/device.ts';
import { type Mapping, native } from '../system/native.ts';
import { mapShared } from '../system/shared.ts';
import { monotonicClock, Threads } from '../system/threads.ts';
import { schedYield } from '../system/wait.ts';
import { PASSES_WORDS } from '../vfs/pass-words.ts';
import { SyncChannel } from './channel.ts';
import { enterChild } from './child.ts';
import { IMAGE_VARIABLE, OPENS_VARIABLE, RULES_BEFORE_VARIABLE, RULES_VARIABLE } from './roles.ts';
import { type FromServer, parseToServer, type ToServer } from './server-channel.ts';
import { ServerGenerations } from './server-generations.ts';
import { ServerLog } from './server-log.ts';
import { warmUp } from './server-warm-up.ts';

const FUSE_FD = 3;
const STORE_FD = 4;
const CHANNEL_FD = 5;
const PAGES_FD = 6;
const IMAGE_FD = 6;

const { EIO } = constants.errno;
/** By the rules of the config, which nobody but the supervisor says. Of none there are no paths to look at. */
function whyNotAllowed(): (generation: Generation) => string | undefined {
  const by = (rules: FileRule[]) =>
    rules.length === 0 ? whyNotPrivate : (generation: Generation) => whyNotRuled(generation, rules);
  const now = by(JSON.parse(process.env[RULES_VARIABLE] ?? '[]'));
  const told = process.env[RULES_BEFORE_VARIABLE];
  if (told === undefined) return now;
  const before = by(JSON.parse(told));
  return (generation) => now(generation) && before(generation);
}

/** A supervisor takes microseconds to write the control page. */
const CONTROL_WAIT_MS = 2000;

/** The process. Never returns: 0 when it was unmounted, replaced or not wanted, 1 when it can't serve. */
export function runServer(): never {
  const log = new ServerLog();
  try {
    process.exit(run(log) ? 0 : 1);
  } catch (error) {
    log.say('error', 'bug', { error: describeBug(error) });
    process.exit(1);
  }
}

function run(log: ServerLog): boolean {
  const isTrial = process.env[IMAGE_VARIABLE] !== undefined;
  // The pipe, where there is one, looks like one of Node's own.
  const fds = [/^\/dev\/fuse$/, /^\/$/, /^socket:/];
  enterChild({ role: 'server', fds: isTrial ? [...fds, /^\/gen-\d+$/] : fds });
  if (endianness() !== 'LE') throw new Error('this machine is big-endian');

  const channel = new SyncChannel(CHANNEL_FD);
  const control = new Uint32Array(mapFile('control', SHARED_BYTES, false).memory);
  const status = new Uint32Array(mapFile('status', SHARED_BYTES, true).memory);
  const request = mapFile('request', REQUEST_BYTES, true);

  if (control[CONTROL.version] !== CONTROL_VERSION) {
    say(channel, { refused: 'version' });
    return false;
  }
  let first = firstControl(control);
  let turn: ReturnType<typeof waitForTurn>;
  if (first.live === 0) {
    // The first server of a mount starts before there is anything to serve, and before the kernel was asked.
    turn = waitForTurn(channel, undefined, control);
    if (turn === undefined) return true;
    first = firstControl(control);
  }
  const params: Params = {
    minor: first.fuseMinor,
    flags: first.flags,
    flags2: first.flags2,
    maxReadBytes: first.maxReadBytes,
  };
  const policy: Policy = { cache: first.cachePolicy, fastOpen: first.fastOpen };
  const { consistencyWindowMs } = first;
  const consistency = consistencyWindowMs === 0 ? undefined : passesOf(consistencyWindowMs);
  const reply = native().map(OUT_HEADER_BYTES + params.maxReadBytes);
  native().lock(reply);

  let generations: ServerGenerations;
  try {
    const image = (id: number) => (isTrial ? `${IMAGE_FD}` : `${STORE_FD}/gen-${id}`);
    const open = (id: number) => openImage(`/proc/self/fd/${image(id)}`, id);
    const onRefused = log.generationRefused.bind(log);
    generations = new ServerGenerations({ control, open, whyNotAllowed: whyNotAllowed(), onRefused }, first);
  } catch (error) {
    if (!(error instanceof ImageError)) throw error;
    log.generationRefused(first.live, error.reason);
    say(channel, { refused: error.reason });
    return false;
  }
  const replyBuffer = new Uint8Array(reply.memory);
  warmUp(generations.vfs, params, policy, replyBuffer);

  turn ??= waitForTurn(channel, generations, control);
  if (turn === undefined) return true;

  status[STATUS.magic] = STATUS_MAGIC;
  status[STATUS.version] = STATUS_VERSION;
  status[STATUS.pid] = process.pid;
  if (generations.changed()) generations.sync();
  generations.report(status);

  const staging = new Staging();
  staging.token = first.token;
  // Those of a trial go with it.
  const noPages = (_: Uint8Array, bytes: number) => bytes;
  const pages = new PagesPipe(policy.cache === 'none' && !isTrial ? openPages() : noPages);
  const session = new Session({
    vfs: generations.vfs,
    generations,
    params,
    policy,
    staging,
    request: new Uint8Array(request.memory, 0, READ_BUFFER_BYTES),
    reply: replyBuffer,
    staleAnswers: new Uint32Array(request.memory, READ_BUFFER_BYTES, STALE_ANSWERS_WORDS),
    counters: status.subarray(STATUS.requestsLow, STATUS.lookupsHigh + 1),
    consistency,
    dropPages: (nodeid) => pages.drop(nodeid),
    // Whoever looks at a candidate was told to.
    guard: isTrial ? undefined : guardOf(log),
    log,
  });
  const device = new NativeDevice(FUSE_FD, { ...request, bytes: READ_BUFFER_BYTES }, reply);

  const recorded = turn.skip ? session.refuse(EIO) : session.handleRecorded();
  if (recorded > 0) answer({ session, device, log }, recorded);
  session.wipe();
  if (first.resend && canResend(params)) askAgain(log);
  const handOver = () => control[CONTROL.handOver] !== 0;
  const latencies = new Latencies(new Float64Array(status.buffer, LATENCIES_AT, LATENCY_CELLS));
  serve({ session, device, pages, latencies, handOver, nowMs: () => performance.now(), log });
  return true;
}

function guardOf(log: ServerLog): OpenGuard | undefined {
  const settings: OpensSettings = JSON.parse(process.env[OPENS_VARIABLE] ?? '{"rules":[],"audit":false}');
  if (settings.rules.length === 0 && !settings.audit) return undefined;
  if (settings.audit) log.expectMuch();
  return openGuard(settings, {
    sight: new Threads(),
    nowMs: monotonicClock(),
    say: (what, event) => log.open(what, event),
  });
}

/** What it remembers is in the store. /proc is opened while it is there to be opened. */
function passesOf(windowMs: number): Consistency {
  const words = new Uint32Array(mapFile('passes', PASSES_BYTES, true).memory, 0, PASSES_WORDS);
  return { words, windowMs, groups: new Threads(), nowMs: monotonicClock() };
}

/** Undefined when there will be none. Throws ChannelError for a supervisor that talks nonsense. */
function waitForTurn(
  channel: SyncChannel,
  generations: ServerGenerations | undefined,
  control: Uint32Array,
): Extract<ToServer, { go: true }> | undefined {
  say(channel, { ready: true, pid: process.pid });
  for (;;) {
    const message = channel.receive();
    if (message === undefined) return undefined;
    const order = parseToServer(message);
    if ('go' in order) return order;
    if (generations?.changed() === true) generations.sync();
    say(channel, { loaded: control[CONTROL.sequence] as number });
  }
}

function say(channel: SyncChannel, message: FromServer): void {
  channel.send(message);
}

function mapFile(name: string, bytes: number, write: boolean): Mapping {
  const fd = openSync(`/proc/self/fd/${STORE_FD}/${name}`, write ? 'r+' : 'r');
  try {
    return mapShared(fd, bytes, { write });
  } finally {
    closeSync(fd);
  }
}

/** The page as it is now; it may just be changing. */
function firstControl(words: Uint32Array): Control & { readonly sequence: number } {
  const end = performance.now() + CONTROL_WAIT_MS;
  for (;;) {
    const control = decodeControl(words);
    if (control !== undefined) return control;
    if (performance.now() > end) throw new Error('the control page is not readable');
    schedYield();
  }
}

/** Whatever the predecessor had taken besides the request on record comes again. */
function askAgain(log: ServerLog): void {
  try {
    writeSync(FUSE_FD, resendNotification());
  } catch (error) {
    // Unmounted: the loop will find out. Otherwise a bug, and what was taken is not all lost: see the record.
    log.replyRefused((error as NodeJS.ErrnoException).errno ?? 0, 0);
  }
}

/** The pipe to the notifier; it must not make us wait. */
function openPages() {
  fstatSync(PAGES_FD);
  setNonBlocking(PAGES_FD);
  return writerTo(PAGES_FD);
}
