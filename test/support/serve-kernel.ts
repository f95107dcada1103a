/**
 * Like serve.ts, with the kernel driver: an Engine with generations that are built here instead of by an unsealer. Run as
 * root, in a process of its own.
 *
 *   serve-kernel.js MOUNTPOINT      the first line on stdin is the first SPEC: as for serve.ts, and { engine? }
 *
 * Lines in:  activate SPEC | begin | refuse | churn JSON | retire | state | upgrade | unmount
 * A churn goes on while other lines are answered. begin: a candidate that somebody writes; refuse: it comes to nothing.
 * Lines out: ready INFO | activated ID | retired ID | begun | refused | state JSON | churning | churned JSON | upgraded | unmounted | error CODE MESSAGE
 */
import { fstatSync, ftruncateSync, readSync, writeSync } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import type { Candidate } from '../../src/daemon/candidate.ts';
import { Engine } from '../../src/daemon/engine.ts';
import type { EngineOptions } from '../../src/daemon/engine-ports.ts';
import { createLog } from '../../src/daemon/log.ts';
import { engineProcesses } from '../../src/daemon/processes.ts';
import { SecretsfsError } from '../../src/errors.ts';
import { prepareMountpoint } from '../../src/fuse/mountpoint.ts';
import { planGeneration } from '../../src/generation/build.ts';
import { encodeChanges } from '../../src/generation/changes.ts';
import { HEADER, HEADER_BYTES, NODE, NODE_BYTES, WORD_BYTES } from '../../src/generation/format.ts';
import { Generation } from '../../src/generation/generation.ts';
import { resolveProcessUsers } from '../../src/system/process-users.ts';
import { PROGRAM } from './paths.ts';
import { patternBytes, type Spec, type SpecEntry, toEntry } from './serve.ts';

export interface KernelSpec extends Spec {
  readonly engine?: Partial<
    Pick<EngineOptions, 'cache' | 'fastOpen' | 'resend' | 'retireAfterMs' | 'consistencyWindowMs'>
  >;
}

/** Generations in a row: file number i of `files` has a header line that names generation and file, then bytes of both. */
export interface Churn {
  readonly count: number;
  readonly everyMs: number;
  readonly files: number;
  readonly bytes: number;
  /** Every so many files change with each generation. */
  readonly changing: number;
}

export interface Churned {
  readonly longestMs: number;
  readonly storeBytes: number;
  /** Generations that did not go live, because too much died around them. */
  readonly refused: number;
}

/** A server that was replaced because it left a question of the prober unanswered. */
export interface Hung {
  readonly pid: number;
  /** How long the prober that asked had been there. */
  readonly proberMs: number;
}

/** The processes are those of the built program. */
const DIST = process.env['SECRETSFS_TEST_DIST'] ?? path.dirname(PROGRAM);
const HOUR_MS = 3_600_000;
const STAT_BLOCK_BYTES = 512;

/** What a reader can check by itself: the first line says what all the rest must be. */
export function churnFile(file: number, version: number, bytes: number): Buffer {
  const head = Buffer.from(`${file} ${version} ${bytes}\n`);
  return Buffer.concat([
    head,
    patternBytes({ bytes: bytes - head.length, seed: file * 1_000_003 + version }),
  ]);
}

async function main([mountpoint = '']: string[]): Promise<void> {
  const say = (line: string) => process.stdout.write(`${line}\n`);
  const input = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
  const first: KernelSpec = JSON.parse((await input.next()).value ?? '{}');
  const prepared = await prepareMountpoint(mountpoint);
  const users = await resolveProcessUsers({ instance: prepared.path });
  let shiftMs = 0;
  let imageBytes = 0;
  let probes = 0;
  const hung: Hung[] = [];
  /** Of each file that churns; a later churn goes on where the one before it ended. */
  const versions: number[] = [];
  let round = 0;
  const log = createLog({ fd: 2, readable: false });
  const tellRetired: typeof log.info = (event, fields) => {
    if (event === 'retired') say(`retired ${fields?.['generation']}`);
    else log.info(event, fields);
  };
  const noteHung: typeof log.error = (event, fields) => {
    if (event === 'server-hung') {
      const prober = engine.status().processes.find(({ role }) => role === 'prober');
      hung.push({ pid: Number(fields?.['pid']), proberMs: Date.now() - (prober?.startedMs ?? Date.now()) });
    }
    log.error(event, fields);
  };
  const engine = new Engine(
    {
      mountpoint: prepared.path,
      source: 'conformance',
      cache: 'page',
      fastOpen: false,
      // For who opens the same files before and after a rotation, faster than any process begins anew.
      consistencyWindowMs: 0,
      resend: true,
      retireAfterMs: HOUR_MS,
      ...first.engine,
      users,
      nodesMax: 1_000_000,
      preserve: true,
    },
    {
      ...engineProcesses(users, log, {
        rules: { current: [] },
        opens: { current: { rules: [], audit: false } },
        directory: DIST,
      }),
      log: { ...log, info: tellRetired, error: noteHung },
      nowMs: () => Date.now() + shiftMs,
      onAlive: () => {
        probes += 1;
      },
      onLost: () => {},
    },
  );

  async function activate({ entries, preserve = false }: Spec): Promise<number> {
    const candidate = engine.candidate();
    const { id, imageFd, changesFd, previousFd } = candidate;
    try {
      const packed = entries.map(toEntry);
      const plan = planGeneration(packed, {
        id,
        serial: id,
        nowSeconds: Math.floor(Date.now() / 1000),
        previous: previousFd === undefined ? undefined : openImage(previousFd),
        preserve,
        owner: { uid: 0, gid: 0 },
      });
      for (const { position, data } of plan.contents) writeSync(imageFd, data, 0, data.length, position);
      const sparse = entries.find((entry) => entry.sparse !== undefined)?.sparse;
      if (sparse !== undefined) writeSparse(imageFd, plan.metadata, sparse);
      writeSync(imageFd, plan.metadata, 0, plan.metadata.length, 0);
      writeSync(changesFd, encodeChanges(plan.changes));
      imageBytes = (fstatSync(imageFd).blocks + fstatSync(changesFd).blocks) * STAT_BLOCK_BYTES;
    } catch (error) {
      await engine.discard(candidate);
      throw error;
    }
    await engine.activate(candidate);
    return id;
  }

  async function churn({ count, everyMs, files, bytes, changing }: Churn): Promise<void> {
    while (versions.length < files) versions.push(0);
    const tookMs: number[] = [];
    let refused = 0;
    for (let done = 0; done < count; done++) {
      round += 1;
      for (let i = round % changing; i < files; i += changing) versions[i] = round;
      const started = performance.now();
      const entries = versions.map((version, i) => ({
        path: `churn/${i % 7}/file-${i}`,
        base64: churnFile(i, version, bytes).toString('base64'),
      }));
      await activate({ entries }).catch((error: unknown) => {
        if (!(error instanceof SecretsfsError)) throw error;
        refused += 1;
      });
      tookMs.push(performance.now() - started);
      say('churning');
      await sleep(Math.max(0, everyMs - (performance.now() - started)));
    }
    const longestMs = Math.max(...tookMs);
    say(`churned ${JSON.stringify({ longestMs, storeBytes: engine.storeBytes, refused } satisfies Churned)}`);
  }

  async function state(): Promise<object> {
    const { live, lingering, storeBytes, processes, served } = engine.status();
    const requests = served?.requests ?? 0;
    return {
      live,
      lingering: lingering.map(({ id }) => id),
      handles: 0,
      bytes: storeBytes,
      imageBytes,
      mounted: await engine.isMounted(),
      locked: true,
      processes,
      requests,
      probes,
      hung,
    };
  }

  let begun: Candidate | undefined;
  async function act(word: string, rest: string): Promise<void> {
    if (word === 'activate') say(`activated ${await activate(JSON.parse(rest))}`);
    else if (word === 'begin') {
      begun = engine.candidate();
      say('begun');
    } else if (word === 'refuse' && begun !== undefined) {
      await engine.discard(begun);
      say('refused');
    } else if (word === 'churn') {
      churn(JSON.parse(rest)).catch((error: Error) => say(`error bug ${error.message}`));
    } else if (word === 'state') say(`state ${JSON.stringify(await state())}`);
    else if (word === 'upgrade') {
      await engine.upgrade();
      say('upgraded');
    } else if (word === 'retire') {
      // An hour and more later, what is still pinned is let go of.
      shiftMs += 200 * HOUR_MS;
      while (engine.status().lingering.length > 0) await sleep(20);
      say('done');
    } else if (word === 'unmount') {
      await engine.detach();
      await engine.stop();
      say('unmounted');
    }
  }

  await activate(first);
  engine.settle();
  say(`ready ${JSON.stringify({ cleared: prepared.cleared, path: prepared.path })}`);
  for (let next = await input.next(); next.done !== true; next = await input.next()) {
    const line = next.value;
    const space = line.indexOf(' ');
    const [word, rest] = space < 0 ? [line, ''] : [line.slice(0, space), line.slice(space + 1)];
    await act(word, rest).catch((error: SecretsfsError) => say(`error ${error.code} ${error.message}`));
  }
  await engine.stop();
}

/** Makes the last file as large as that, without a buffer of its size: its image has holes. */
function writeSparse(
  imageFd: number,
  metadata: Buffer,
  { bytes, marks }: NonNullable<SpecEntry['sparse']>,
): void {
  const nodes = metadata.readUInt32LE(HEADER.nodes * WORD_BYTES);
  const node = HEADER_BYTES + (nodes - 1) * NODE_BYTES;
  const put = (at: number, value: bigint) => metadata.writeBigUInt64LE(value, at);
  const contents = HEADER.contentBytes * WORD_BYTES;
  put(contents, metadata.readBigUInt64LE(contents) + BigInt(bytes));
  put(node + NODE.size * WORD_BYTES, BigInt(bytes));
  const start = Number(metadata.readBigUInt64LE(node + NODE.at * WORD_BYTES));
  ftruncateSync(imageFd, start + bytes);
  for (const [offset, text] of marks) writeSync(imageFd, text, start + offset);
}

function openImage(fd: number): Generation {
  const read = (position: number, length: number, target: Uint8Array, at: number) =>
    readSync(fd, target, at, length, position);
  const header = Buffer.alloc(128);
  read(0, header.length, header, 0);
  const metadata = Buffer.alloc(Generation.metadataBytes(header));
  read(0, metadata.length, metadata, 0);
  return Generation.open(metadata, { read });
}

if (process.argv.length > 2 && import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  main(process.argv.slice(2)).catch((error: unknown) => {
    if (!(error instanceof SecretsfsError)) throw error;
    process.stdout.write(`error ${error.code} ${error.message}\n`);
    process.exit(error.exitCode);
  });
}
