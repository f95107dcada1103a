/** No symlink of an image leads out of its tree, whichever others are followed on the way. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type ArchiveEntry, readArchive, writeArchive } from '../../../src/bundle/archive.ts';
import { planGeneration } from '../../../src/generation/build.ts';
import { PARTS_MAX, SYMLINK_WALK_BYTES_MAX } from '../../../src/limits.ts';
import { refusal } from '../../support/bundles.ts';
import { file, symlink } from '../../support/entries.ts';

const isTaken = (entries: readonly ArchiveEntry[]) => {
  try {
    planGeneration(entries, { id: 1, serial: 1, nowSeconds: 1, preserve: true });
    return true;
  } catch (error) {
    assert.match(String(error), /invalid target/);
    return false;
  }
};

test('a chain of symlinks that leads out is refused, each of which stays by itself', () => {
  const up = [file('d/e/f'), symlink('d/e/up', '../..')];
  assert.ok(isTaken([...up, symlink('d/g', 'e/up/d/../d')]));
  assert.ok(!isTaken([...up, symlink('out', 'd/e/up/../etc/shadow')]));
  assert.ok(!isTaken([...up, symlink('d/x', 'e/up'), symlink('out', 'd/x/.././etc')]));
  // Goes up from where another symlink led, which is further down than it looks.
  assert.ok(isTaken([symlink('b/a', '../a/../..'), symlink('a', 'c/a')]));
  assert.ok(!isTaken([symlink('b/a', '../a/../..'), symlink('a', 'c')]));
  assert.ok(!isTaken([symlink('a', 'b'), symlink('b', 'a'), symlink('c', 'a/../x')]));
});

test('what a server has to walk is bounded, whoever wrote the image', async () => {
  const target = `${'a/../'.repeat(818)}a`;
  const links = (count: number) => Array.from({ length: count }, (_, i) => symlink(`l${i}`, target));
  const most = Math.floor(SYMLINK_WALK_BYTES_MAX / target.length);
  const read = async (entries: readonly ArchiveEntry[]) =>
    readArchive(await writeArchive(entries), { filesMax: 10_000, bytesMax: 10_000 });
  await read(links(most));
  await assert.rejects(
    read(links(most + 1)),
    refusal('archive-refused', /with a \.\. after a name, which are over 262144 bytes together/),
  );
  // Of others there may be as many as there are files; those on the way count.
  const plain = Array.from({ length: 200 }, (_, i) => symlink(`p${i}`, `${'b/'.repeat(2000)}b`));
  await read(plain);
  const through = plain.map((_, i) => symlink(`t${i}`, `p${i}/..`));
  await assert.rejects(read([...plain, ...through]), refusal('archive-refused', /262144 bytes together/));
  // A mount has room for all that its bundles may have.
  assert.ok(isTaken(links(PARTS_MAX * most)));
  assert.ok(!isTaken(links(PARTS_MAX * (most + 1))));
});

/** As the kernel walks, and no cleverer: how often `..` was at the root, or undefined where it gives up. */
function timesOut(
  entries: readonly ArchiveEntry[],
  link: ArchiveEntry & { kind: 'symlink' },
): number | undefined {
  const at = new Map(entries.map((entry) => [entry.path, entry]));
  const isThere = (path: string) =>
    entries.some((each) => each.path === path || each.path.startsWith(`${path}/`));
  let place = link.path.split('/').slice(0, -1);
  let out = 0;
  let followed = 0;
  const pending = link.target.split('/').reverse();
  for (let name = pending.pop(); name !== undefined; name = pending.pop()) {
    if (name === '' || name === '.') continue;
    if (name === '..') {
      if (place.length === 0) out++;
      place = place.slice(0, -1);
      continue;
    }
    const path = [...place, name].join('/');
    if (!isThere(path)) return undefined;
    const entry = at.get(path);
    if (entry?.kind === 'file' && pending.length > 0) return undefined;
    if (entry?.kind !== 'symlink') place = [...place, name];
    else if (++followed > 40) return undefined;
    else pending.push(...entry.target.split('/').reverse());
  }
  return out;
}

const name = fc.constantFrom('a', 'b', 'c');
const paths = fc.array(name, { minLength: 1, maxLength: 3 }).map((names) => names.join('/'));
const targets = fc
  .array(fc.constantFrom('a', 'b', 'c', '..', '..', '.'), { minLength: 1, maxLength: 5 })
  .map((names) => names.join('/'));
const trees = fc
  .uniqueArray(fc.tuple(paths, fc.option(targets)), { selector: ([path]) => path, maxLength: 12 })
  .map((all) => {
    const leaves = all.filter(([path]) => !all.some(([other]) => other.startsWith(`${path}/`)));
    return leaves.map(([path, target]) => (target === null ? file(path) : symlink(path, target)));
  });

test('of whichever tree: what is taken leads nowhere else, and what an archive may have is taken', async () => {
  let [outside, taken] = [0, 0];
  await fc.assert(
    fc.asyncProperty(trees, async (entries) => {
      const links = entries.filter((entry) => entry.kind === 'symlink');
      const isOut = links.some((link) => (timesOut(entries, link) ?? 0) > 0);
      if (isOut) outside++;
      if (isOut) assert.ok(!isTaken(entries));
      const limits = { filesMax: 100, bytesMax: 10_000 };
      const isArchive = await writeArchive(entries)
        .then((tar) => readArchive(tar, limits))
        .then(
          () => true,
          () => false,
        );
      if (!isArchive) return;
      taken++;
      assert.ok(isTaken(entries));
    }),
    { numRuns: 1000 },
  );
  assert.ok(outside > 30 && taken > 30, `${outside} ${taken}`);
});
