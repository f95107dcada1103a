/** What packs and keeps secrets runs where there is no /proc and no native code, as on macOS; this machine only plays one. */
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { awsEnv, createBucket, createKey, type Moto, startMoto } from '../support/moto.ts';
import { PROGRAM } from '../support/paths.ts';
import { Bench, run } from '../support/program.ts';

let moto: Moto;
before(async () => {
  moto = await startMoto();
});
after(() => moto?.stop());

/** Node that says darwin, so koffi finds no build of itself either. */
const DARWIN = `data:text/javascript,Object.defineProperty(process,'platform',{value:'darwin'})`;

test('pack, unpack, put, get, ls and keys work without /proc and without native code', async (t) => {
  const bench = await Bench.create(t, awsEnv(moto.url));
  const [bucket, key] = [await createBucket(moto.url), await createKey(moto.url)];
  mkdirSync(bench.path('in'));
  writeFileSync(bench.path('in/a'), 'of a\n');
  const mac = async (args: readonly string[], stdin?: string) => {
    const command = [process.execPath, '--import', DARWIN, PROGRAM, ...args];
    // The mount of /proc ends with its namespace.
    const hidden = [
      '--mount',
      '--propagation',
      'private',
      'sh',
      '-c',
      'mount -t tmpfs none /proc && exec "$@"',
      'sh',
      ...command,
    ];
    const options = {
      cwd: bench.directory,
      env: bench.env,
      ...(stdin === undefined ? {} : { stdin: Buffer.from(stdin) }),
    };
    const { code, stdout, stderr } = await run('unshare', hidden, options);
    assert.deepEqual({ args, code, stderr }, { args, code: 0, stderr: '' });
    return stdout;
  };
  assert.match(await mac(['version']), /darwin/);
  await mac(['keygen', 'key']);
  for (const [place, wrapping] of [
    ['web.enc', 'local:key'],
    [`s3://${bucket}/web.enc`, key],
  ] as const) {
    await mac(['pack', '--dir', 'in', place, '--key', wrapping]);
    assert.match(await mac(['inspect', place]), /^name +web$/m);
    await mac(['verify', place, '--key', wrapping]);
    const out = `out-${place.length}`;
    await mac(['unpack', place, `${out}/`, '--key', wrapping]);
    assert.equal(readFileSync(bench.path(out, 'a'), 'utf8'), 'of a\n');
  }
  const store = ['--store', `s3://${bucket}/store`];
  await mac(['put', 'db/password', ...store, '--key', key], 'battery');
  assert.equal(await mac(['get', 'db/password', ...store]), 'battery');
  assert.match(await mac(['ls', ...store]), /^db\/password /m);
  await mac(['upload', 'in/a', 'a', ...store, '--key', key]);
  await mac(['download', 'a', 'a.out', ...store]);
  assert.equal(readFileSync(bench.path('a.out'), 'utf8'), 'of a\n');
  await mac(['rm', 'a', ...store]);
  assert.match(await mac(['keys', 'ls']), new RegExp(key.split('/').at(-1) ?? ''));
});
