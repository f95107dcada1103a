import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chmod,
  lchown,
  lstat,
  mkdir,
  mkdtemp,
  open,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, suite, type TestContext, test } from 'node:test';
import { OutputError, SourceError } from '../../../src/errors.ts';
import { FileSource } from '../../../src/source/file.ts';
import { pathDependencies } from '../../../src/source/file-watch.ts';
import { writeFileAtomically } from '../../../src/source/output.ts';

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'file-source-'));
});
afterEach(() => rm(dir, { recursive: true }));

const code = (expected: string) => (error: unknown) => {
  assert.ok(error instanceof SourceError || error instanceof OutputError, String(error));
  assert.equal(error.code, expected);
  return true;
};

test('fetch() sees a rewrite in place with the same length', async () => {
  const file = path.join(dir, 'b');
  await writeFile(file, 'one');
  const source = new FileSource(file);
  const got = await source.fetch({ bytesMax: 10 });
  await writeFile(file, 'two');
  const next = await source.fetch({ bytesMax: 10, knownRevision: got?.revision });
  assert.equal(next?.bytes.toString(), 'two');
});

test('fetch() refuses a directory, a fifo and a device without waiting for them', async () => {
  execFileSync('mkfifo', [path.join(dir, 'fifo')]);
  for (const file of [dir, path.join(dir, 'fifo'), '/dev/zero']) {
    await assert.rejects(new FileSource(file).fetch({ bytesMax: 10 }), code('source-invalid'));
  }
});

test('fetch() says source-denied where it may not read', async (t) => {
  const file = path.join(dir, 'b');
  await writeFile(file, 'x');
  await chmod(file, 0o000);
  // Root may read everything: then another user must try.
  if (process.getuid?.() !== 0) {
    await assert.rejects(new FileSource(file).fetch({ bytesMax: 10 }), code('source-denied'));
    return;
  }
  await chmod(dir, 0o755);
  process.seteuid?.(65534);
  t.after(() => process.seteuid?.(0));
  await assert.rejects(new FileSource(file).fetch({ bytesMax: 10 }), code('source-denied'));
  process.seteuid?.(0);
});

test('fetch() never returns bytes of two writes', async () => {
  const file = path.join(dir, 'b');
  const size = 4_000_000;
  await writeFile(file, Buffer.alloc(size, 1));
  let writing = true;
  const writer = (async () => {
    for (let n = 2; writing; n++) {
      const handle = await open(file, 'r+');
      for (let at = 0; at < size; at += 500_000)
        await handle.write(Buffer.alloc(500_000, n % 250), 0, 500_000, at);
      await handle.close();
      await new Promise((resolve) => setTimeout(resolve, 30));
    }
  })();
  const source = new FileSource(file);
  try {
    for (let i = 0; i < 15; i++) {
      const got = await source.fetch({ bytesMax: size }).catch((error: unknown) => {
        code('source-invalid')(error);
        return undefined;
      });
      if (got !== undefined) assert.ok(got.bytes.every((byte) => byte === got.bytes[0]));
    }
  } finally {
    writing = false;
    await writer;
  }
});

test('readHead() returns the beginning, and undefined where there is no file', async () => {
  const file = path.join(dir, 'b');
  assert.equal(await new FileSource(file).readHead(), undefined);
  await writeFile(file, 'abcdef');
  assert.equal((await new FileSource(file).readHead(3))?.bytes.toString(), 'abc');
  assert.equal((await new FileSource(file).readHead())?.bytes.toString(), 'abcdef');
});

test('pathDependencies() names every directory that a path goes through, as Kubernetes lays them', async () => {
  await mkdir(path.join(dir, '..2026'));
  await writeFile(path.join(dir, '..2026', 'bundle'), 'x');
  await symlink('..2026', path.join(dir, '..data'));
  await symlink('..data/bundle', path.join(dir, 'bundle'));
  const dependencies = await pathDependencies(path.join(dir, 'bundle'));
  assert.deepEqual([...(dependencies.get(dir) ?? [])], ['bundle', '..data', '..2026']);
  assert.deepEqual([...(dependencies.get(path.join(dir, '..2026')) ?? [])], ['bundle']);
});

test('pathDependencies() of a symlink loop ends', async () => {
  await symlink('b', path.join(dir, 'a'));
  await symlink('a', path.join(dir, 'b'));
  assert.deepEqual([...((await pathDependencies(path.join(dir, 'a'))).get(dir) ?? [])], ['a', 'b']);
});

suite('watch() without its poll', () => {
  /** Makes the change and waits for the hint it must cause. */
  async function hinted(file: string, change: () => Promise<unknown>): Promise<void> {
    let hints = 0;
    const watch = new FileSource(file, { debounceMs: 30, pollIntervalMs: 1e8 }).watch(() => {
      hints++;
    });
    const until = async (count: number): Promise<void> => {
      for (const end = Date.now() + 8_000; hints < count; ) {
        if (Date.now() > end) throw new Error(`${hints} hints within 8 s, want ${count}`);
        await new Promise((r) => setTimeout(r, 10));
      }
    };
    try {
      // The first says that the watch is up.
      await until(1);
      await new Promise((r) => setTimeout(r, 100));
      assert.equal(hints, 1);
      await change();
      await until(2);
    } finally {
      await watch.close();
    }
  }

  test('sees a replacement by rename', async () => {
    const file = path.join(dir, 'b');
    await writeFile(file, 'one');
    await hinted(file, async () => {
      await writeFile(path.join(dir, 'new'), 'two');
      await rename(path.join(dir, 'new'), file);
    });
  });

  test('sees a rewrite in place', async () => {
    const file = path.join(dir, 'b');
    await writeFile(file, 'one');
    await hinted(file, () => writeFile(file, 'two'));
  });

  test('sees a file that appears, and one that is removed', async () => {
    const file = path.join(dir, 'b');
    await hinted(file, () => writeFile(file, 'one'));
    await hinted(file, () => rm(file));
  });

  test("sees Kubernetes' ..data being switched", async () => {
    for (const n of ['1', '2']) {
      await mkdir(path.join(dir, `..${n}`));
      await writeFile(path.join(dir, `..${n}`, 'b'), n);
    }
    await symlink('..1', path.join(dir, '..data'));
    await symlink('..data/b', path.join(dir, 'b'));
    await hinted(path.join(dir, 'b'), async () => {
      await symlink('..2', path.join(dir, '..data_tmp'));
      await rename(path.join(dir, '..data_tmp'), path.join(dir, '..data'));
    });
  });

  test('sees a change behind a symlink into another directory', async () => {
    await mkdir(path.join(dir, 'real'));
    const real = path.join(dir, 'real', 'b');
    await writeFile(real, 'one');
    await symlink(real, path.join(dir, 'link'));
    await hinted(path.join(dir, 'link'), () => writeFile(real, 'two'));
  });

  test('sees a file in directories that appear later', async () => {
    const file = path.join(dir, 'x', 'y', 'b');
    await hinted(file, async () => {
      await mkdir(path.join(dir, 'x'));
      await new Promise((r) => setTimeout(r, 300));
      await mkdir(path.join(dir, 'x', 'y'));
      await writeFile(file, 'one');
    });
  });

  test('sees what replaces a directory that was removed', async () => {
    const file = path.join(dir, 'x', 'b');
    await mkdir(path.join(dir, 'x'));
    await writeFile(file, 'one');
    await hinted(file, async () => {
      await rename(path.join(dir, 'x'), path.join(dir, 'old'));
      await new Promise((r) => setTimeout(r, 300));
      await mkdir(path.join(dir, 'x'));
      await writeFile(file, 'two');
    });
  });
});

test('watch() gives one hint for a burst of writes, and none for a neighbour', async () => {
  const file = path.join(dir, 'b');
  await writeFile(file, 'one');
  let hints = 0;
  const watch = new FileSource(file, { debounceMs: 300, pollIntervalMs: 1e8 }).watch(() => {
    hints++;
  });
  const until = async (count: number): Promise<void> => {
    for (const end = Date.now() + 10_000; hints < count && Date.now() < end; ) {
      await new Promise((r) => setTimeout(r, 20));
    }
  };
  try {
    await until(1);
    assert.equal(hints, 1);
    await writeFile(path.join(dir, 'neighbour'), 'x');
    await new Promise((r) => setTimeout(r, 600));
    assert.equal(hints, 1);
    for (let i = 0; i < 10; i++) await writeFile(file, `write ${i}`);
    await until(2);
    await new Promise((r) => setTimeout(r, 600));
    assert.equal(hints, 2);
  } finally {
    await watch.close();
  }
});

test('the poll alone sees a change where the file system reports none', async () => {
  const file = path.join(dir, 'b');
  await writeFile(file, 'one');
  let hints = 0;
  // A debounce that never ends: nothing that chokidar says gets through.
  const watch = new FileSource(file, { debounceMs: 1e8, pollIntervalMs: 50 }).watch(() => {
    hints++;
  });
  const until = async (count: number): Promise<void> => {
    for (const end = Date.now() + 8_000; hints < count && Date.now() < end; ) {
      await new Promise((r) => setTimeout(r, 10));
    }
    // One more, where a poll fell between the truncation and the write.
    assert.ok(hints >= count, `${hints} hints`);
  };
  try {
    await until(1);
    await writeFile(file, 'two');
    await until(2);
  } finally {
    await watch.close();
  }
});

suite('writeFileAtomically()', () => {
  const bytes = Buffer.from('bundle');

  test('writes the bytes with the mode whatever the umask, and leaves no temporary file', async () => {
    const file = path.join(dir, 'out');
    const umask = process.umask(0o077);
    try {
      await writeFileAtomically(file, bytes, { mode: 0o644 });
    } finally {
      process.umask(umask);
    }
    assert.deepEqual(await readFile(file), bytes);
    assert.equal((await stat(file)).mode & 0o777, 0o644);
    await writeFileAtomically(file, Buffer.from('next'), { mode: 0o600 });
    assert.equal((await stat(file)).mode & 0o777, 0o600);
    assert.deepEqual(await readdir(dir), ['out']);
  });

  test('refuses what is there where nothing was expected, and what changed', async () => {
    const file = path.join(dir, 'out');
    await writeFileAtomically(file, bytes, { mode: 0o600, expected: 'absent' });
    await assert.rejects(
      writeFileAtomically(file, bytes, { mode: 0o600, expected: 'absent' }),
      code('output-changed'),
    );
    const head = await new FileSource(file).readHead();
    assert.ok(head);
    await writeFileAtomically(file, Buffer.from('other'), { mode: 0o600, expected: head });
    await assert.rejects(
      writeFileAtomically(file, bytes, { mode: 0o600, expected: head }),
      code('output-changed'),
    );
    assert.equal(await readFile(file, 'utf8'), 'other');
    assert.deepEqual(await readdir(dir), ['out']);
  });

  test('writes through a symlink and leaves it one', async () => {
    await writeFile(path.join(dir, 'real'), 'old');
    await symlink('real', path.join(dir, 'link'));
    await writeFileAtomically(path.join(dir, 'link'), bytes, { mode: 0o600 });
    assert.ok((await lstat(path.join(dir, 'link'))).isSymbolicLink());
    assert.deepEqual(await readFile(path.join(dir, 'real')), bytes);
  });

  test("does not follow another user's symlink, which would replace what they choose", async (t) => {
    await writeFile(path.join(dir, 'victim'), 'kept');
    await symlink('victim', path.join(dir, 'planted'));
    await symlink('planted', path.join(dir, 'chain'));
    // Root makes it somebody else's; anybody else becomes somebody else.
    if (process.geteuid?.() === 0) await lchown(path.join(dir, 'planted'), 65534, 65534);
    else t.mock.method(process as Required<Pick<NodeJS.Process, 'geteuid'>>, 'geteuid', () => 65534);
    for (const name of ['planted', 'chain']) {
      await assert.rejects(
        writeFileAtomically(path.join(dir, name), bytes, { mode: 0o600 }),
        (e: unknown) => code('output-denied')(e) && /rm "/.test((e as OutputError).hint ?? ''),
      );
    }
    assert.equal(await readFile(path.join(dir, 'victim'), 'utf8'), 'kept');
    assert.deepEqual((await readdir(dir)).sort(), ['chain', 'planted', 'victim']);
  });

  test('replaces a symlink itself where it is told to, and never what is no file', async () => {
    await writeFile(path.join(dir, 'victim'), 'kept');
    await symlink('victim', path.join(dir, 'planted'));
    const options = { mode: 0o600, links: 'replace' } as const;
    await assert.rejects(
      writeFileAtomically(path.join(dir, 'planted'), bytes, { ...options, expected: 'absent' }),
      code('output-changed'),
    );
    await writeFileAtomically(path.join(dir, 'planted'), bytes, options);
    assert.ok((await lstat(path.join(dir, 'planted'))).isFile());
    assert.deepEqual(await readFile(path.join(dir, 'planted')), bytes);
    assert.equal(await readFile(path.join(dir, 'victim'), 'utf8'), 'kept');
    await symlink('/dev/null', path.join(dir, 'device'));
    await assert.rejects(
      writeFileAtomically(path.join(dir, 'device'), bytes, options),
      code('output-failed'),
    );
  });

  test('goes round in a loop of symlinks only so often', async () => {
    await symlink('loop', path.join(dir, 'loop'));
    await assert.rejects(
      writeFileAtomically(path.join(dir, 'loop'), bytes, { mode: 0o600 }),
      code('output-failed'),
    );
  });

  test('says what is wrong with where it should write', async () => {
    await assert.rejects(
      writeFileAtomically(path.join(dir, 'no', 'out'), bytes, { mode: 0o600 }),
      (e: unknown) => code('output-failed')(e) && /mkdir -p/.test((e as OutputError).hint ?? ''),
    );
    await assert.rejects(writeFileAtomically(dir, bytes, { mode: 0o600 }), code('output-failed'));
    await assert.rejects(writeFileAtomically('/dev/full', bytes, { mode: 0o600 }), code('output-failed'));
    await writeFile(path.join(dir, 'plain'), '');
    await assert.rejects(
      writeFileAtomically(path.join(dir, 'plain', 'out'), bytes, { mode: 0o600 }),
      code('output-failed'),
    );
  });
});

/** The file open for reading, and a source of the descriptor alone. */
async function descriptorOf(t: TestContext, file: string) {
  const handle = await open(file, 'r');
  t.after(() => handle.close());
  return new FileSource('/etc/secretsfs/web.enc', { opened: handle.fd });
}

test('a source of an open file reads it, also once its path leads elsewhere, and from any offset', async (t) => {
  const file = path.join(dir, 'b');
  await writeFile(file, 'one');
  const revision = (await new FileSource(file).fetch({ bytesMax: 10 }))?.revision ?? '';
  const source = await descriptorOf(t, file);
  assert.deepEqual(await source.check({ knownRevision: revision }), { outcome: 'same' });
  for (let i = 0; i < 2; i++) assert.equal((await source.fetch({ bytesMax: 10 }))?.bytes.toString(), 'one');
  assert.equal(await source.fetch({ bytesMax: 10, knownRevision: revision }), undefined);
  await rm(file);
  assert.equal((await source.fetch({ bytesMax: 10 }))?.bytes.toString(), 'one');
});

test('a source of an open file names the location that it was given', async (t) => {
  await writeFile(path.join(dir, 'b'), 'one');
  const source = await descriptorOf(t, path.join(dir, 'b'));
  await assert.rejects(source.fetch({ bytesMax: 2 }), (error: SourceError) => {
    assert.match(error.message, /"\/etc\/secretsfs\/web\.enc".*has 3 bytes/);
    return code('source-too-large')(error);
  });
  await assert.rejects((await descriptorOf(t, dir)).fetch({ bytesMax: 9 }), code('source-invalid'));
});

test('a source of an open file gives up on one that changes all the time', async (t) => {
  const file = path.join(dir, 'b');
  await writeFile(file, Buffer.alloc(8_000_000));
  const source = await descriptorOf(t, file);
  let writing = true;
  const writer = (async () => {
    const handle = await open(file, 'r+');
    for (let i = 0; writing; i++) {
      await handle.write(Buffer.from([i & 0xff]), 0, 1, 0);
      await new Promise((resolve) => setImmediate(resolve));
    }
    await handle.close();
  })();
  try {
    await assert.rejects(source.fetch({ bytesMax: 10_000_000 }), code('source-invalid'));
  } finally {
    writing = false;
    await writer;
  }
});
