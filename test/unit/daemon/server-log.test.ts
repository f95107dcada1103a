import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { ServerLog } from '../../../src/daemon/server-log.ts';

const OPEN = { opener: 9, uid: 0, gid: 0, unit: 'nginx.service', generation: 3, suppressed: 0 };

function setUp(fits: (line: string) => boolean = () => true) {
  const lines: Record<string, unknown>[] = [];
  const log = new ServerLog((line) => {
    if (!fits(line)) return false;
    assert.ok(Buffer.byteLength(line) <= 2000, `${Buffer.byteLength(line)} bytes`);
    lines.push(JSON.parse(line));
    return true;
  });
  return { log, lines };
}

test('of a long path both ends are said, and what tells it from every other', () => {
  const { log, lines } = setUp();
  const middles = ['m', 'n'].map((middle) => `${'a'.repeat(150)}${middle}${'z'.repeat(150)}`);
  for (const path of ['short', ...middles]) log.open('file-opened', { ...OPEN, path });
  const [short, first, second] = lines;
  assert.deepEqual([short?.['path'], short?.['pathSha256']], ['short', undefined]);
  assert.equal(first?.['path'], `${'a'.repeat(100)}…${'z'.repeat(100)}`);
  assert.equal(second?.['path'], first?.['path']);
  assert.deepEqual(
    [first?.['pathSha256'], second?.['pathSha256']],
    middles.map((path) => createHash('sha256').update(path).digest('hex')),
  );
});

test('a line about an open fits into what is taken of a line, whatever its path', () => {
  const { log, lines } = setUp();
  const largest = { ...OPEN, unit: 'u'.repeat(256), opener: 2 ** 22, uid: 2 ** 32 - 1, gid: 2 ** 32 - 1 };
  for (const path of ['\u0001'.repeat(4000), '\ud800'.repeat(4000), '水'.repeat(4000), 'x'.repeat(200)])
    log.open('open-refused', { ...largest, path, generation: 2 ** 52, suppressed: 2 ** 52 });
  assert.equal(lines.length, 4);
});

test('a line that is lost is counted, and said to be', () => {
  let fits = false;
  const { log, lines } = setUp(() => fits);
  assert.equal(log.open('file-opened', { ...OPEN, path: 'a' }), false);
  assert.equal(log.open('file-opened', { ...OPEN, path: 'b' }), false);
  fits = true;
  assert.equal(log.open('open-refused', { ...OPEN, path: 'c', suppressed: 7 }), true);
  assert.equal(log.open('file-opened', { ...OPEN, path: 'd' }), true);
  assert.deepEqual(
    lines.map(({ path, lost, suppressed }) => ({ path, lost, suppressed })),
    [
      { path: 'c', lost: 2, suppressed: 7 },
      { path: 'd', lost: undefined, suppressed: undefined },
    ],
  );
});
