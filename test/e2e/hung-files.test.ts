/**
 * Files that the settings name, on a file system whose server stands still: whoever asks for them gets an error in time,
 * everything else goes on, and what is live stays. That file system is another secretsfs, which is stopped.
 */
import assert from 'node:assert/strict';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { type TestContext, test } from 'node:test';
import { writeArchive } from '../../src/bundle/archive.ts';
import { ask } from '../../src/control/client.ts';
import { KEY, sealTest } from '../support/bundles.ts';
import { file } from '../support/entries.ts';
import { waitsForFuse } from '../support/processes.ts';
import { Bench, eventually, run } from '../support/program.ts';
import { type Server, serve } from '../support/server.ts';
import { patient } from '../support/slowness.ts';

/** As src/system/file-lane.ts has it, and as much again for all that comes before and after. */
const ANSWER_MS_MAX = 2 * patient(10_000);

interface Hosted {
  readonly bench: Bench;
  /** What the files are on. */
  readonly host: Server;
  put(serial: number): Promise<void>;
}

/** With a bundle and a key that are on `host`. */
async function setUp(t: TestContext): Promise<Hosted> {
  const bench = await Bench.create(t);
  await mkdir(bench.path('mnt'));
  bench.after(() => run('umount', ['-l', bench.path('mnt')]));
  const spec = async (serial: number) => {
    const tar = await writeArchive([file('secret', `number ${serial}`)]);
    const bundle = await sealTest(tar, { serial });
    const entries = [
      { path: 'web.enc', base64: bundle.toString('base64') },
      { path: 'key', base64: KEY.toString('base64'), mode: 0o400 },
    ];
    return { entries, preserve: true };
  };
  const host = await serve(await spec(1), (cleanup) => bench.after(cleanup));
  await writeFile(bench.path('key'), KEY, { mode: 0o400 });
  return { bench, host, put: async (serial) => void (await host.activate(await spec(serial))) };
}

const served = (bench: Bench) => readFile(bench.path('mnt/secret'), 'utf8');

const status = (bench: Bench) => ask(bench.path('run'), 'web', 'status', ANSWER_MS_MAX);
const remount = (bench: Bench) => ask(bench.path('run'), 'web', 'remount', ANSWER_MS_MAX);

test('a bundle whose file system hangs is an error in time, while the mount answers; then it is taken', async (t) => {
  const { bench, host, put } = await setUp(t);
  const daemon = await bench.mount([host.path('web.enc'), 'mnt', '--key', 'local:key']);
  await put(2);
  host.child.kill('SIGSTOP');
  // Again and again: each may hold a thread, and there are four.
  for (let attempt = 0; attempt < 5; attempt++) {
    let answered = false;
    const remounting = assert
      .rejects(remount(bench), { code: 'source-unreachable', hint: /network file system/ })
      .finally(() => {
        answered = true;
      });
    let statuses = 0;
    for (; !answered; statuses++) {
      assert.equal((await status(bench)).live?.serial, 1);
      assert.equal(await served(bench), 'number 1');
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    await remounting;
    assert.ok(statuses > 0, 'nothing was asked meanwhile');
  }
  host.child.kill('SIGCONT');
  await daemon.event('activated', 2);
  assert.equal(await served(bench), 'number 2');
});

test('a key whose file system hangs is an error in time', async (t) => {
  const { bench, host, put } = await setUp(t);
  await writeFile(bench.path('web.enc'), await readFile(host.path('web.enc')));
  const daemon = await bench.mount(['web.enc', 'mnt', '--key', `local:${host.path('key')}`]);
  await put(2);
  const next = await readFile(host.path('web.enc'));
  host.child.kill('SIGSTOP');
  await writeFile(bench.path('web.enc'), next);
  await assert.rejects(remount(bench), { message: /does not answer/ });
  // It may have been noticed before it was asked for: then it is that which found the key.
  assert.equal((await daemon.event('refresh-failed'))['code'], 'key-unreachable');
  assert.equal(await served(bench), 'number 1');
});

test('a mount ends while its bundle is waited for', async (t) => {
  const { bench, host } = await setUp(t);
  const daemon = await bench.mount([host.path('web.enc'), 'mnt', '--key', 'local:key']);
  host.child.kill('SIGSTOP');
  const remounting = remount(bench).catch(() => undefined);
  await eventually(async () => assert.ok(waitsForFuse(daemon.child.pid as number)));
  daemon.child.kill('SIGTERM');
  await daemon.event('stopped');
  // No process ends while a FUSE server has a request of its: that is the kernel's.
  host.child.kill('SIGCONT');
  assert.equal(await daemon.ended, 0, JSON.stringify(daemon.lines));
  await remounting;
});

test('a mount starts, serves and ends where the file system of its records hangs, and says so', async (t) => {
  const { bench, host } = await setUp(t);
  await writeFile(bench.path('web.enc'), await readFile(host.path('web.enc')));
  host.child.kill('SIGSTOP');
  const daemon = await bench.mount([
    'web.enc',
    'mnt',
    '--key',
    'local:key',
    '--state-dir',
    host.path('none'),
  ]);
  assert.match(`${(await daemon.event('floor-not-kept'))['problem']}`, /gave no answer within/);
  assert.match((await status(bench)).floor?.problem ?? '', /gave no answer within/);
  assert.equal(await served(bench), 'number 1');
  daemon.child.kill('SIGTERM');
  assert.equal(await daemon.ended, 0);
});
