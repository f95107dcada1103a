import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { writeSync } from 'node:fs';
import { chmod, mkdir, readdir, readFile, stat, utimes, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { BundleCache } from '../../../src/daemon/bundle-cache.ts';
import { FileLane } from '../../../src/system/file-lane.ts';
import { loadNative } from '../../../src/system/native.ts';
import { refusal } from '../../support/bundles.ts';
import { FakeLog } from '../../support/fake-log.ts';
import { eventually } from '../../support/program.ts';
import { temporaryDirectory } from '../../support/temporary.ts';

const NOW_MS = 1_800_000_000_000;
const HOUR_MS = 3_600_000;
const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');

async function setUp(t: TestContext) {
  await loadNative();
  const directory = path.join(await temporaryDirectory(t), 'cache');
  const world = { nowMs: NOW_MS };
  const log = new FakeLog();
  const lane = new FileLane();
  const start = async (maxStaleMs?: number) => {
    const cache = new BundleCache({
      ...{ directory, instance: 'web', maxStaleMs, log, lane },
      uid: process.getuid?.() ?? 0,
      clockMs: () => world.nowMs,
    });
    t.after(() => cache.close());
    await cache.load();
    return cache;
  };
  const file = path.join(directory, 'web.bundle');
  /** As an unsealer hands it over, and as it is looked for later. */
  const kept = async (cache: BundleCache, bytes: Buffer, said = sha256(bytes)) => {
    writeSync(cache.receive(), bytes);
    const before = log.lines.length;
    cache.keep(said);
    await eventually(async () => assert.ok(log.lines.length > before));
  };
  return { directory, file, lane, world, log, start, kept };
}

test('what went live is on the disk as it came, for root alone, and nothing else is there', async (t) => {
  const { directory, file, log, start, kept } = await setUp(t);
  const cache = await start();
  assert.equal(cache.isThere, false);
  assert.deepEqual(cache.describe(), { file, stale: false, confirmed: null, problem: null });
  for (const bytes of [randomBytes(3_000_000), randomBytes(7)]) {
    await kept(cache, bytes);
    assert.deepEqual(await readFile(file), bytes);
  }
  assert.deepEqual(await readdir(directory), ['web.bundle']);
  assert.equal((await stat(file)).mode & 0o777, 0o600);
  assert.deepEqual(log.events, ['cache-kept', 'cache-kept']);
  assert.equal(cache.describe().confirmed, new Date(NOW_MS).toISOString());
  assert.equal((await start()).isThere, true);
});

test('what is not what went live is not kept, and what was stays', async (t) => {
  const { file, log, start, kept } = await setUp(t);
  const cache = await start();
  await kept(cache, Buffer.from('one'));
  await kept(cache, Buffer.from('tw'), sha256(Buffer.from('two')));
  assert.equal(await readFile(file, 'utf8'), 'one');
  assert.deepEqual(log.events, ['cache-kept', 'cache-not-kept']);
  assert.match(cache.describe().problem ?? '', /cannot write it/);
  await kept(cache, Buffer.from('two'));
  assert.equal(cache.describe().problem, null);
});

test('a bundle that only was opened is not kept', async (t) => {
  const { directory, start } = await setUp(t);
  const cache = await start();
  writeSync(cache.receive(), 'refused');
  cache.receive();
  cache.close();
  assert.deepEqual(await readdir(directory), []);
});

test('a directory that others may write to is refused', async (t) => {
  const { directory, start } = await setUp(t);
  await mkdir(directory);
  await chmod(directory, 0o777);
  await assert.rejects(start(), refusal('config-invalid', /cannot keep bundles in .*nobody else may write/));
});

test('a directory that can not be made costs the cache, and is said', async (t) => {
  const { directory, log, start, kept } = await setUp(t);
  await writeFile(directory, 'a file');
  await assert.rejects(start(), refusal('config-invalid'));
  const below = new BundleCache({
    ...{ directory: path.join(directory, 'below'), instance: 'web', maxStaleMs: undefined, log },
    ...{ uid: 0, clockMs: () => NOW_MS, lane: new FileLane() },
  });
  await below.load();
  assert.deepEqual([log.events, below.isThere], [['cache-not-kept'], false]);
  await kept(below, Buffer.from('one')).catch(() => undefined);
  assert.match(below.describe().problem ?? '', /a part of its path is not a directory/);
});

test('a start goes by none that no source had within --max-stale, and says so', async (t) => {
  const { file, world, log, start, kept } = await setUp(t);
  await kept(await start(), Buffer.from('one'));
  await utimes(file, NOW_MS / 1000, NOW_MS / 1000);
  world.nowMs += HOUR_MS;
  assert.equal((await start(HOUR_MS)).isThere, true);
  world.nowMs += 1_000;
  const cache = await start(HOUR_MS);
  assert.deepEqual([cache.isThere, cache.isThere], [false, false]);
  assert.match(cache.describe().problem ?? '', /for 3601 s, want at most 3600 s \(--max-stale\)/);
  assert.equal(log.events.filter((event) => event === 'cache-refused').length, 1);
  assert.equal((await start()).isThere, true);
  // A time that is not yet is none, but for a clock that was set a little.
  await utimes(file, (NOW_MS + HOUR_MS) / 1000, (NOW_MS + HOUR_MS) / 1000);
  world.nowMs = NOW_MS;
  const ahead = await start(HOUR_MS);
  assert.equal(ahead.isThere, false);
  assert.match(ahead.describe().problem ?? '', /can't be told: a source had it 3600 s after now/);
  assert.equal((await start()).isThere, true);
  world.nowMs = NOW_MS + HOUR_MS - 60_000;
  assert.equal(ahead.isThere, true);
});

test('that a source has it still is written down, and not at each look', async (t) => {
  const { file, world, start, kept } = await setUp(t);
  const cache = await start();
  await kept(cache, Buffer.from('one'));
  const looked = async () => (await stat(file)).mtimeMs;
  const before = await looked();
  world.nowMs += 60_000;
  cache.confirmed();
  assert.equal(cache.describe().confirmed, new Date(NOW_MS).toISOString());
  world.nowMs += HOUR_MS;
  cache.served();
  assert.equal(cache.describe().stale, true);
  cache.confirmed();
  await eventually(async () => assert.equal(await looked(), world.nowMs));
  assert.notEqual(before, world.nowMs);
  assert.deepEqual(
    [cache.describe().stale, cache.describe().confirmed],
    [false, new Date(world.nowMs).toISOString()],
  );
});

test('what could not be replaced does not pass for what a source has', async (t) => {
  const { file, lane, world, start, kept } = await setUp(t);
  const cache = await start();
  await kept(cache, Buffer.from('one'));
  await utimes(file, NOW_MS / 1000, NOW_MS / 1000);
  world.nowMs += HOUR_MS;
  await kept(cache, Buffer.from('tw'), sha256(Buffer.from('two')));
  cache.confirmed();
  // What comes after has been waited for.
  await lane.run(async () => undefined, { timeoutMs: undefined, signal: t.signal });
  assert.equal((await stat(file)).mtimeMs, NOW_MS);
  assert.equal((await start(HOUR_MS - 1)).isThere, false);
});
