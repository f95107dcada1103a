/**
 * Runs the request loop on requests of our own, so that its code is compiled before somebody waits for an answer. What
 * it reads of the live generation goes through the reply buffer, and is wiped there as ever.
 */

import { constants } from 'node:os';
import { COUNTER_WORDS, type Policy } from '../fuse/kernel/context.ts';
import type { Params } from '../fuse/kernel/init.ts';
import { LATENCY_CELLS, Latencies } from '../fuse/kernel/latencies.ts';
import { type Device, serve } from '../fuse/kernel/loop.ts';
import {
  GETATTR_IN,
  IN_HEADER,
  OPCODE,
  OPEN_IN,
  READ_IN,
  RELEASE_IN,
  ROOT_NODEID,
  WORD_BYTES,
} from '../fuse/kernel/protocol.ts';
import { Session } from '../fuse/kernel/session.ts';
import { Staging } from '../fuse/kernel/staging.ts';
import { STALE_ANSWERS_WORDS } from '../fuse/kernel/stale-answers.ts';
import { monotonicClock } from '../system/threads.ts';
import { PASSES_WORDS } from '../vfs/pass-words.ts';
import type { Vfs } from '../vfs/vfs.ts';

const { EAGAIN, ENODEV } = constants.errno;
/** Compiled by then, in about 10 ms. */
const ROUNDS = 400;
const READ_BYTES = 4096;
const WINDOW_MS = 2000;
const TWO_TO_32 = 0x1_0000_0000;

export function warmUp(vfs: Vfs, params: Params, policy: Policy, reply: Uint8Array): void {
  const request = Buffer.alloc(READ_BYTES);
  const requests = usualRequests(vfs);
  const quiet = () => undefined;
  let reads = 0;
  const device: Device = {
    read() {
      // Every other time nothing is there, so that looking again is practised too.
      const turn = reads++;
      if (turn % 2 === 0) return -EAGAIN;
      const next = requests[(turn >> 1) % requests.length] as Buffer;
      if (turn >= 2 * ROUNDS * requests.length) return -ENODEV;
      request.set(next);
      return next.length;
    },
    write: () => 0,
    wait: quiet,
    giveWay: quiet,
  };
  const session = new Session({
    vfs,
    generations: { changed: () => false, closed: false, listed: () => undefined, sync: quiet },
    params,
    policy,
    staging: new Staging(),
    request,
    reply,
    staleAnswers: new Uint32Array(STALE_ANSWERS_WORDS),
    counters: new Uint32Array(COUNTER_WORDS),
    consistency: {
      words: new Uint32Array(PASSES_WORDS),
      windowMs: WINDOW_MS,
      groups: { find: () => false, group: 0, startedMs: 0 },
      nowMs: monotonicClock(),
    },
    guard: undefined,
    dropPages: quiet,
    log: { malformed: quiet, unknown: quiet, bug: quiet },
  });
  serve({
    session,
    device,
    pages: { pending: false, flush: quiet },
    latencies: new Latencies(new Float64Array(LATENCY_CELLS)),
    handOver: () => false,
    nowMs: () => performance.now(),
    log: { replyRefused: quiet },
  });
}

/** Those of `ls`, and of opening, reading and closing a file. */
function usualRequests(vfs: Vfs): Buffer[] {
  const { live } = vfs;
  const directory = [
    encode(OPCODE.STATFS, ROOT_NODEID, 0),
    encode(OPCODE.GETATTR, ROOT_NODEID, GETATTR_IN.words),
    encode(OPCODE.OPENDIR, ROOT_NODEID, OPEN_IN.words),
    encode(OPCODE.READDIRPLUS, ROOT_NODEID, READ_IN.words, [
      [READ_IN.fh, live.id],
      [READ_IN.size, READ_BYTES],
    ]),
    encode(OPCODE.RELEASEDIR, ROOT_NODEID, RELEASE_IN.words),
  ];
  let file = 0;
  while (file < live.nodeCount && !live.isFile(file)) file++;
  if (file === live.nodeCount) return directory;
  const ino = live.ino(file);
  return [
    ...directory,
    encode(OPCODE.LOOKUP, live.ino(live.parent(file)), 0, [], live.name(file)),
    encode(OPCODE.GETATTR, ino, GETATTR_IN.words),
    encode(OPCODE.OPEN, ino, OPEN_IN.words),
    encode(OPCODE.READ, ino, READ_IN.words, [
      [READ_IN.fh, ino],
      [READ_IN.size, READ_BYTES],
    ]),
    encode(OPCODE.RELEASE, ino, RELEASE_IN.words),
  ];
}

function encode(
  opcode: number,
  nodeid: number,
  argumentWords: number,
  fields: readonly (readonly [field: number, value: number])[] = [],
  name?: string,
): Buffer {
  const words = new Uint32Array(IN_HEADER.words + argumentWords);
  const fixed = Buffer.from(words.buffer);
  const tail = name === undefined ? Buffer.alloc(0) : Buffer.from(`${name}\0`);
  words[IN_HEADER.len] = words.length * WORD_BYTES + tail.length;
  words[IN_HEADER.opcode] = opcode;
  words[IN_HEADER.nodeid] = nodeid;
  words[IN_HEADER.nodeid + 1] = Math.floor(nodeid / TWO_TO_32);
  for (const [field, value] of fields) {
    words[IN_HEADER.words + field] = value;
    if (value >= TWO_TO_32) words[IN_HEADER.words + field + 1] = Math.floor(value / TWO_TO_32);
  }
  return Buffer.concat([fixed, tail]);
}
