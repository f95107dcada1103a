/**
 * A process that opens several files gets them from one generation (--consistency process). Readers open pairs of files,
 * and one file twice, as fast as they can, while they rotate; and the same readers find mixed pairs where it is off.
 * scripts/soak runs 10,000 pairs of each reader in each of 200 rotations, where no server is killed.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readdir, readFile, stat } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { PAIRS, type PairsMode, type PairsResult, pairFile } from '../support/pairs.ts';
import { kill } from '../support/processes.ts';
import { Python } from '../support/python.ts';
import type { SpecEntry } from '../support/serve.ts';
import type { KernelSpec } from '../support/serve-kernel.ts';
import { cleanups, type Server, serve } from '../support/server.ts';

type Engine = NonNullable<KernelSpec['engine']>;
type After = ReturnType<typeof cleanups>;

const PAIRS_READER = fileURLToPath(new URL('../support/pairs.js', import.meta.url));
const SOAK = process.env['SECRETSFS_SOAK'] !== undefined;

interface Size {
  readonly rotations: number;
  readonly pairsEach: number;
  /** Of the reader that takes a process for each pair, which takes a hundred times as long. */
  readonly newEach: number;
}
const SMALL: Size = { rotations: 20, pairsEach: 400, newEach: 20 };
const FULL: Size = { rotations: 200, pairsEach: 10_000, newEach: 500 };
const SIZE = SOAK ? FULL : SMALL;

const PROCESS = { consistencyWindowMs: 2_000 };

const entriesOf = (version: number): SpecEntry[] => [
  ...[...new Set(PAIRS.flat())].map((path) => ({ path, text: pairFile(version) })),
  { path: 'same', text: 'same' },
];

class Reader {
  readonly #lines: AsyncIterator<string>;
  readonly #child;
  readonly #count: number;

  constructor(after: After, mountpoint: string, mode: PairsMode, size: Size) {
    this.#count = mode === 'new' ? size.newEach : size.pairsEach;
    this.#child = spawn(process.execPath, [PAIRS_READER, mountpoint, mode], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
    after(async () => void (this.#child.pid !== undefined && kill(this.#child.pid)));
  }

  async read(oldest: number): Promise<PairsResult> {
    this.#child.stdin.write(`${this.#count} ${oldest}\n`);
    return JSON.parse((await this.#lines.next()).value ?? '{}') as PairsResult;
  }
}

interface Seen {
  pairs: number;
  mixed: number;
  how: string[];
  late: number;
  old: number;
  failures: string[];
}

const MODES: readonly PairsMode[] = ['loop', 'loop', 'threads', 'new'];

/** In each rotation, each of the readers opens its pairs; `meanwhile` happens, too. */
async function rotate(
  after: After,
  engine: Engine,
  size: Size,
  meanwhile: (serverPid: number) => Promise<void> = async () => {},
): Promise<Seen> {
  const server = await serve({ entries: entriesOf(0), engine }, after, { driver: 'kernel' });
  const readers = MODES.map((mode) => new Reader(after, server.mountpoint, mode, size));
  const seen: Seen = { pairs: 0, mixed: 0, how: [], late: 0, old: 0, failures: [] };
  let live = 0;
  for (let version = 1; version <= size.rotations; version++) {
    const { processes } = await server.state();
    const serverPid = processes.find(({ role }) => role === 'server')?.pid ?? 0;
    // Whoever begins now, after the last activation, begins with what that made live.
    const reading = readers.map((reader) => reader.read(live));
    await sleep(20 * Math.random());
    const [isLive] = await Promise.all([activated(server, version), meanwhile(serverPid)]);
    for (const { pairs, mixed, how, late, old, hasPaused, failures } of await Promise.all(reading)) {
      seen.pairs += pairs;
      seen.mixed += mixed;
      seen.how.push(...how);
      seen.late += late + (hasPaused ? old : 0);
      seen.old += hasPaused ? 0 : old;
      seen.failures.push(...failures);
    }
    if (isLive) live = version;
  }
  return seen;
}

/** False where too many servers ended over it. */
async function activated(server: Server, version: number): Promise<boolean> {
  try {
    await server.activate({ entries: entriesOf(version) });
    return true;
  } catch (error) {
    assert.match((error as Error).message, /^error (generation-refused|mount-failed) /);
    return false;
  }
}

const ENGINES: readonly Engine[] = [
  { cache: 'page', resend: true },
  { cache: 'none', resend: true },
  { cache: 'page', resend: false },
  { cache: 'none', resend: false },
];
const title = ({ cache, resend }: Engine) => `cache ${cache}, resend ${resend ? 'auto' : 'off'}`;

for (const engine of ENGINES.slice(0, SOAK ? undefined : 2)) {
  test(`pairs of files, and one file twice, are of one generation in each of ${SIZE.rotations} rotations (${title(engine)})`, async (t) => {
    const { pairs, late, how, ...wrong } = await rotate(cleanups(t), { ...PROCESS, ...engine }, SIZE);
    for (const each of how) t.diagnostic(each);
    assert.deepEqual(wrong, { mixed: 0, old: 0, failures: [] });
    t.diagnostic(`${pairs} pairs, ${late} of them with a pause in between`);
  });
}

for (const [how, engine] of [
  ['--consistency none', { consistencyWindowMs: 0 }],
  ['--fast-open', { fastOpen: true }],
] as const) {
  test(`with ${how} the same readers find mixed pairs, and nothing else that is wrong`, async (t) => {
    const { pairs, mixed, how, failures } = await rotate(cleanups(t), engine, SMALL);
    assert.ok(mixed > 0, `none of ${pairs} pairs is mixed`);
    assert.match(how[0] ?? '', /^(loop|threads|new): tls\/.* of \d+ and \d+, in \d+ ms$/);
    assert.deepEqual(failures, []);
    t.diagnostic(`${mixed} of ${pairs} pairs`);
  });
}

for (const engine of ENGINES.slice(0, SOAK ? undefined : 2)) {
  test(`kill -9 of the server in the middle of passes mixes nothing (${title(engine)})`, async (t) => {
    let kills = 0;
    const { pairs, late, how, ...wrong } = await rotate(
      cleanups(t),
      { ...PROCESS, ...engine },
      SMALL,
      async (pid) => {
        await sleep(30 * Math.random());
        if (pid !== 0 && kill(pid)) kills += 1;
      },
    );
    for (const each of how) t.diagnostic(each);
    assert.deepEqual(wrong, { mixed: 0, old: 0, failures: [] });
    assert.ok(kills > SMALL.rotations / 2, `${kills} kills`);
    t.diagnostic(`${pairs} pairs, ${late} of them with a pause in between, ${kills} kills`);
  });
}

/** Two files, a directory that goes and one that comes. */
const first = [
  { path: 'd/cert', text: 'cert 1' },
  { path: 'd/key', text: 'the first key' },
  { path: 'd/only-old', text: 'old' },
  { path: 'gone/file', text: 'in what is gone' },
  { path: 'same', text: 'same' },
];
const second = [
  { path: 'd/cert', text: 'cert 2' },
  { path: 'd/key', text: 'key two' },
  { path: 'd/only-new', text: 'new' },
  { path: 'come/file', text: 'in what has come' },
  { path: 'same', text: 'same' },
];

for (const cache of ['page', 'none'] as const) {
  test(`in a pass, descriptor, path, bytes and mapping are those of the old file, and for others of the new (--cache ${cache})`, async (t) => {
    const after = cleanups(t);
    const server = await serve({ entries: first, engine: { ...PROCESS, cache } }, after, {
      driver: 'kernel',
    });
    const python = new Python(after);
    const at = (name: string) => JSON.stringify(server.path(name));
    await python.run(`out = content(${at('d/cert')})`);
    const before = (await stat(server.path('d/key'))).ino;
    await server.activate({ entries: second });
    const other = new Python(after);
    const look = `
fd = opened(${at('d/key')})
s = os.fstat(fd)
m = mapped(fd)[:].decode()
out = [os.read(fd, 100).decode(), m, s.st_size, s.st_ino, os.stat(${at('d/key')}).st_ino]
os.close(fd)`;
    const [old, now] = [await python.run<unknown[]>(look), await other.run<unknown[]>(look)];
    assert.deepEqual(old, ['the first key', 'the first key', 13, before, before]);
    assert.deepEqual(now.slice(0, 3), ['key two', 'key two', 7]);
    assert.ok(now[3] === now[4] && now[3] !== before);
    assert.equal(await python.run(`out = content(${at('d/cert')})`), 'cert 2', 'a second load');
    assert.equal(await python.run(`out = content(${at('d/key')})`), 'key two');
  });
}

test('in a pass, a name that is gone is there and one that is new is not, in listings and for others it is as it is live', async (t) => {
  const after = cleanups(t);
  const server = await serve({ entries: first, engine: PROCESS }, after, { driver: 'kernel' });
  const python = new Python(after);
  const at = (name: string) => JSON.stringify(server.path(name));
  await python.run(`out = content(${at('d/cert')})`);
  await server.activate({ entries: second });
  // Others have looked everywhere first: what the kernel then knows is what is live.
  assert.deepEqual((await readdir(server.path('d'))).sort(), ['cert', 'key', 'only-new']);
  assert.equal(await readFile(server.path('d/only-new'), 'utf8'), 'new');
  assert.equal(await readFile(server.path('come/file'), 'utf8'), 'in what has come');
  for (const name of ['d/only-old', 'gone/file'])
    await assert.rejects(readFile(server.path(name)), { code: 'ENOENT' });
  const tried = (name: string) => `
try: out = content(${at(name)})
except OSError as error: out = errno.errorcode[error.errno]`;
  assert.equal(await python.run(tried('d/only-old')), 'old');
  assert.equal(await python.run(tried('gone/file')), 'in what is gone');
  assert.deepEqual(await python.run(`out = os.listdir(${at('gone')})`), ['file']);
  assert.equal(await python.run(tried('d/only-new')), 'ENOENT');
  assert.equal(await python.run(tried('come/file')), 'ENOENT');
  assert.deepEqual(await python.run(`out = sorted(os.listdir(${at('d')}))`), ['cert', 'key', 'only-new']);
  assert.equal(await readFile(server.path('d/only-new'), 'utf8'), 'new');
  await python.run(`out = content(${at('d/cert')})`);
  assert.equal(await python.run(tried('d/only-new')), 'new', 'a second load');
  assert.equal(await python.run(tried('d/only-old')), 'ENOENT');
});

test('what a pass may still need lingers, and goes when the pass is over', async (t) => {
  const after = cleanups(t);
  const engine = { consistencyWindowMs: 10_000 };
  const server = await serve({ entries: first, engine }, after, { driver: 'kernel' });
  const python = new Python(after);
  const content = (name: string) => `out = content(${JSON.stringify(server.path(name))})`;
  await python.run(content('d/cert'));
  await server.activate({ entries: second });
  // Ten looks at what can go: nobody holds anything of it.
  await sleep(2_500);
  assert.deepEqual((await server.state()).lingering, [1]);
  assert.equal(await python.run(content('d/key')), 'the first key');
  assert.equal(await python.run(content('d/cert')), 'cert 2');
  assert.equal(await server.next('retired'), '1');
});
