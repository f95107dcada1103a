/**
 * What the commands that have contents in their hands leave where others can look: arguments and environments of processes,
 * files, output and errors. Each runs under strace, which sees what is there for a moment only.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { type Moto, startMoto } from '../support/moto.ts';
import { run } from '../support/program.ts';
import { canary } from '../support/secret-mount.ts';
import { type StoreBench, storeBench, typed } from '../support/stores.ts';
import { openedForWriting } from '../support/trace.ts';

let moto: Moto;
before(async () => {
  moto = await startMoto();
});
after(() => moto?.stop());

/** As programs write it: strace shows a buffer as text where it is text. */
function forms(secret: Buffer): string[] {
  // The last characters of base64 depend on what follows.
  const whole = secret.subarray(0, secret.length - (secret.length % 3));
  return [
    secret.toString('latin1'),
    secret.toString('hex'),
    whole.toString('base64'),
    whole.toString('base64url'),
  ];
}

interface Seen {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
  /** Arguments and environment of every program that was begun: one text a program. Who was not found never had any. */
  readonly programs: readonly string[];
  /** Every file that was opened for writing, or made. */
  readonly written: readonly string[];
}

async function traced({ bench }: StoreBench, args: readonly string[], stdin?: Uint8Array): Promise<Seen> {
  const output = bench.path('traces', 'trace');
  await mkdir(path.dirname(output), { recursive: true });
  const calls =
    'execve,open,openat,openat2,creat,memfd_create,mknod,mknodat,link,linkat,rename,renameat,renameat2';
  const strace = [
    '--follow-forks',
    '--output-separately',
    '-o',
    output,
    '-v',
    '-s',
    '1000000',
    '-e',
    `trace=${calls}`,
  ];
  const { code, stdout, stderr } = await run(
    'strace',
    [...strace, process.execPath, bench.program, ...args],
    {
      env: bench.env,
      cwd: bench.directory,
      ...(stdin === undefined ? {} : { stdin }),
    },
  );
  const directory = path.dirname(output);
  const lines = readdirSync(directory).flatMap((name) =>
    readFileSync(path.join(directory, name), 'latin1').split('\n'),
  );
  const programs = lines.filter((line) => line.startsWith('execve(') && line.endsWith(' = 0'));
  const written = openedForWriting(output)
    .filter(({ call }) => call !== 'execve')
    .map((opened) => path.resolve(bench.directory, opened.path));
  await run('rm', ['-r', directory]);
  return { code, stdout, stderr, programs, written: [...new Set(written)] };
}

/** Files in `directory` and below that hold one of `needles`. */
async function filesWith(directory: string, needles: readonly string[]): Promise<string[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  const files = entries
    .filter((entry) => entry.isFile())
    .map((entry) => path.join(entry.parentPath, entry.name));
  const found: string[] = [];
  for (const file of files) {
    const text = await readFile(file, 'latin1');
    if (needles.some((needle) => text.includes(needle))) found.push(path.relative(directory, file));
  }
  return found.sort();
}

interface Case {
  readonly args: readonly string[];
  readonly stdin?: Buffer;
  readonly code?: number;
  /** Where the content is meant to be: on stdout, in a file, in the environment of the program that is run. */
  readonly shows?: 'stdout' | 'environment';
  readonly makes?: readonly string[];
}

test('no command leaves a content or a key where it is not meant to be', async (t) => {
  const store = await storeBench(t, moto, { versioned: true });
  const { bench, keyArn } = store;
  const [secret, key] = [canary(), canary().subarray(0, 32)];
  const needles = [secret, key].flatMap(forms);
  for (const directory of ['in', 'out', 'dir']) await mkdir(bench.path(directory));
  await writeFile(bench.path('in/secret'), secret);
  await writeFile(bench.path('key'), key, { mode: 0o400 });
  const local = ['--store', 'dir', '--key', 'local:key'];
  const other = await typed(store, 'aws kms create-key --query KeyMetadata.Arn --output text');
  const accept = ['--accept-key', keyArn];
  const nul = Buffer.concat([secret, Buffer.from([0])]);
  const cases: readonly Case[] = [
    { args: ['upload', 'in/secret', 'a'] },
    { args: ['upload', '-', 'b'], stdin: nul },
    { args: ['put', 'c', '--json'], stdin: secret },
    { args: ['get', 'a'], shows: 'stdout' },
    { args: ['download', 'a', 'out/a'], makes: ['out/a'] },
    { args: ['download', 'a', '-'], shows: 'stdout' },
    { args: ['exec', 'a', 'c', '--', 'true'], shows: 'environment' },
    { args: ['ls', '--long', '--json'] },
    { args: ['history', 'a'] },
    { args: ['rotate', 'a', 'c'] },
    { args: ['pack', 'a', 'c', 'bundle-3'] },
    { args: ['sync', 'in', 'synced'] },
    { args: ['upload', 'in/secret', 'a', ...local] },
    { args: ['get', 'a', ...local], shows: 'stdout' },
    { args: ['pack', '--dir', 'in', 'bundle'] },
    { args: ['unpack', 'bundle', 'out/tree/', ...accept], makes: ['out/tree/secret'] },
    { args: ['unpack', 'bundle', '-', ...accept], shows: 'stdout' },
    { args: ['verify', 'bundle', ...accept] },
    { args: ['inspect', 'bundle'] },
    { args: ['reseal', 'bundle', 'bundle-2', ...accept] },
    { args: ['encrypt', 'in/secret', 'encrypted'] },
    { args: ['decrypt', 'encrypted', 'out/decrypted'], makes: ['out/decrypted'] },
    // Where it fails, with the content in hand or at hand.
    { args: ['upload', 'in/secret', 'a', '--create'], code: 10 },
    { args: ['put', 'a', '--if-match', 'x'], stdin: secret, code: 10 },
    { args: ['put', 'd', '--key', 'alias/nobody'], stdin: secret, code: 5 },
    { args: ['put', 'd', '--key', 'local:in/secret'], stdin: secret, code: 5 },
    { args: ['exec', 'b', '--', 'true'], code: 2 },
    { args: ['exec', 'a', '--', 'no-such-program'], code: 2 },
    { args: ['get', 'a', '--accept-key', other], code: 5 },
    { args: ['download', 'a', 'out/a'], code: 10 },
    { args: ['download', 'a', 'no/such/directory/file'], code: 10 },
    { args: ['get', 'in/secret', '--context', 'team=web', ...local], code: 4 },
    { args: ['unpack', 'bundle', 'out/tree/', ...accept], code: 10 },
  ];
  const meant = ['in/secret', 'key'];
  for (const { args, stdin, code = 0, shows, makes = [] } of cases) {
    const line = args.join(' ');
    const seen = await traced(store, args, stdin);
    assert.equal(seen.code, code, `${line}: ${seen.stderr}`);
    const has = (text: string) => needles.some((needle) => text.includes(needle));
    assert.ok(!has(seen.stderr), `${line}: it is in an error`);
    assert.equal(has(seen.stdout), shows === 'stdout', `${line}: stdout`);
    const showing = seen.programs.filter(has);
    assert.ok(seen.programs.length > 0, line);
    if (shows !== 'environment') assert.equal(showing.length, 0, `${line}: arguments or environment`);
    else {
      // Found where it is meant to be: so it would have been found elsewhere.
      assert.ok(showing.length > 0, line);
      for (const program of showing) assert.match(program, /^execve\("[^"]*\/true", \["true"\],/, line);
    }
    // A temporary name beside the file that is made, for a moment; nothing elsewhere.
    const places = new Set(makes.map((name) => path.dirname(bench.path(name))));
    const outputs = /^(bundle(-\d)?|encrypted|dir|cache|state)$/;
    const stray = seen.written.filter((file) => {
      const relative = path.relative(bench.directory, file);
      const isSealed = outputs.test(relative.split('/')[0]?.replace(/^\.(.*)\.[0-9a-f]{16}$/, '$1') ?? '');
      return (
        !isSealed &&
        !/^\/(dev|proc)\//.test(file) &&
        !places.has(path.dirname(file)) &&
        !makes.some((name) => bench.path(name).startsWith(`${file}/`))
      );
    });
    assert.deepEqual(stray, [], `${line}: files`);
    meant.push(...makes);
    assert.deepEqual(await filesWith(bench.directory, needles), [...new Set(meant)].sort(), line);
  }
});
