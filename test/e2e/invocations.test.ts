/**
 * What people get wrong: each ends with one line that says what, a hint, its documented exit code, no stack trace, and
 * nothing left behind.
 */
import assert from 'node:assert/strict';
import { rmdirSync, symlinkSync } from 'node:fs';
import { chmod, cp, mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, type TestContext, test } from 'node:test';
import { sealTest } from '../support/bundles.ts';
import { startFaultProxy } from '../support/fault-proxy.ts';
import { awsEnv, createBucket, createKey, type Moto, startMoto, withoutAws } from '../support/moto.ts';
import { PROGRAM } from '../support/paths.ts';
import { Bench, eventually, must, type Outcome, run } from '../support/program.ts';

/** A bench with a key, a bundle "web.enc", a mountpoint, and what should not have been made. */
async function setUp(t: TestContext, env?: NodeJS.ProcessEnv): Promise<Bench> {
  const bench = await Bench.create(t, env);
  await mkdir(bench.path('mnt'));
  await mkdir(bench.path('dir'));
  await writeFile(bench.path('dir/secret'), 'content');
  await writeFile(bench.path('text'), 'hello\n');
  await bench.must(['keygen', 'key']);
  await bench.must(['pack', '--dir', 'dir', '--key', 'local:key', 'web.enc']);
  return bench;
}

async function mountsBelow(directory: string): Promise<number> {
  const table = await readFile('/proc/self/mountinfo', 'utf8');
  return table.split('\n').filter((line) => line.includes(` ${directory}`)).length;
}

interface Wanted {
  readonly exit: number;
  readonly code: string;
  readonly says: RegExp;
  readonly hint: RegExp;
}

function assertRefused({ code, stdout, stderr }: Outcome, wanted: Wanted): void {
  const said = stderr.split('\n').filter((line) => line.startsWith('secretsfs: '));
  const context = `exit ${code}: ${stderr}`;
  assert.equal(code, wanted.exit, context);
  assert.equal(stdout, '', context);
  assert.equal(said.length, 2, context);
  assert.match(said[0] ?? '', wanted.says, context);
  assert.ok(said[0]?.endsWith(`(${wanted.code})`), context);
  assert.match(said[1] ?? '', /^secretsfs: hint: /, context);
  assert.match(said[1] ?? '', wanted.hint, context);
  assert.ok(!/\n\s+at /.test(stderr), context);
}

async function assertClean(bench: Bench, before: readonly string[]): Promise<void> {
  assert.deepEqual(
    (await readdir(bench.directory)).filter((name) => name !== 'run' && name !== 'state').sort(),
    [...before].sort(),
  );
  assert.deepEqual(await readdir(bench.path('run')).catch(() => []), []);
  assert.equal(await mountsBelow(bench.directory), 0);
}

const LOCAL = ['--key', 'local:key'];
const ARN = 'arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab';
const CASES: readonly (readonly [what: string, args: readonly string[], wanted: Wanted])[] = [
  ['no command', [], { exit: 2, code: 'usage', says: /no command given/, hint: /--help/ }],
  [
    'a slip in the command',
    ['moutn'],
    { exit: 2, code: 'usage', says: /unknown command "moutn"/, hint: /"mount"/ },
  ],
  [
    'an unknown option',
    ['mount', '--keys', 'x'],
    { exit: 2, code: 'usage', says: /cannot mount: unknown option "--keys"/, hint: /did you mean --key\?/ },
  ],
  [
    'an alias for the keys that are to be replaced',
    ['rotate', '--store', 'dir', '--key', 'local:key', '--from-key', 'alias/app'],
    {
      exit: 2,
      code: 'usage',
      says: /--from-key is "alias\/app": it is not a key's ARN/,
      hint: /keys show alias\/app/,
    },
  ],
  [
    'an unknown option before a positional',
    ['keygen', '--dryrun', 'zz.key'],
    {
      exit: 2,
      code: 'usage',
      says: /^secretsfs: keygen: unknown option "--dryrun"/,
      hint: /did you mean --dry-run\?/,
    },
  ],
  [
    'an unknown option that takes the only positional, after a known one',
    ['get', '--no-json', '--store', 'x', '--frobnicate', 'db/x'],
    { exit: 2, code: 'usage', says: /cannot get: unknown option "--frobnicate"/, hint: /--help/ },
  ],
  [
    'an unknown option of two words',
    ['download', 'a', 'b', '--just-say'],
    { exit: 2, code: 'usage', says: /cannot download: unknown option "--just-say"/, hint: /--help/ },
  ],
  [
    'another choice, to a command of two words',
    ['keys', 'rotation', 'maybe', 'k'],
    {
      exit: 2,
      code: 'usage',
      says: /^secretsfs: keys rotation: WHAT is "maybe", want "on"/m,
      hint: /--help/,
    },
  ],
  [
    'a bundle opened with an alias',
    ['unpack', 'web.enc', '-', '--key', 'alias/app'],
    {
      exit: 2,
      code: 'usage',
      says: /--key is "alias\/app", and a bundle is opened only with keys named by ARN/,
      hint: /--accept-key ARN; secretsfs inspect shows which/,
    },
  ],
  [
    'an S3 location for what writes files',
    ['encrypt', 'dir/secret', 's3://bucket/x', '--key', 'alias/app'],
    { exit: 2, code: 'usage', says: /encrypt writes files, not to S3/, hint: /secretsfs upload/ },
  ],
  [
    'an option without its value',
    ['mount', '--key'],
    { exit: 2, code: 'usage', says: /cannot mount: /, hint: /--help/ },
  ],
  [
    'no mountpoint',
    ['mount', 'web.enc'],
    { exit: 2, code: 'usage', says: /no mountpoint given/, hint: /MOUNTPOINT/ },
  ],
  [
    'too many arguments',
    ['inspect', 'a', 'b'],
    { exit: 2, code: 'usage', says: /cannot inspect: too many arguments: "b"/, hint: /--help/ },
  ],
  [
    'a hook without a name',
    ['hook', 'run'],
    { exit: 2, code: 'usage', says: /^secretsfs: hook: no NAME given/, hint: /secretsfs hook --help/ },
  ],
  [
    'another action of a hook',
    ['hook', 'start', 'web'],
    { exit: 2, code: 'usage', says: /there is no action "start"/, hint: /secretsfs hook run NAME/ },
  ],
  [
    'no key',
    ['mount', 'web.enc', 'mnt'],
    { exit: 2, code: 'usage', says: /no key given/, hint: /--accept-key/ },
  ],
  [
    'an alias to open with',
    ['mount', 'web.enc', 'mnt', '--accept-key', 'alias/web'],
    { exit: 2, code: 'usage', says: /alias/, hint: /ARN/ },
  ],
  [
    'fast opens without a cache',
    ['mount', 'web.enc', 'mnt', ...LOCAL, '--cache', 'none', '--fast-open'],
    {
      exit: 3,
      code: 'config-invalid',
      says: /cannot use --fast-open with --cache none/,
      hint: /leave out one/,
    },
  ],
  [
    'one generation for a process, with opens that nobody sees',
    ['mount', 'web.enc', 'mnt', ...LOCAL, '--consistency', 'process', '--fast-open'],
    {
      exit: 3,
      code: 'config-invalid',
      says: /cannot use consistency process with fastOpen/,
      hint: /leave out one/,
    },
  ],
  [
    'one generation for a process, with fuse-native',
    ['mount', 'web.enc', 'mnt', ...LOCAL, '--driver', 'fuse-native', '--consistency', 'process'],
    {
      exit: 3,
      code: 'config-invalid',
      says: /cannot use --consistency: .* fuse-native/,
      hint: /leave it out/,
    },
  ],
  [
    'a window without passes',
    ['mount', 'web.enc', 'mnt', ...LOCAL, '--consistency', 'none', '--consistency-window', '1s'],
    {
      exit: 3,
      code: 'config-invalid',
      says: /cannot use consistencyWindow: consistency is none/,
      hint: /leave out one/,
    },
  ],
  [
    'no such bundle',
    ['mount', 'none.enc', 'mnt', ...LOCAL, '--name', 'web'],
    { exit: 4, code: 'source-not-found', says: /no such file/, hint: /./ },
  ],
  [
    'no bundle at all',
    ['mount', 'text', 'mnt', ...LOCAL],
    { exit: 6, code: 'bundle-invalid', says: /bundle/, hint: /./ },
  ],
  [
    'a directory as a bundle',
    ['inspect', 'dir'],
    { exit: 4, code: 'source-invalid', says: /not a regular file/, hint: /./ },
  ],
  [
    'no such mountpoint',
    ['mount', 'web.enc', 'none', ...LOCAL],
    { exit: 7, code: 'mountpoint-missing', says: /none": it does not exist/, hint: /mkdir/ },
  ],
  [
    'a file as mountpoint',
    ['mount', 'web.enc', 'text', ...LOCAL],
    { exit: 7, code: 'mountpoint-invalid', says: /not a directory/, hint: /./ },
  ],
  [
    'a mountpoint with files in it',
    ['mount', 'web.enc', 'dir', ...LOCAL],
    { exit: 7, code: 'mountpoint-invalid', says: /not empty/, hint: /./ },
  ],
  [
    'a key file that is missing',
    ['mount', 'web.enc', 'mnt', '--key', 'local:none'],
    { exit: 5, code: 'key-not-found', says: /"none"/, hint: /keygen/ },
  ],
  [
    'a key file of the wrong length',
    ['mount', 'web.enc', 'mnt', '--key', 'local:short'],
    { exit: 5, code: 'key-invalid', says: /bytes/, hint: /./ },
  ],
  [
    'a key file that all may read',
    ['mount', 'web.enc', 'mnt', '--key', 'local:open'],
    { exit: 5, code: 'key-permissions', says: /0444/, hint: /chmod 0400/ },
  ],
  [
    'a config that is not YAML',
    ['mount', '--config', 'bad.yaml'],
    { exit: 3, code: 'config-invalid', says: /"bad\.yaml", line \d, column \d+/, hint: /./ },
  ],
  [
    'a config with an unknown key',
    ['mount', '--config', 'odd.yaml'],
    { exit: 3, code: 'config-invalid', says: /line 1, column 1: keys: /, hint: /did you mean key\?/ },
  ],
  [
    'a config that is missing',
    ['mount', '--config', 'none.yaml'],
    { exit: 3, code: 'config-unreadable', says: /"none\.yaml"/, hint: /./ },
  ],
  [
    'another name',
    ['mount', 'web.enc', 'mnt', ...LOCAL, '--name', 'db'],
    { exit: 6, code: 'bundle-name', says: /"web", want "db"/, hint: /--name/ },
  ],
  [
    'a key that did not seal it',
    ['verify', 'web.enc', '--key', 'local:other'],
    { exit: 5, code: 'key-not-accepted', says: /./, hint: /./ },
  ],
  [
    'both inputs',
    ['pack', '--dir', 'dir', '--tar', 't', ...LOCAL, 'x.enc'],
    { exit: 2, code: 'usage', says: /one of --dir and --tar/, hint: /--dir DIR/ },
  ],
  [
    'no name for stdout',
    ['pack', '--dir', 'dir', ...LOCAL, '-'],
    { exit: 2, code: 'usage', says: /no name given/, hint: /--name/ },
  ],
  [
    'a serial that goes back',
    ['pack', '--dir', 'dir', ...LOCAL, '--serial', '5', 'web.enc'],
    { exit: 2, code: 'usage', says: /--serial is 5/, hint: /larger/ },
  ],
  [
    'an output that is something else',
    ['pack', '--dir', 'dir', ...LOCAL, '--name', 'text', 'text'],
    { exit: 10, code: 'output-exists', says: /not a bundle/, hint: /--force/ },
  ],
  [
    'an output in no directory',
    ['pack', '--dir', 'dir', ...LOCAL, 'none/web.enc'],
    { exit: 10, code: 'output-failed', says: /directory does not exist/, hint: /mkdir/ },
  ],
  [
    'an input that is missing',
    ['pack', '--dir', 'none', ...LOCAL, 'x.enc'],
    { exit: 4, code: 'source-not-found', says: /"none"/, hint: /--dir/ },
  ],
  [
    'a tar that is none',
    ['pack', '--tar', 'text', ...LOCAL, 'x.enc'],
    { exit: 6, code: 'archive-invalid', says: /tar/, hint: /./ },
  ],
  [
    'an output directory with a file in the way',
    ['unpack', 'web.enc', 'dir/', ...LOCAL],
    { exit: 10, code: 'output-exists', says: /secret/, hint: /--force/ },
  ],
  [
    'a key file that exists',
    ['keygen', 'key'],
    { exit: 10, code: 'output-exists', says: /"key"/, hint: /./ },
  ],
  [
    'a status of what does not run',
    ['status', 'web'],
    { exit: 8, code: 'control-not-running', says: /./, hint: /mount/ },
  ],
  [
    'a remount of what does not run',
    ['remount'],
    { exit: 8, code: 'control-not-running', says: /no mount is running/, hint: /mount/ },
  ],
  [
    'a wait for what never comes',
    ['wait', 'web', '--timeout', '1'],
    { exit: 9, code: 'wait-timeout', says: /not ready after 1 s/, hint: /./ },
  ],
  [
    'a wrong S3 URL',
    ['inspect', 's3://bucket'],
    { exit: 2, code: 'usage', says: /names no object/, hint: /s3:\/\/BUCKET\/KEY/ },
  ],
  [
    'a wrong number',
    ['mount', 'web.enc', 'mnt', ...LOCAL, '--max-bytes', 'lots'],
    { exit: 2, code: 'usage', says: /--max-bytes/, hint: /./ },
  ],
  [
    'a group that does not exist',
    ['mount', 'web.enc', 'mnt', ...LOCAL, '--status-group', 'nogr'],
    { exit: 3, code: 'config-invalid', says: /"nogr"/, hint: /getent/ },
  ],
  [
    'a setting of the kernel driver for the other one',
    ['mount', 'web.enc', 'mnt', ...LOCAL, '--driver', 'fuse-native', '--fast-open'],
    { exit: 3, code: 'config-invalid', says: /cannot use --fast-open: /, hint: /leave it out/ },
  ],
  [
    'a setting of the kernel driver in the config for the other one',
    ['mount', '--config', 'native.yaml'],
    { exit: 3, code: 'config-invalid', says: /cannot use fastOpen: /, hint: /leave it out/ },
  ],
  [
    'a flag that is neither true nor false',
    ['mount', 'web.enc', 'mnt', ...LOCAL, '--fast-open=maybe'],
    { exit: 2, code: 'usage', says: /--fast-open is "maybe", want true or false/, hint: /--help/ },
  ],
  [
    'a flag in a config that is neither true nor false',
    ['mount', '--config', 'flag.yaml'],
    { exit: 3, code: 'config-invalid', says: /fastOpen: must be true or false/, hint: /settings/ },
  ],
  [
    'an option twice that one value is enough for',
    ['pack', '--dir', 'dir', '--dir', 'dir', ...LOCAL, 'x.enc'],
    { exit: 2, code: 'usage', says: /cannot pack: --dir is given more than once/, hint: /--help/ },
  ],
  [
    'a setting twice that one value is enough for',
    ['verify', 'web.enc', ...LOCAL, '--name', 'a', '--name', 'b'],
    { exit: 2, code: 'usage', says: /cannot verify: --name is given more than once/, hint: /--help/ },
  ],
  [
    'no output',
    ['unpack', 'web.enc', ...LOCAL],
    { exit: 2, code: 'usage', says: /cannot unpack: no OUT given/, hint: /--help/ },
  ],
  [
    'an option at the end without its value',
    ['pack', 'x.enc', '--dir'],
    { exit: 2, code: 'usage', says: /cannot pack: --dir needs a value/, hint: /--help/ },
  ],
  [
    'a list with a hole',
    ['verify', 'web.enc', '--key', 'local:key,'],
    { exit: 2, code: 'usage', says: /--key: .*has an empty member/, hint: /--help/ },
  ],
  [
    'an instance that is no name',
    ['mount', 'web.enc', 'mnt', ...LOCAL, '--instance', 'b@d'],
    { exit: 2, code: 'usage', says: /"b@d" as the name of a mount \(--instance\)/, hint: /letters/ },
  ],
  [
    'a role that is none',
    ['mount', 's3://bucket/web', 'mnt', '--accept-key', ARN, '--role-arn', 'reader'],
    { exit: 2, code: 'usage', says: /"reader": it is not a role's ARN/, hint: /role\/NAME/ },
  ],
  [
    'another kind of URL',
    ['inspect', 'https://example.com/web.enc'],
    { exit: 2, code: 'usage', says: /neither a path nor s3:\/\//, hint: /"\.\/https:/ },
  ],
  [
    'an S3 URL to write to with a slash too few',
    ['pack', '--dir', 'dir', ...LOCAL, 's3:/bucket/web.enc'],
    { exit: 2, code: 'usage', says: /neither a path nor s3:\/\//, hint: /two slashes/ },
  ],
  [
    'a bucket that is none',
    ['inspect', 's3://-bucket/web.enc'],
    { exit: 2, code: 'usage', says: /its bucket is "-bucket", want a letter or digit, then/, hint: /BUCKET/ },
  ],
  [
    'a serial that is no number',
    ['pack', '--dir', 'dir', ...LOCAL, '--serial', 'x', 'x.enc'],
    { exit: 2, code: 'usage', says: /--serial is "x", want a whole number/, hint: /leave --serial out/ },
  ],
  [
    'a pair of the context twice',
    ['pack', '--dir', 'dir', ...LOCAL, '--context', 'a=1,a=2', 'x.enc'],
    { exit: 2, code: 'usage', says: /"a=2": key is given twice/, hint: /--context a=1,b=2/ },
  ],
  [
    'a directory as a tar',
    ['pack', '--tar', 'dir', ...LOCAL, 'x.enc'],
    { exit: 4, code: 'source-invalid', says: /"dir": it is not a regular file/, hint: /--tar/ },
  ],
  [
    'a directory as an output',
    ['pack', '--dir', 'dir', ...LOCAL, 'mnt'],
    { exit: 10, code: 'output-denied', says: /: cannot replace "mnt": it is not/, hint: /file/ },
  ],
  [
    'an output directory below what is missing',
    ['unpack', 'web.enc', 'none/out/', ...LOCAL],
    {
      exit: 10,
      code: 'output-failed',
      says: /"none\/out\/": no such file or directory/,
      hint: /mkdir -p "\/.*none"/,
    },
  ],
  [
    'a file as an output directory',
    ['unpack', 'web.enc', 'text/', ...LOCAL],
    { exit: 10, code: 'output-exists', says: /"text" is not a directory/, hint: /another directory/ },
  ],
  [
    'a key to stdout',
    ['keygen', '-'],
    { exit: 2, code: 'usage', says: /cannot write a key to stdout/, hint: /name a file/ },
  ],
  [
    'a directory as a config',
    ['mount', '--config', 'dir'],
    { exit: 3, code: 'config-unreadable', says: /"dir": it is not a file/, hint: /YAML/ },
  ],
  [
    'a config that is too large to be one',
    ['mount', '--config', 'huge.yaml'],
    { exit: 3, code: 'config-unreadable', says: /it has 1048577 bytes, want at most 1048576/, hint: /YAML/ },
  ],
  [
    'a timeout that is no time',
    ['wait', '--timeout', 'soon'],
    { exit: 2, code: 'usage', says: /--timeout is "soon", want a time up to 24h/, hint: /90s/ },
  ],
  [
    'a wait with a unit',
    ['wait', 'web', '--timeout', '500ms'],
    { exit: 9, code: 'wait-timeout', says: /not ready after 0\.5 s/, hint: /status/ },
  ],
  [
    'a runtime directory that is a file',
    ['status', '--runtime-dir', 'text'],
    {
      exit: 8,
      code: 'control-denied',
      says: /cannot list ".*text": a part of its path/,
      hint: /--runtime-dir/,
    },
  ],
  [
    'a mount that may take next to no memory',
    ['mount', 'web.enc', 'mnt', ...LOCAL, '--memory-max', '10'],
    {
      exit: 7,
      code: 'memory-exceeded',
      says: /more than 3 bytes .* at most 10 together/,
      hint: /--memory-max/,
    },
  ],
  [
    'a user that others have for the server',
    ['mount', 'web.enc', 'mnt', ...LOCAL, '--uid-base', '65534'],
    { exit: 3, code: 'config-invalid', says: /the server would run as nobody/, hint: /--uid-base N/ },
  ],
  [
    'a mountpoint of another file system',
    ['mount', 'web.enc', '/proc', ...LOCAL],
    { exit: 7, code: 'mountpoint-busy', says: /proc is mounted there/, hint: /umount "\/proc"/ },
  ],
];

test('every wrong invocation is told in one line with a hint, and leaves nothing behind', async (t) => {
  const bench = await setUp(t);
  await bench.must(['keygen', 'other']);
  await writeFile(bench.path('short'), 'x', { mode: 0o400 });
  await cp(bench.path('key'), bench.path('open'));
  await chmod(bench.path('open'), 0o444);
  await writeFile(bench.path('bad.yaml'), 'bundle: web.enc\nname: "unfinished\n');
  await writeFile(bench.path('odd.yaml'), 'keys: [local:key]\n');
  await writeFile(bench.path('flag.yaml'), 'fastOpen: maybe\n');
  await writeFile(bench.path('huge.yaml'), ' '.repeat(1024 * 1024 + 1));
  const native = 'bundle: web.enc\nmountpoint: mnt\nkey: local:key\ndriver: fuse-native\nfastOpen: true\n';
  await writeFile(bench.path('native.yaml'), native);
  const before = await readdir(bench.directory);
  for (const [what, args, wanted] of CASES) {
    await t.test(what, async () => {
      assertRefused(await bench.secretsfs(args), wanted);
      await assertClean(bench, before);
    });
  }
});

test('facts that cannot be written are an error, and a reader that has seen enough is none', async (t) => {
  const bench = await setUp(t);
  const shell = (command: string) =>
    run('bash', ['-c', command, process.execPath, PROGRAM], { env: bench.env, cwd: bench.directory });
  for (const args of ['inspect web.enc', '--help', 'pack --help', '--version']) {
    assertRefused(await shell(`"$0" "$1" ${args} > /dev/full`), {
      exit: 10,
      code: 'output-failed',
      says: /cannot write to stdout: no space is left/,
      hint: /stdout/,
    });
    const { code, stderr } = await shell(`set -o pipefail; "$0" "$1" ${args} | head -n 0`);
    assert.deepEqual([code, stderr], [0, '']);
  }
});

test('a file that takes only the beginning of what stdout has is an error', async (t) => {
  const bench = await setUp(t);
  await mkdir(bench.path('large'));
  await writeFile(bench.path('large/file'), Buffer.alloc(1_000_000));
  await bench.must(['pack', '--dir', 'large', '--key', 'local:key', 'large.enc']);
  const unpack = '"$0" "$1" unpack large.enc - --key local:key > large.tar';
  // Of 1,024 bytes.
  const shell = (command: string) =>
    run('bash', ['-c', command, process.execPath, PROGRAM], { env: bench.env, cwd: bench.directory });
  assertRefused(await shell(`ulimit -f 200; ${unpack}`), {
    exit: 10,
    code: 'output-failed',
    says: /cannot write to stdout/,
    hint: /not written as a whole/,
  });
  assert.equal((await shell(unpack)).code, 0);
  assert.ok((await stat(bench.path('large.tar'))).size > 1_000_000);
});

test('a user without the rights is told which, for what', async (t) => {
  const bench = await setUp(t);
  await chmod(bench.directory, 0o755);
  await chmod(bench.path('dir'), 0o700);
  await writeFile(bench.path('config.yaml'), '', { mode: 0o600 });
  const cases: [string[], Wanted][] = [
    [
      ['pack', '--dir', 'dir', ...LOCAL, 'x.enc'],
      { exit: 4, code: 'source-denied', says: /"dir": permission denied/, hint: /run as a user/ },
    ],
    [
      ['verify', 'web.enc', ...LOCAL],
      { exit: 5, code: 'key-permissions', says: /"key": permission denied/, hint: /root/ },
    ],
    [
      ['keygen', 'mine'],
      { exit: 10, code: 'output-denied', says: /"mine": permission denied/, hint: /another path/ },
    ],
    [
      ['verify', '--config', 'config.yaml'],
      { exit: 3, code: 'config-unreadable', says: /"config.yaml": permission denied/, hint: /may read/ },
    ],
  ];
  for (const [args, wanted] of cases) assertRefused(await bench.secretsfs(args, { uid: 65534 }), wanted);
});

test('a mountpoint in use is refused: by a mount of ours, by another name there, by another file system', async (t) => {
  const bench = await setUp(t);
  const daemon = await bench.mount(['web.enc', 'mnt', ...LOCAL]);
  assertRefused(await bench.secretsfs(['mount', 'web.enc', 'mnt', ...LOCAL, '--instance', 'b']), {
    exit: 7,
    code: 'mountpoint-busy',
    says: /another secretsfs serves there/,
    hint: /secretsfs unmount/,
  });
  await mkdir(bench.path('mnt2'));
  assertRefused(await bench.secretsfs(['mount', 'web.enc', 'mnt2', ...LOCAL]), {
    exit: 8,
    code: 'control-busy',
    says: /a mount of this name answers/,
    hint: /--instance/,
  });
  assert.equal(await readFile(bench.path('mnt/secret'), 'utf8'), 'content');
  await daemon.stop();
  await must('mount', ['-t', 'tmpfs', 'none', bench.path('mnt2')]);
  bench.after(() => run('umount', [bench.path('mnt2')]));
  assertRefused(await bench.secretsfs(['mount', 'web.enc', 'mnt2', ...LOCAL]), {
    exit: 7,
    code: 'mountpoint-busy',
    says: /tmpfs/,
    hint: /./,
  });
});

/** Runs the program in a mount namespace in which `prepare` (shell) ran first. */
function inNamespace(bench: Bench, prepare: string, args: readonly string[]): Promise<Outcome> {
  const script = `${prepare} && exec "$@"`;
  const command = [
    '-m',
    '--propagation',
    'private',
    'sh',
    '-c',
    script,
    'sh',
    process.execPath,
    PROGRAM,
    ...args,
  ];
  return run('unshare', command, { env: bench.env, cwd: bench.directory });
}

test('a machine without /dev/fuse, without libfuse 2 or without fuse-native is told what is missing', async (t) => {
  const bench = await setUp(t);
  const args = ['mount', 'web.enc', 'mnt', ...LOCAL];
  assertRefused(await inNamespace(bench, 'mount -t tmpfs none /dev && mknod /dev/null c 1 3', args), {
    exit: 7,
    code: 'fuse-missing',
    says: /\/dev\/fuse/,
    hint: /./,
  });
  const library = (await must('sh', ['-c', 'ldconfig -p | sed -n "s/.*libfuse.so.2 .*=> //p"']))
    .trim()
    .split('\n');
  const hide = library.map((file) => `mount --bind /dev/null ${file}`).join(' && ');
  const native = [...args, '--driver', 'fuse-native'];
  assertRefused(await inNamespace(bench, hide, native), {
    exit: 7,
    code: 'driver-missing',
    says: /libfuse/,
    hint: /apt install libfuse2/,
  });
  // The program alone, as where npm left the optional dependency out.
  await cp(path.dirname(PROGRAM), bench.path('alone'), { recursive: true });
  const alone = (more: readonly string[]) =>
    run(process.execPath, [bench.path('alone/secretsfs.mjs'), ...more], {
      env: bench.env,
      cwd: bench.directory,
    });
  for (const each of [args, native]) {
    assertRefused(await alone(each), { exit: 7, code: 'driver-missing', says: /./, hint: /npm install/ });
  }
  const verified = await alone(['verify', 'web.enc', ...LOCAL]);
  assert.equal(verified.code, 0, verified.stderr);
});

let moto: Moto;
before(async () => {
  moto = await startMoto();
});
after(() => moto.stop());

test('AWS that is not set up is told: region, credentials, bucket, key', async (t) => {
  const env = awsEnv(moto.url, { SECRETSFS_FORCE_PATH_STYLE: 'true' });
  const bench = await setUp(t, env);
  const bucket = await createBucket(moto.url);
  const key = await createKey(moto.url);
  const before = await readdir(bench.directory);
  const without = (...names: string[]) =>
    Object.fromEntries(Object.entries(bench.env).filter(([name]) => !names.includes(name)));
  const pack = ['pack', '--dir', 'dir', '--key', 'alias/none', 'x.enc'];

  assertRefused(await bench.secretsfs(pack, { env: without('AWS_REGION') }), {
    exit: 3,
    code: 'region-missing',
    says: /region/,
    hint: /--region/,
  });
  const anonymous = without('AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY');
  assertRefused(await bench.secretsfs(pack, { env: anonymous }), {
    exit: 3,
    code: 'credentials-missing',
    says: /credentials/,
    hint: /./,
  });
  assertRefused(await bench.secretsfs(pack), {
    exit: 5,
    code: 'key-not-found',
    says: /alias\/none/,
    hint: /./,
  });
  assertRefused(await bench.secretsfs(['inspect', `s3://${bucket}/none`]), {
    exit: 4,
    code: 'source-not-found',
    says: /none/,
    hint: /./,
  });
  assertRefused(await bench.secretsfs(['mount', `s3://${bucket}-x/web`, 'mnt', '--accept-key', key]), {
    exit: 4,
    code: 'source-not-found',
    says: /bucket/,
    hint: /./,
  });
  const nobody = { ...bench.env, AWS_ENDPOINT_URL: 'http://127.0.0.1:9' };
  assertRefused(await bench.secretsfs(['inspect', `s3://${bucket}/x`], { env: nobody }), {
    exit: 4,
    code: 'source-unreachable',
    says: /./,
    hint: /./,
  });
  await assertClean(bench, before);
});

test('an AWS profile that the users of a mount may not read is told with its file and the user', async (t) => {
  const bench = await setUp(t, withoutAws(process.env));
  await mkdir(bench.path('home/.aws'), { recursive: true, mode: 0o700 });
  await writeFile(bench.path('home/.aws/credentials'), '[web]\naws_access_key_id = a\n', { mode: 0o600 });
  const env = { ...bench.env, HOME: bench.path('home'), AWS_EC2_METADATA_DISABLED: 'true' };
  const args = ['mount', 's3://bucket/web', 'mnt', '--accept-key', ARN, '--uid-base', '1879048100'];
  for (const profile of [[], ['--profile', 'web']]) {
    assertRefused(await bench.secretsfs([...args, ...profile], { env }), {
      exit: 3,
      code: 'credentials-missing',
      says: /user 1879048102 may not read .*home\/\.aws\/credentials"/,
      hint: /AWS_SHARED_CREDENTIALS_FILE/,
    });
  }
});

test('the mount of a daemon that was killed is cleared by the next one, which says so', async (t) => {
  const bench = await setUp(t);
  const first = await bench.mount(['web.enc', 'mnt', ...LOCAL]);
  first.child.kill('SIGKILL');
  await first.ended;
  assert.equal(await mountsBelow(bench.path('mnt')), 1);
  const status = await bench.secretsfs(['status']);
  assert.equal(status.stdout, 'no mount is running\n');
  assert.match(status.stderr, /warning: web: it was killed; secretsfs mount clears what it left/);
  const second = await bench.mount(['web.enc', 'mnt', ...LOCAL]);
  assert.equal(second.count('stale-mount-cleared'), 1);
  assert.equal(await readFile(bench.path('mnt/secret'), 'utf8'), 'content');
});

/** Levels of pino. */
const [INFO, ERROR] = [30, 50];

test('a mount that somebody else unmounts ends its daemon, and says so', async (t) => {
  const bench = await setUp(t);
  const daemon = await bench.mount(['web.enc', 'mnt', ...LOCAL]);
  // Its own mount helper may still be in it for a moment.
  await eventually(() => must('umount', [bench.path('mnt')]));
  await daemon.event('unmounted-from-outside');
  assert.equal(await daemon.ended, 7);
  await eventually(async () => assert.deepEqual(await readdir(bench.path('run')), []));
});

test('umount is how a mount of a line of fstab ends: in order', async (t) => {
  const bench = await setUp(t);
  // What mount.secretsfs starts.
  for (const driver of ['kernel', 'fuse-native']) {
    const log = bench.path('log');
    const options = [...LOCAL, '--driver', driver, '--log-fd', '3'];
    const script = `exec 3>>"$0"; exec "$@"`;
    const mount = [process.execPath, bench.program, 'mount', 'web.enc', 'mnt', ...options];
    const ended = run('sh', ['-c', script, log, ...mount], { env: bench.env, cwd: bench.directory });
    await bench.must(['wait', 'web']);
    await eventually(() => must('umount', [bench.path('mnt')]));
    assert.equal((await ended).code, 0, driver);
    const lines = (await readFile(log, 'utf8'))
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    const { level } = lines.find(({ event }) => event === 'unmounted-from-outside');
    assert.equal(level, INFO, driver);
    assert.deepEqual(
      lines.filter(({ level }) => level >= ERROR),
      [],
    );
    await rm(log);
  }
});

test('of two mounts that race for a mountpoint one wins, and the loser does not take it away', async (t) => {
  const bench = await setUp(t);
  const racers = ['a', 'b', 'c'].map((instance) => {
    return bench.startMount(['web.enc', 'mnt', ...LOCAL, '--instance', instance]);
  });
  const winner = await Promise.any(racers.map((racer) => racer.event('ready').then(() => racer)));
  const losers = racers.filter((racer) => racer !== winner);
  for (const loser of losers) assert.equal(await loser.ended, 7);
  assert.equal(await readFile(bench.path('mnt/secret'), 'utf8'), 'content');
  assert.equal(await winner.stop(), 0);
});

test('a mountpoint that is replaced while the bundle is fetched is not followed to where it leads', async (t) => {
  const proxy = await startFaultProxy(moto.url);
  t.after(() => proxy.close());
  const bench = await setUp(t, awsEnv(proxy.url, { SECRETSFS_FORCE_PATH_STYLE: 'true' }));
  const bucket = await createBucket(moto.url);
  await bench.must(['pack', '--dir', 'dir', ...LOCAL, '--name', 'web', `s3://${bucket}/web`]);
  await mkdir(bench.path('victim'));
  // The fetch is refused until the mountpoint has been replaced; then the SDK's next attempt gets the bundle.
  let done = false;
  proxy.rules = [
    ({ method }) => {
      if (method !== 'GET' || done) return undefined;
      rmdirSync(bench.path('mnt'));
      symlinkSync('victim', bench.path('mnt'));
      done = true;
      return { kind: 'error', status: 503, code: 'SlowDown' };
    },
  ];
  const { code, stderr } = await bench.secretsfs(['mount', `s3://${bucket}/web`, 'mnt', ...LOCAL]);
  assert.equal(code, 7, stderr);
  assert.match(stderr, /it was replaced meanwhile \(mountpoint-invalid\)/);
  assert.equal(await mountsBelow(bench.path('victim')), 0);
});

test('a serial that no mount accepts, planted where pack writes, is not built upon', async (t) => {
  const bench = await setUp(t);
  const planted = await sealTest(Buffer.alloc(1024), { serial: Date.now() + 10 ** 12 });
  await writeFile(bench.path('web.enc'), planted);
  const pack = ['pack', '--dir', 'dir', ...LOCAL, 'web.enc'];
  assertRefused(await bench.secretsfs(pack), {
    exit: 10,
    code: 'output-exists',
    says: /which no mount accepts/,
    hint: /forged.*--force/,
  });
  await bench.must([...pack, '--force']);
  await bench.must(['verify', 'web.enc', ...LOCAL]);
});

test('an unmount that fails leaves the mount serving, answering and able to be unmounted later', async (t) => {
  const bench = await setUp(t);
  const daemon = await bench.mount(['web.enc', 'mnt', ...LOCAL]);
  await must('mount', ['-t', 'tmpfs', 'over', bench.path('mnt')]);
  let covered = true;
  const uncover = async () => {
    if (covered) await must('umount', [bench.path('mnt')]);
    covered = false;
  };
  bench.after(uncover);
  assertRefused(await bench.secretsfs(['unmount', 'web']), {
    exit: 7,
    code: 'mount-failed',
    says: /tmpfs is mounted over it/,
    hint: /unmount that first/,
  });
  await uncover();
  assert.equal(await readFile(bench.path('mnt/secret'), 'utf8'), 'content');
  assert.match(await bench.must(['remount', 'web']), /nothing changed/);
  await bench.must(['unmount', 'web']);
  assert.equal(await daemon.ended, 0);
});

test('a mount that does not answer is said to be so, within the time that was given', async (t) => {
  const bench = await setUp(t);
  const daemon = await bench.mount(['web.enc', 'mnt', ...LOCAL]);
  daemon.child.kill('SIGSTOP');
  bench.after(async () => daemon.child.kill('SIGCONT'));
  const begin = performance.now();
  const waited = await bench.secretsfs(['wait', '--timeout', '1']);
  assert.equal(waited.code, 9);
  assert.ok(performance.now() - begin < 4_000);
  assertRefused(await bench.secretsfs(['status']), {
    exit: 9,
    code: 'wait-timeout',
    says: /no answer within/,
    hint: /log/,
  });
});

test('a runtime directory that cannot be made is refused', async (t) => {
  const bench = await setUp(t);
  for (const directory of ['/proc/none', bench.path('no/such')]) {
    assertRefused(await bench.secretsfs(['mount', 'web.enc', 'mnt', ...LOCAL, '--runtime-dir', directory]), {
      exit: 8,
      code: 'control-directory',
      says: /cannot make/,
      hint: /--runtime-dir/,
    });
  }
});

test('help shows once how a command is called, also where patterns come first', async (t) => {
  const bench = await Bench.create(t);
  for (const usage of ['pack [pattern..] <out>', 'mv <pattern..> <to>', 'rm <pattern..>']) {
    const help = await bench.must([usage.split(' ')[0] ?? '', '--help']);
    assert.equal(help.split('\n')[0], `secretsfs ${usage}`);
    assert.equal(help.match(/^secretsfs /gm)?.length, 1);
  }
});
