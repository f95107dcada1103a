import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { fstatSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { FileLane } from '../../../src/system/file-lane.ts';
import { run } from '../../support/program.ts';

const never = new AbortController().signal;

async function directory(t: TestContext): Promise<string> {
  const made = await mkdtemp(path.join(tmpdir(), 'secretsfs-lane-'));
  t.after(() => rm(made, { recursive: true, force: true }));
  return made;
}

/** A call that hangs until it is told to end. */
function hanging<T>() {
  let end: (value: T) => void = () => {};
  let begun = 0;
  const ends = new Promise<T>((resolve) => {
    end = resolve;
  });
  const call = () => {
    begun += 1;
    return ends;
  };
  return { call, end, begun: () => begun };
}

test('one call runs at a time, in their order', async () => {
  const lane = new FileLane();
  const [first, second] = [hanging<string>(), hanging<string>()];
  const results = [lane.run(first.call), lane.run(second.call)];
  assert.deepEqual([first.begun(), second.begun()], [1, 0]);
  first.end('a');
  assert.equal(await results[0], 'a');
  second.end('b');
  assert.equal(await results[1], 'b');
});

test('one that hangs is given up, and what waits behind it or comes while it hangs, which never begins; what comes late is handed over', async () => {
  const lane = new FileLane();
  const [hung, waits] = [hanging<number>(), hanging<number>()];
  const late: number[] = [];
  const onLate = (result: number) => late.push(result);
  const given = [hung, waits].map(({ call }) => lane.run(call, { timeoutMs: 20, onLate }));
  for (const each of given) await assert.rejects(each, { code: 'ETIMEDOUT' });
  await assert.rejects(lane.run(waits.call, { timeoutMs: 2 ** 30 }), { code: 'ETIMEDOUT' });
  hung.end(7);
  assert.equal(await lane.run(async () => 'next'), 'next');
  assert.deepEqual([late, waits.begun()], [[7], 0]);
});

test("the signal's reason ends a wait, also one that has not begun", async () => {
  const lane = new FileLane();
  const hung = hanging<void>();
  const abort = new AbortController();
  const given = [
    lane.run(hung.call, { signal: abort.signal }),
    lane.run(hung.call, { signal: abort.signal }),
  ];
  abort.abort(new Error('stop'));
  for (const each of given) await assert.rejects(each, { message: 'stop' });
  await assert.rejects(lane.run(hung.call, { signal: abort.signal }), { message: 'stop' });
  assert.equal(hung.begun(), 1);
});

test('a failure is the call’s own, and the next one runs', async () => {
  const lane = new FileLane();
  await assert.rejects(
    lane.run(() => Promise.reject(new Error('no'))),
    { message: 'no' },
  );
  assert.equal(await lane.run(async () => 1), 1);
});

test('a regular file is opened; a fifo, a device and a directory are not', async (t) => {
  const lane = new FileLane();
  const place = await directory(t);
  await writeFile(path.join(place, 'file'), 'text');
  execFileSync('mkfifo', [path.join(place, 'fifo')]);
  const fd = await lane.openRegular(path.join(place, 'file'), never);
  assert.equal(await readFile(`/proc/self/fd/${fd}`, 'utf8'), 'text');
  lane.close(fd);
  await lane.run(async () => undefined);
  assert.throws(() => fstatSync(fd), { code: 'EBADF' });
  for (const name of [path.join(place, 'fifo'), '/dev/null', place])
    await assert.rejects(lane.openRegular(name, never), { code: 'ENXIO' });
  await assert.rejects(lane.openRegular(path.join(place, 'none'), never), { code: 'ENOENT' });
});

test('a process ends with its code while a call of it hangs that was given up', async (t) => {
  const place = await directory(t);
  const fifo = path.join(place, 'fifo');
  execFileSync('mkfifo', [fifo]);
  const module = new URL('../../../src/system/file-lane.js', import.meta.url);
  const script = `
    import { open } from 'node:fs/promises';
    import { FileLane } from ${JSON.stringify(module)};
    const hung = new FileLane().run(() => open(${JSON.stringify(fifo)}, 'r'), { timeoutMs: 10 });
    await hung.catch(({ code }) => process.exit(code === 'ETIMEDOUT' ? 3 : 4));`;
  const { code } = await run(process.execPath, ['--input-type=module', '-e', script]);
  assert.equal(code, 3);
});
