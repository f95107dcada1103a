import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs, { renameSync, symlinkSync } from 'node:fs';
import { chmod, lstat, mkdir, readdir, readFile, readlink, symlink, writeFile } from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import type { ArchiveEntry } from '../../../src/bundle/archive.ts';
import { readTree, wipeEntries } from '../../../src/cli/read-tree.ts';
import { writeTree } from '../../../src/cli/write-tree.ts';
import { DEPTH_MAX } from '../../../src/limits.ts';
import { temporaryDirectory } from '../../support/temporary.ts';

const OPTIONS = { force: false, preserve: false, signal: new AbortController().signal };
const owner = { uid: 0, gid: 0 };

function file(entryPath: string, content: string, mode = 0o640): ArchiveEntry {
  return { kind: 'file', path: entryPath, mode, ...owner, data: Buffer.from(content) };
}

test('a tree that was read and written is the same tree, modes included', async (t) => {
  const umask = process.umask(0);
  t.after(() => process.umask(umask));
  const directory = await temporaryDirectory(t);
  const from = path.join(directory, 'from');
  await mkdir(path.join(from, 'a/b'), { recursive: true });
  await writeFile(path.join(from, 'a/b/file'), 'content');
  await chmod(path.join(from, 'a/b/file'), 0o640);
  await writeFile(path.join(from, '.hidden ü'), '');
  await symlink('b/file', path.join(from, 'a/link'));
  await chmod(path.join(from, 'a/b'), 0o500);
  const entries = await readTree(from);
  assert.deepEqual(
    entries.map((entry) => entry.path),
    ['.hidden ü', 'a', 'a/b', 'a/b/file', 'a/link'],
  );
  const to = path.join(directory, 'to');
  await writeTree(to, entries, OPTIONS);
  assert.deepEqual(await readTree(to), entries);
  assert.equal(await readlink(path.join(to, 'a/link')), 'b/file');
  assert.equal((await lstat(to)).mode & 0o777, 0o700);
  wipeEntries(entries);
  assert.ok(entries.every((entry) => entry.kind !== 'file' || entry.data.every((byte) => byte === 0)));
});

test('the umask counts, for files and directories, unless modes are to be preserved', async (t) => {
  const directory = await temporaryDirectory(t);
  const umask = process.umask(0o027);
  t.after(() => process.umask(umask));
  const owned = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
  const entries: ArchiveEntry[] = [
    { ...file('open', 'x', 0o666), ...owned },
    { ...file('shut', 'x', 0o400), ...owned },
    { kind: 'directory', path: 'sub', mode: 0o777, ...owned },
  ];
  const modes = async (to: string) => (await readTree(to)).map((entry) => entry.mode);
  await writeTree(path.join(directory, 'masked'), entries, OPTIONS);
  assert.deepEqual(await modes(path.join(directory, 'masked')), [0o640, 0o400, 0o750]);
  await writeTree(path.join(directory, 'exact'), entries, { ...OPTIONS, preserve: true });
  assert.deepEqual(await modes(path.join(directory, 'exact')), [0o666, 0o400, 0o777]);
  assert.equal(process.umask(), 0o027);
});

test('a directory that was there keeps its mode, unless forced', async (t) => {
  const directory = await temporaryDirectory(t);
  await mkdir(path.join(directory, 'private'), { mode: 0o700 });
  const entries: ArchiveEntry[] = [
    { kind: 'directory', path: 'private', mode: 0o755, ...owner },
    file('private/x', 'x'),
  ];
  await writeTree(directory, entries, OPTIONS);
  assert.equal((await lstat(path.join(directory, 'private'))).mode & 0o777, 0o700);
  await writeTree(directory, entries, { ...OPTIONS, force: true });
  assert.equal((await lstat(path.join(directory, 'private'))).mode & 0o777, 0o755 & ~process.umask());
});

/** A directory of somebody else, and how another user leads us there from `name`, at the very moment `swap` is called. */
async function victimOf(directory: string, name: string) {
  const victim = path.join(directory, 'victim');
  await mkdir(victim, { mode: 0o700 });
  await writeFile(path.join(victim, 'x'), 'not ours');
  const swap = () => {
    renameSync(name, `${name}.moved`);
    symlinkSync(victim, name);
  };
  const assertUntouched = async () => {
    assert.equal((await lstat(victim)).mode & 0o777, 0o700);
    assert.deepEqual(await readdir(victim), ['x']);
    assert.equal(await readFile(path.join(victim, 'x'), 'utf8'), 'not ours');
  };
  return { swap, assertUntouched };
}

for (const outcome of ['written', 'undone'] as const) {
  test(`a directory swapped for a symlink while it is ${outcome} leads nowhere`, async (t) => {
    const directory = await temporaryDirectory(t);
    const out = path.join(directory, 'out');
    const { swap, assertUntouched } = await victimOf(directory, path.join(out, 'sub'));
    const interrupt = new AbortController();
    const swapping = file('sub/w', 'x');
    // Contents are asked for once their file is open.
    Object.defineProperty(swapping, 'data', {
      get: () => {
        swap();
        if (outcome === 'undone') interrupt.abort(new Error('interrupted'));
        return Buffer.from('x');
      },
    });
    const entries: ArchiveEntry[] = [
      { kind: 'directory', path: 'sub', mode: 0o777, ...owner },
      swapping,
      file('sub/x', 'new'),
      file('sub/y/z', 'new'),
    ];
    const written = writeTree(out, entries, { ...OPTIONS, force: true, signal: interrupt.signal });
    if (outcome === 'written') {
      await written;
      assert.deepEqual(await readdir(path.join(out, 'sub.moved')), ['w', 'x', 'y']);
    } else {
      await assert.rejects(written, /interrupted/);
      assert.deepEqual(await readdir(path.join(out, 'sub.moved')), []);
    }
    await assertUntouched();
  });
}

test('undoing does not go into another directory that took the place of a finished one', async (t) => {
  const directory = await temporaryDirectory(t);
  const out = path.join(directory, 'out');
  const { swap, assertUntouched } = await victimOf(directory, path.join(out, 'sub'));
  const interrupt = new AbortController();
  const swapping = file('then', 'x');
  Object.defineProperty(swapping, 'data', {
    get: () => {
      swap();
      interrupt.abort(new Error('interrupted'));
      return Buffer.from('x');
    },
  });
  await assert.rejects(
    writeTree(out, [file('sub/x', 'new'), swapping, file('z', '')], {
      ...OPTIONS,
      signal: interrupt.signal,
    }),
    /interrupted/,
  );
  await assertUntouched();
});

/** Calls `swap` when a name that ends in `/name` was looked at, and before anything is done about it. */
function afterLookingAt(t: TestContext, name: string, swap: () => void): void {
  const real = fs.promises.lstat;
  const restore = () => {
    fs.promises.lstat = real;
    syncBuiltinESMExports();
  };
  fs.promises.lstat = (async (...args: Parameters<typeof real>) => {
    const stat = await real(...args);
    if (String(args[0]).endsWith(`/${name}`)) {
      restore();
      swap();
    }
    return stat;
  }) as typeof real;
  syncBuiltinESMExports();
  t.after(restore);
}

test('a directory swapped for a symlink after it was looked at is not read', async (t) => {
  const directory = await temporaryDirectory(t);
  const from = path.join(directory, 'from');
  await mkdir(path.join(from, 'sub'), { recursive: true });
  const { swap } = await victimOf(directory, path.join(from, 'sub'));
  afterLookingAt(t, 'sub', swap);
  await assert.rejects(readTree(from), { code: 'source-invalid', message: /sub": it changed while/ });
});

test('a directory swapped for a symlink while it is read is read on, not what the symlink leads to', async (t) => {
  const directory = await temporaryDirectory(t);
  const from = path.join(directory, 'from');
  await mkdir(path.join(from, 'sub'), { recursive: true });
  await writeFile(path.join(from, 'sub/x'), 'ours');
  const { swap } = await victimOf(directory, path.join(from, 'sub'));
  afterLookingAt(t, 'x', swap);
  const read = (await readTree(from)).find((entry) => entry.path === 'sub/x');
  assert.equal(read?.kind === 'file' && read.data.toString(), 'ours');
});

test('a tree deeper than any mount takes is refused', async (t) => {
  const directory = await temporaryDirectory(t);
  const deep = (levels: number) => path.join(directory, ...Array<string>(levels).fill('d'));
  await mkdir(deep(DEPTH_MAX), { recursive: true });
  assert.equal((await readTree(directory)).length, DEPTH_MAX);
  await mkdir(deep(DEPTH_MAX + 1));
  await assert.rejects(readTree(directory), { code: 'source-invalid', message: /65 levels deep/ });
});

test('root does not unpack into a directory where every user may replace what is in it', async (t) => {
  const directory = await temporaryDirectory(t);
  t.mock.method(process as Required<Pick<NodeJS.Process, 'geteuid'>>, 'geteuid', () => 0);
  await chmod(directory, 0o777);
  await assert.rejects(writeTree(directory, [file('a', 'x')], OPTIONS), { code: 'output-denied' });
  assert.deepEqual(await readdir(directory), []);
  await chmod(directory, 0o1777);
  await writeTree(directory, [file('a', 'x')], OPTIONS);
});

test('what exists is not replaced, and what was made before that was seen is gone again', async (t) => {
  const directory = await temporaryDirectory(t);
  await writeFile(path.join(directory, 'b'), 'old');
  const entries = [file('a', 'new'), file('sub/x', 'new'), file('b', 'new')];
  await assert.rejects(writeTree(directory, entries, OPTIONS), { code: 'output-exists' });
  assert.deepEqual(await readdir(directory), ['b']);
  assert.equal(await readFile(path.join(directory, 'b'), 'utf8'), 'old');
  await writeTree(directory, entries, { ...OPTIONS, force: true });
  assert.equal(await readFile(path.join(directory, 'b'), 'utf8'), 'new');
});

test('a symlink that stands in the way is never followed, forced or not', async (t) => {
  const directory = await temporaryDirectory(t);
  const [inside, outside] = [path.join(directory, 'in'), path.join(directory, 'out')];
  await mkdir(inside);
  await mkdir(outside);
  await symlink(outside, path.join(inside, 'sub'));
  await writeFile(path.join(outside, 'kept'), 'old');
  await symlink(path.join(outside, 'kept'), path.join(inside, 'link'));
  for (const force of [false, true]) {
    await assert.rejects(writeTree(inside, [file('sub/x', 'new')], { ...OPTIONS, force }), {
      code: 'output-exists',
    });
  }
  await writeTree(inside, [file('link', 'new')], { ...OPTIONS, force: true });
  assert.equal(await readFile(path.join(outside, 'kept'), 'utf8'), 'old');
  assert.equal(await readFile(path.join(inside, 'link'), 'utf8'), 'new');
  assert.deepEqual(await readdir(outside), ['kept']);
});

test('an interrupted write leaves nothing', async (t) => {
  const directory = await temporaryDirectory(t);
  const interrupt = new AbortController();
  const entries: ArchiveEntry[] = [file('a', 'x'), file('b', 'x')];
  // The second entry's path is asked for just before it is written.
  Object.defineProperty(entries[1], 'kind', {
    get: () => {
      interrupt.abort(new Error('interrupted'));
      return 'directory';
    },
  });
  await assert.rejects(
    writeTree(directory, [...entries, file('c', 'x')], { ...OPTIONS, signal: interrupt.signal }),
    /interrupted/,
  );
  assert.deepEqual(await readdir(directory), []);
});

test('what no bundle can carry is refused by its name', async (t) => {
  const directory = await temporaryDirectory(t);
  execFileSync('mkfifo', [path.join(directory, 'pipe')]);
  await assert.rejects(readTree(directory), { code: 'source-invalid', message: /"[^"]*\/pipe"/ });
  const latin = await temporaryDirectory(t);
  await writeFile(Buffer.concat([Buffer.from(`${latin}/na`), Buffer.from([0xef]), Buffer.from('ve')]), '');
  await assert.rejects(readTree(latin), { code: 'source-invalid', message: /not UTF-8/ });
  await assert.rejects(readTree(path.join(directory, 'none')), { code: 'source-not-found' });
  await assert.rejects(readTree(path.join(latin, '..', path.basename(latin), 'x', 'y')), {
    code: 'source-not-found',
  });
});
