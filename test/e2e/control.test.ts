/** Who may ask a running mount for what. */
import assert from 'node:assert/strict';
import { chmod, cp, mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { PROGRAM } from '../support/paths.ts';
import { Bench, type Outcome, run } from '../support/program.ts';

const GROUP = 23_457;
const MEMBER = { uid: 23_458, gid: GROUP };
const STRANGER = { uid: 23_459, gid: 23_459 };

test('a group may be let see the status, and no more; others see nothing', async (t) => {
  const bench = await Bench.create(t);
  await mkdir(bench.path('mnt'));
  await mkdir(bench.path('dir'));
  await writeFile(bench.path('dir/secret'), 'content');
  await bench.must(['keygen', 'key']);
  await bench.must(['pack', '--dir', 'dir', '--key', 'local:key', 'web.enc']);
  await bench.mount(['web.enc', 'mnt', '--key', 'local:key', '--status-group', String(GROUP)]);
  await chmod(bench.directory, 0o755);
  // Where other users can read it, wherever the repository is.
  await cp(path.dirname(PROGRAM), bench.path('dist'), { recursive: true });

  const as = ({ uid, gid }: { uid: number; gid: number }, ...args: string[]): Promise<Outcome> => {
    const user = ['--reuid', String(uid), '--regid', String(gid), '--clear-groups'];
    return run('setpriv', [...user, process.execPath, bench.path('dist/secretsfs.mjs'), ...args], {
      env: bench.env,
      cwd: '/',
    });
  };
  const seen = await as(MEMBER, 'status', 'web', '--json');
  assert.equal(seen.code, 0, seen.stderr);
  assert.equal(JSON.parse(seen.stdout)[0].state, 'live');
  assert.equal((await as(MEMBER, 'wait', 'web')).code, 0);
  for (const verb of ['remount', 'unmount']) {
    const refused = await as(MEMBER, verb, 'web');
    assert.equal(refused.code, 8);
    assert.match(refused.stderr, /belongs to another user \(control-denied\)\nsecretsfs: hint: /);
  }
  for (const verb of ['status', 'remount', 'unmount']) {
    const refused = await as(STRANGER, verb, 'web');
    assert.equal(refused.code, 8, refused.stdout);
    assert.match(refused.stderr, /\(control-denied\)/);
  }
  // The control: root may, and the mount is still there.
  assert.match(await bench.must(['remount', 'web']), /nothing changed/);
});

test('two mounts side by side are told apart by name and by mountpoint', async (t) => {
  const bench = await Bench.create(t);
  await mkdir(bench.path('dir'));
  await bench.must(['keygen', 'key']);
  for (const name of ['web', 'db']) {
    await mkdir(bench.path(name));
    await writeFile(bench.path('dir/secret'), name);
    // An alias only wraps: what stands beside it opens.
    await bench.must(['pack', '--dir', 'dir', '--key', 'local:key', `${name}.enc`]);
    await bench.mount([`${name}.enc`, name, '--key', 'local:key', '--key', 'alias/unused']);
  }
  const all = JSON.parse(await bench.must(['status', '--json'])) as { instance: string }[];
  assert.deepEqual(
    all.map(({ instance }) => instance),
    ['db', 'web'],
  );
  const unnamed = await bench.secretsfs(['remount']);
  assert.equal(unnamed.code, 2);
  assert.match(unnamed.stderr, /2 mounts are running: db, web/);
  assert.match(await bench.must(['unmount', bench.path('db')]), /^db: unmounted/);
  assert.equal(await readFile(bench.path('web/secret'), 'utf8'), 'web');
  assert.match(await bench.must(['remount']), /^web: nothing changed/);
});
