import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs, { appendFileSync, renameSync, writeFileSync } from 'node:fs';
import { link, mkdir, open, readdir, readFile, stat, symlink, truncate, writeFile } from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import fc from 'fast-check';
import { lookAtTargets, namedFile, shredCandidate } from '../../../src/cli/shred-files.ts';
import { OutputError, SourceError } from '../../../src/errors.ts';
import { fileIdentity } from '../../../src/system/file-identity.ts';
import { temporaryDirectory } from '../../support/temporary.ts';

const SECRET = Buffer.from('c4n4ry-');

/** Bytes in which the secret stands at every place. */
const secretBytes = (length: number) => Buffer.alloc(length, SECRET);

async function look(...files: readonly string[]) {
  return lookAtTargets(files.map(namedFile));
}

async function shredNames(...files: readonly string[]): Promise<void> {
  const { candidates, problems } = await look(...files);
  assert.deepEqual(problems, []);
  for (const candidate of candidates) await shredCandidate(candidate);
}

const codesOf = async (...files: readonly string[]) =>
  (await look(...files)).problems.map(({ code }) => code);

/** What an open descriptor sees once the names are gone: what is where the file was. */
async function watch(t: TestContext, file: string) {
  const handle = await open(file, 'r');
  t.after(() => handle.close());
  return async () => {
    const { size } = await handle.stat();
    const bytes = Buffer.alloc(size);
    await handle.read(bytes, 0, size, 0);
    return bytes;
  };
}

test('every byte of a file is overwritten before its name goes', async (t) => {
  const directory = await temporaryDirectory(t);
  for (const length of [0, 1, 4_096, 3 * 1024 * 1024 + 17]) {
    const file = path.join(directory, 'secret');
    await writeFile(file, secretBytes(length), { mode: 0o400 });
    const contents = await watch(t, file);
    await shredNames(file);
    assert.deepEqual(await readdir(directory), []);
    const left = await contents();
    assert.equal(left.length, length);
    // Random bytes equal those of before at one place in 256.
    const same = left.filter((byte, i) => byte === SECRET[i % SECRET.length]).length;
    assert.ok(same <= 1 + length / 64, `${same} of ${length} bytes are as they were`);
  }
});

test('holes of a sparse file take no place afterwards either, and what is between them is overwritten', async (t) => {
  const directory = await temporaryDirectory(t);
  const file = path.join(directory, 'sparse');
  const handle = await open(file, 'w+');
  t.after(() => handle.close());
  await handle.truncate(1 << 30);
  await handle.write(SECRET, 0, SECRET.length, 300 << 20);
  await handle.write(SECRET, 0, SECRET.length, (1 << 30) - 100);
  await handle.sync();
  const before = await handle.stat();
  await shredNames(file);
  const after = await handle.stat();
  assert.equal(after.size, before.size);
  assert.ok(after.blocks <= before.blocks + 16, `${before.blocks} blocks became ${after.blocks}`);
  for (const at of [300 << 20, (1 << 30) - 100]) {
    const bytes = Buffer.alloc(SECRET.length);
    await handle.read(bytes, 0, bytes.length, at);
    assert.notDeepEqual(bytes, SECRET);
  }
});

test('a file with a name that was not given is refused; with all of them it goes, and all of them', async (t) => {
  const directory = await temporaryDirectory(t);
  const names = ['a', 'b', 'c'].map((name) => path.join(directory, name)) as [string, string, string];
  await writeFile(names[0], SECRET);
  await link(names[0], names[1]);
  await link(names[0], names[2]);
  assert.deepEqual(await codesOf(names[0], names[1], names[1]), ['source-invalid']);
  const { problems } = await look(names[0]);
  assert.match(problems[0]?.message ?? '', /has 2 other names/);
  assert.match(problems[0]?.hint ?? '', /-samefile/);
  const contents = await watch(t, names[0]);
  await shredNames(...names);
  assert.deepEqual(await readdir(directory), []);
  assert.notDeepEqual(await contents(), SECRET);
});

test('what is no regular file is refused, and nothing is followed', async (t) => {
  const directory = await temporaryDirectory(t);
  const at = (name: string) => path.join(directory, name);
  await writeFile(at('file'), SECRET);
  await symlink('file', at('link'));
  await mkdir(at('dir'));
  execFileSync('mkfifo', [at('fifo')]);
  for (const name of ['link', 'dir', 'fifo'])
    assert.deepEqual(await codesOf(at(name)), ['source-invalid'], name);
  assert.deepEqual(await codesOf(at('none'), at('file/below')), ['source-not-found', 'source-not-found']);
  assert.deepEqual(await readFile(at('file')), SECRET);
});

test('a file that changed since it was read, or was looked at, is left as it is', async (t) => {
  const directory = await temporaryDirectory(t);
  const file = path.join(directory, 'file');
  await writeFile(file, SECRET);
  const identity = fileIdentity(await stat(file, { bigint: true }));
  const { candidates } = await look(file);
  await writeFile(`${file}.new`, 'newer');
  renameSync(`${file}.new`, file);
  const { problems } = await lookAtTargets([{ ...namedFile(file), identity }]);
  assert.deepEqual(
    problems.map(({ code }) => code),
    ['source-changed'],
  );
  for (const candidate of candidates)
    await assert.rejects(
      shredCandidate(candidate),
      (error) => (error as SourceError).code === 'source-changed',
    );
  assert.equal(await readFile(file, 'utf8'), 'newer');
});

/** Makes something happen just before each call of a method, in this process alone. */
function before<K extends 'rename'>(t: TestContext, method: K, happen: () => void): void {
  const real = fs.promises[method];
  const patched = (...args: Parameters<typeof real>) => {
    happen();
    return (real as (...args: unknown[]) => Promise<void>)(...args);
  };
  Object.assign(fs.promises, { [method]: patched });
  syncBuiltinESMExports();
  t.after(() => {
    Object.assign(fs.promises, { [method]: real });
    syncBuiltinESMExports();
  });
}

test('another file that takes the name while it is overwritten stays, whole and under that name', async (t) => {
  const directory = await temporaryDirectory(t);
  const file = path.join(directory, 'file');
  await writeFile(file, SECRET);
  const contents = await watch(t, file);
  let times = 0;
  before(t, 'rename', () => {
    if (times++ > 0) return;
    writeFileSync(`${file}.new`, 'newer');
    renameSync(`${file}.new`, file);
  });
  await assert.rejects(shredNames(file), (error) => {
    assert.ok(error instanceof SourceError);
    assert.match(error.message, /another file took its name, and stays/);
    return error.code === 'source-changed';
  });
  assert.equal(times, 1);
  assert.deepEqual(await readdir(directory), ['file']);
  assert.equal(await readFile(file, 'utf8'), 'newer');
  assert.notDeepEqual(await contents(), SECRET);
});

/** Appends to `file` after each sync of a descriptor of it, so many times. */
async function appendOnSync(t: TestContext, file: string, times: number): Promise<void> {
  const handle = await open(file, 'r');
  const prototype = Object.getPrototypeOf(handle) as { sync: () => Promise<void> };
  await handle.close();
  const real = prototype.sync;
  t.after(() => {
    prototype.sync = real;
  });
  let left = times;
  prototype.sync = async function (this: unknown) {
    await real.call(this);
    if (left-- > 0) appendFileSync(file, SECRET);
  };
}

test('what is appended while a file is overwritten is overwritten too', async (t) => {
  const directory = await temporaryDirectory(t);
  const file = path.join(directory, 'log');
  await writeFile(file, SECRET);
  const contents = await watch(t, file);
  await appendOnSync(t, file, 3);
  await shredNames(file);
  const left = await contents();
  assert.equal(left.length, 4 * SECRET.length);
  for (let at = 0; at < left.length; at += SECRET.length)
    assert.notDeepEqual(left.subarray(at, at + SECRET.length), SECRET);
});

test('a file that grows as fast as it is overwritten is not removed', async (t) => {
  const directory = await temporaryDirectory(t);
  const file = path.join(directory, 'log');
  await writeFile(file, SECRET);
  await appendOnSync(t, file, 1_000);
  await assert.rejects(shredNames(file), (error) => {
    assert.match((error as Error).message, /grows as fast/);
    return (error as SourceError).code === 'source-changed';
  });
  assert.deepEqual(await readdir(directory), ['log']);
});

test('a file that was removed meanwhile is no failure: it was overwritten', async (t) => {
  const directory = await temporaryDirectory(t);
  const file = path.join(directory, 'file');
  await writeFile(file, SECRET);
  before(t, 'rename', () => fs.rmSync(file));
  await shredNames(file);
  assert.deepEqual(await readdir(directory), []);
});

test('an immutable file is refused, and told how to make it another', async (t) => {
  const directory = await temporaryDirectory(t);
  const file = path.join(directory, 'file');
  await writeFile(file, SECRET);
  for (const attribute of ['i', 'a']) {
    execFileSync('chattr', [`+${attribute}`, file]);
    try {
      const { problems } = await look(file);
      assert.ok(problems[0] instanceof OutputError);
      assert.equal(problems[0].code, 'output-denied');
      assert.match(problems[0].hint ?? '', /chattr -i -a/);
    } finally {
      execFileSync('chattr', [`-${attribute}`, file]);
    }
  }
  await truncate(file, 0);
});

test('which of several names may go is as a naive model says', async (t) => {
  const directory = await temporaryDirectory(t);
  let round = 0;
  const name = fc.integer({ min: 0, max: 5 });
  const made = fc.record({ name, kind: fc.constantFrom('file', 'link', 'symlink', 'dir'), of: name });
  const property = fc.asyncProperty(
    fc.array(made, { maxLength: 8 }),
    fc.array(name, { maxLength: 6 }),
    async (makes, given) => {
      const at = path.join(directory, String(round++));
      await mkdir(at);
      /** Name → the file it is of, by number; or what else it is. */
      const model = new Map<number, number | 'other'>();
      for (const [i, make] of makes.entries()) {
        if (model.has(make.name)) continue;
        const place = path.join(at, String(make.name));
        const of = model.get(make.of);
        if (make.kind === 'file') {
          await writeFile(place, SECRET);
          model.set(make.name, i);
        } else if (make.kind === 'link' && typeof of === 'number') {
          await link(path.join(at, String(make.of)), place);
          model.set(make.name, of);
        } else if (make.kind === 'symlink' || make.kind === 'dir') {
          await (make.kind === 'dir' ? mkdir(place) : symlink(String(make.of), place));
          model.set(make.name, 'other');
        }
      }
      const allNamed = (inode: number) =>
        [...model].every(([other, of]) => of !== inode || given.includes(other));
      const refused = given.some((one) => {
        const of = model.get(one);
        return typeof of !== 'number' || !allNamed(of);
      });
      const { candidates, problems } = await look(...given.map((one) => path.join(at, String(one))));
      assert.equal(problems.length > 0, refused);
      if (refused) return;
      for (const candidate of candidates) await shredCandidate(candidate);
      const left = [...model.keys()].filter((one) => !given.includes(one)).map(String);
      assert.deepEqual((await readdir(at)).sort(), left.sort());
    },
  );
  await fc.assert(property, { numRuns: 200 });
});
