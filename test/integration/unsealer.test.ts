/** The unsealer as a real process with real descriptors, over plain files in place of the store's. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { chmod, chown, rename, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, type TestContext, test } from 'node:test';
import { PutObjectCommand } from '@aws-sdk/client-s3';
import { AwsAccess } from '../../src/aws/access.ts';
import { type ArchiveEntry, writeArchive } from '../../src/bundle/archive.ts';
import { type SealOptions, seal } from '../../src/bundle/seal.ts';
import { DEFAULT_CHECKS } from '../../src/checks/settings.ts';
import type { UnsealerTask } from '../../src/daemon/unsealer-channel.ts';
import { decodeChanges } from '../../src/generation/changes.ts';
import { Generation, inMemory } from '../../src/generation/generation.ts';
import { openWrapping } from '../../src/keyring/keyring.ts';
import { FileSource } from '../../src/source/file.ts';
import { CREATED, KEY, OTHER_KEY, refusal, sealTest } from '../support/bundles.ts';
import { issue } from '../support/certificates.ts';
import { directory, file, nodeAt, symlink } from '../support/entries.ts';
import { type FaultProxy, startFaultProxy } from '../support/fault-proxy.ts';
import {
  awsEnv,
  createBucket,
  createKey,
  type Moto,
  motoS3,
  replaceEnv,
  startMoto,
  unique,
  withoutAws,
} from '../support/moto.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { mustOpen, runUnsealer, type Unsealing } from '../support/unsealer.ts';

const uid = process.getuid?.() ?? 0;
const ENTRIES = [
  directory('d'),
  file('d/key.pem', 'the key'),
  file('cert.pem', 'the certificate'),
  file('empty', ''),
  symlink('link', 'd/key.pem'),
];

const PEM = (path: string) => {
  return { level: 'warn', path, rule: 'pem', expected: 'PEM', found: 'no block of it' };
};

/** A bundle and a key in files of a directory of its own, and what it takes to open them. */
async function setUp(
  t: TestContext,
  entries: Iterable<ArchiveEntry> = ENTRIES,
  options: Partial<SealOptions> = {},
) {
  const place = await temporaryDirectory(t);
  const at = (name: string) => path.join(place, name);
  await writeFile(at('key'), KEY, { mode: 0o400 });
  await writeFile(at('web.enc'), await sealTest(await writeArchive(entries), options));
  const task: UnsealerTask = {
    location: '/etc/secretsfs/web.enc',
    bundleFile: 7,
    keepFile: null,
    knownRevision: null,
    revision: null,
    sourceAws: {},
    liveSha256: null,
    floor: null,
    name: 'web',
    context: {},
    formats: [],
    acceptedKeys: ['local:/etc/secretsfs/key'],
    keyFiles: { '/etc/secretsfs/key': 8 },
    supervisorUid: uid,
    bytesMax: 64 * 1024 * 1024,
    filesMax: 10_000,
    preserve: false,
    checks: DEFAULT_CHECKS,
    rules: [],
    owner: { uid: 12, gid: 34 },
    aws: {},
    generationId: 5,
    memory: { availableBytes: null, heldBytes: 0, maxBytes: null },
  };
  const unsealing = (
    change: Partial<UnsealerTask> = {},
    more: Partial<Omit<Unsealing, 'task'>> = {},
  ): Unsealing => ({
    task: { ...task, ...change },
    image: at('image'),
    changes: at('changes'),
    files: [at('web.enc'), at('key')],
    env: withoutAws({}),
    ...more,
  });
  return { at, unsealing };
}

const generationOf = (image: Buffer) => Generation.open(image, inMemory(image));

function contentOf(generation: Generation, name: string): string {
  const node = nodeAt(generation, name);
  const target = Buffer.alloc(generation.size(node));
  generation.read(node, 0, target.length, target, 0);
  return target.toString();
}

test('a local bundle under a local key becomes a generation and what it changes', async (t) => {
  const { at, unsealing } = await setUp(t);
  const { bytes, ...result } = await mustOpen(unsealing());
  const revision = (await new FileSource(at('web.enc')).fetch({ bytesMax: 1e6 }))?.revision;
  assert.deepEqual(result, {
    outcome: 'opened',
    revision,
    sha256: createHash('sha256')
      .update(readFileSync(at('web.enc')))
      .digest('hex'),
    serial: 7,
    created: CREATED.toISOString(),
    uploaded: new Date(Math.floor(statSync(at('web.enc')).mtimeMs)).toISOString(),
    files: 3,
    directories: 2,
    symlinks: 1,
    contentBytes: 22,
    findings: [PEM('cert.pem'), PEM('d/key.pem')],
    warnings: 2,
    certificates: [],
    kept: [],
    counts: { added: 5, changed: 0, removed: 0, unchanged: 0 },
  });
  const generation = generationOf(bytes);
  assert.equal(generation.id, 5);
  assert.equal(generation.uid(nodeAt(generation, 'cert.pem')), 12);
  assert.equal(contentOf(generation, 'd/key.pem'), 'the key');
  assert.equal(contentOf(generation, 'cert.pem'), 'the certificate');
  assert.equal(contentOf(generation, 'empty'), '');
  assert.equal(decodeChanges(readFileSync(at('changes'))).counts.added, 5);
});

test('the next one follows the previous image: what is unchanged keeps its inode', async (t) => {
  const { at, unsealing } = await setUp(t);
  const first = await mustOpen(unsealing({}, { image: at('first') }));
  const next = [...ENTRIES.filter((entry) => entry.path !== 'cert.pem'), file('cert.pem', 'another one')];
  await writeFile(at('web.enc'), await sealTest(await writeArchive(next), { serial: 8 }));
  const floor = { serial: first.serial, sha256: first.sha256 };
  const second = await mustOpen(
    unsealing({ liveSha256: first.sha256, floor, generationId: 6 }, { previous: at('first') }),
  );
  assert.deepEqual(second.counts, { added: 0, changed: 1, removed: 0, unchanged: 4 });
  const [before, now] = [generationOf(first.bytes), generationOf(second.bytes)];
  assert.equal(now.ino(nodeAt(now, 'd/key.pem')), before.ino(nodeAt(before, 'd/key.pem')));
  assert.notEqual(now.ino(nodeAt(now, 'cert.pem')), before.ino(nodeAt(before, 'cert.pem')));
  const changes = decodeChanges(readFileSync(at('changes')));
  assert.deepEqual(changes.superseded, [before.ino(nodeAt(before, 'cert.pem'))]);
});

test('a previous image that cannot be read is not passed over: its inode numbers would be used again', async (t) => {
  const { at, unsealing } = await setUp(t);
  await mustOpen(unsealing({}, { image: at('first') }));
  const image = readFileSync(at('first'));
  image.writeUInt32LE(77, 8);
  await writeFile(at('first'), image);
  await assert.rejects(
    runUnsealer(unsealing({}, { previous: at('first') })),
    refusal('unsealer-failed', /another version/),
  );
});

test('what is known, and the live ciphertext under another revision, is not opened', async (t) => {
  const { at, unsealing } = await setUp(t);
  const { revision, sha256 } = await mustOpen(unsealing());
  assert.deepEqual(await runUnsealer(unsealing({ knownRevision: revision })), {
    outcome: 'unchanged',
    revision,
  });
  await writeFile(at('again'), readFileSync(at('web.enc')));
  await rename(at('again'), at('web.enc'));
  const again = await runUnsealer(unsealing({ knownRevision: revision, liveSha256: sha256 }));
  assert.equal(again.outcome, 'unchanged');
  assert.notEqual(again.revision, revision);
  assert.equal(statSync(at('image')).size, 0);
});

test('a candidate is checked against the live image: refused, or kept, and told of', async (t) => {
  const [good, other] = [issue({ serial: '0b01' }), issue({ cn: 'other' })];
  const of = ({ certificate, key }: { certificate: string; key: string }, text: string) => [
    file('tls.crt', certificate),
    file('tls.key', key),
    file('text', text),
  ];
  const { at, unsealing } = await setUp(t, of(good, 'one'));
  const pairs = [{ certificate: '*.crt', key: '*.key' }];
  const checks = { ...DEFAULT_CHECKS, pairs };
  const first = await mustOpen(unsealing({ checks }, { image: at('first') }));
  assert.deepEqual(
    first.certificates.map(({ path, serial, names }) => [path, serial, names]),
    [['tls.crt', '0b01', ['a.test']]],
  );
  const bad = await writeArchive(of({ ...other, key: good.key }, 'two'));
  await writeFile(at('web.enc'), await sealTest(bad, { serial: 8 }));
  const floor = { serial: first.serial, sha256: first.sha256 };
  const next = { liveSha256: first.sha256, floor, generationId: 6 };
  const following = { previous: at('first') };
  await assert.rejects(
    runUnsealer(unsealing({ ...next, checks }, following)),
    refusal(
      'check-failed',
      /"tls.key" \(pair\): found the key of another certificate, want the key of "tls.crt"$/,
    ),
  );
  assert.equal(statSync(at('image')).size, 0);
  const kept = await mustOpen(unsealing({ ...next, checks: { ...checks, onBadFile: 'keep' } }, following));
  assert.deepEqual(kept.kept, ['tls.crt', 'tls.key']);
  assert.deepEqual(kept.counts, { added: 0, changed: 1, removed: 0, unchanged: 2 });
  assert.equal(contentOf(generationOf(kept.bytes), 'tls.crt'), good.certificate);
  assert.equal(contentOf(generationOf(kept.bytes), 'text'), 'two');
  const expired = issue({ days: -1 });
  await writeFile(at('web.enc'), await sealTest(await writeArchive(of(expired, 'three')), { serial: 9 }));
  await assert.rejects(
    runUnsealer(unsealing({ ...next, checks }, following)),
    refusal('check-clock', /"tls.crt" \(dates\): found one that expired/),
  );
});

test('rules give owners and modes, and yaml is parsed where it is asked for', async (t) => {
  const { unsealing } = await setUp(t, [file('d/f', 'a: [1', 0o644)]);
  const rules = [{ match: 'd/*', gid: 33, mode: 0o440 }];
  const owner = { uid: 0, gid: 0 };
  const generation = generationOf((await mustOpen(unsealing({ rules, owner }))).bytes);
  const shown = ['d', 'd/f'].map((path) => {
    const node = nodeAt(generation, path);
    return `${generation.uid(node)}:${generation.gid(node)} ${(generation.mode(node) & 0o777).toString(8)}`;
  });
  assert.deepEqual(shown, ['0:33 710', '0:33 440']);
  const checks = { ...DEFAULT_CHECKS, formats: [{ match: '**', format: 'yaml' as const }] };
  await assert.rejects(
    runUnsealer(unsealing({ checks })),
    refusal('check-failed', /"d\/f" \(format\).*want yaml/),
  );
});

test('refusals travel with code, hint and the revision that they are about, and nothing is written', async (t) => {
  const { at, unsealing } = await setUp(t);
  const { revision } = await mustOpen(unsealing());
  await writeFile(at('other'), OTHER_KEY, { mode: 0o400 });
  const otherKey = { files: [at('web.enc'), at('other')] };
  const refused: [string, RegExp, Unsealing][] = [
    ['bundle-name', /"db"/, unsealing({ name: 'db' })],
    ['bundle-context', /./, unsealing({ context: { env: 'prod' } })],
    ['bundle-serial-low', /./, unsealing({ floor: { serial: 8, sha256: 'f'.repeat(64) } })],
    ['bundle-serial-reused', /./, unsealing({ floor: { serial: 7, sha256: 'f'.repeat(64) } })],
    ['key-not-accepted', /./, unsealing({}, otherKey)],
    ['archive-too-large', /over 2 files/, unsealing({ filesMax: 2 })],
  ];
  for (const [code, message, how] of refused) {
    await assert.rejects(runUnsealer(how), (error: { revision?: string }) => {
      assert.equal(error.revision, revision, code);
      return refusal(code, message)(error);
    });
    assert.equal(statSync(at('image')).size, 0, code);
  }
  await assert.rejects(
    runUnsealer(unsealing({ bytesMax: 1, filesMax: 1 }, { files: [await large(at), at('key')] })),
    refusal('source-too-large', /"\/etc\/secretsfs\/web\.enc"/),
  );
});

async function large(at: (name: string) => string): Promise<string> {
  await writeFile(at('large'), Buffer.alloc(1_000_000));
  return at('large');
}

test('key files are checked through their descriptors, and may be the supervisor’s own', async (t) => {
  const { at, unsealing } = await setUp(t);
  await chmod(at('key'), 0o440);
  await assert.rejects(runUnsealer(unsealing()), refusal('key-permissions', /"\/etc\/secretsfs\/key".*0440/));
  await chmod(at('key'), 0o400);
  if (uid === 0) {
    await chown(at('key'), 4321, 4321);
    await assert.rejects(runUnsealer(unsealing()), refusal('key-permissions', /4321/));
    await mustOpen(unsealing({ supervisorUid: 4321 }));
  }
});

test('an archive that fails late leaves no image, and no plaintext in the candidate', async (t) => {
  const { at, unsealing } = await setUp(t, [file('a', 'x'.repeat(100_000)), file('b')]);
  await assert.rejects(runUnsealer(unsealing({ bytesMax: 50_000 })), refusal('archive-too-large'));
  assert.equal(statSync(at('image')).size, 0);
});

test('the memory ceiling refuses before a key is used', async (t) => {
  const { at, unsealing } = await setUp(t, [file('a', randomBytes(300_000))]);
  const size = statSync(at('web.enc')).size;
  const refused: [RegExp, UnsealerTask['memory']][] = [
    [/, 1000000 are available/, { availableBytes: 3 * size - 1, heldBytes: 0, maxBytes: null }],
    [/--memory-max/, { availableBytes: null, heldBytes: 100, maxBytes: 3 * size + 99 }],
    [/--memory-max/, { availableBytes: null, heldBytes: 5000, maxBytes: 100 }],
    [/0 are available/, { availableBytes: 0, heldBytes: 0, maxBytes: null }],
  ];
  for (const [message, memory] of refused) {
    const pattern = new RegExp(message.source.replace('1000000', String(3 * size - 1)));
    await assert.rejects(runUnsealer(unsealing({ memory })), refusal('memory-exceeded', pattern));
    assert.equal(statSync(at('image')).size, 0);
  }
  await mustOpen(unsealing({ memory: { availableBytes: 3 * size, heldBytes: 0, maxBytes: null } }));
  await mustOpen(unsealing({ memory: { availableBytes: null, heldBytes: 100, maxBytes: 3 * size + 100 } }));
});

test('an unsealer that is killed at any instant leaves no image that is valid and not whole', async (t) => {
  const entries = Array.from({ length: 60 }, (_, i) => file(`f${i}`, randomBytes(500_000)));
  const { at, unsealing } = await setUp(t, entries);
  const startMs = performance.now();
  const whole = await mustOpen(unsealing({}, { image: at('whole') }));
  const tookMs = performance.now() - startMs;
  const contentsOf = (image: Buffer) =>
    createHash('sha256')
      .update(image.subarray(image.length - whole.contentBytes))
      .digest('hex');
  const wanted = contentsOf(whole.bytes);
  let killed = 0;
  // Of what the whole takes, which is less once everything is in the page cache.
  let upTo = 1.1;
  for (let round = 0; round < 24 || (killed <= 5 && round < 60); round++) {
    const killAfterMs = tookMs * (round < 8 ? Math.random() : upTo - 0.4 * Math.random());
    const outcome = await runUnsealer(unsealing({}, { killAfterMs })).catch((error: unknown) => {
      refusal('unsealer-failed', /SIGKILL|ended/)(error);
      return undefined;
    });
    if (outcome === undefined) killed++;
    else upTo = Math.max(0.5, upTo - 0.05);
    const image = readFileSync(at('image'));
    if (isImage(image)) assert.equal(contentsOf(image), wanted);
    else assert.equal(outcome, undefined);
  }
  assert.ok(killed > 5, `${killed} were killed`);
});

function isImage(bytes: Buffer): boolean {
  try {
    return Generation.open(bytes, inMemory(bytes)).id > 0;
  } catch {
    return false;
  }
}

test('an unsealer that takes too long, or is no longer wanted, is ended before unseal() returns', async (t) => {
  const { unsealing } = await setUp(t);
  await assert.rejects(
    runUnsealer(unsealing({}, { timeoutMs: 1 })),
    refusal('unsealer-failed', /took longer/),
  );
  const abort = new AbortController();
  setTimeout(() => abort.abort(), 20);
  await assert.rejects(runUnsealer(unsealing({}, { signal: abort.signal })), { name: 'AbortError' });
  await assert.rejects(runUnsealer(unsealing({}, { signal: AbortSignal.abort() })), { name: 'AbortError' });
});

test('a process that says something else is a failure, and one that never ends is ended', async (t) => {
  const { at, unsealing } = await setUp(t);
  const programs: [string, RegExp][] = [
    ['writeSync(3, "nonsense\\n");', /not JSON/],
    ['writeSync(3, "x".repeat(1_000_000));', /too long/],
    ['writeSync(3, "{}\\n"); setInterval(() => {}, 1000);', /not readable/],
    ['process.exit(3);', /ended with 3/],
    [
      'writeSync(3, JSON.stringify({ outcome: "failed", code: "no-such", message: "" }) + "\\n");',
      /not readable/,
    ],
  ];
  for (const [text, message] of programs) {
    await writeFile(at('program.mjs'), `import { writeSync } from 'node:fs';\ntry { ${text} } catch {}\n`);
    await assert.rejects(
      runUnsealer(unsealing({}, { program: at('program.mjs') })),
      refusal('unsealer-failed', message),
    );
  }
});

test('nothing of the AWS SDK, nor of the network, is loaded for a local bundle under a local key', async (t) => {
  const { at, unsealing } = await setUp(t);
  const text = `import { createRequire } from 'node:module';
    import { writeFileSync } from 'node:fs';
    process.on('exit', () => {
      const loaded = Object.keys(createRequire(import.meta.url).cache);
      writeFileSync(${JSON.stringify(at('loaded'))}, JSON.stringify(loaded));
    });`;
  await writeFile(at('watch.mjs'), text);
  await mustOpen(unsealing({}, { env: { NODE_OPTIONS: `--import=${at('watch.mjs')}` } }));
  const loaded: string[] = JSON.parse(readFileSync(at('loaded'), 'utf8'));
  assert.ok(loaded.some((file) => /material-management/.test(file)));
  assert.deepEqual(
    loaded.filter((file) => /node_modules\/(@aws-sdk|@smithy|hpagent)\//.test(file)),
    [],
  );
});

let moto: Moto;
let proxy: FaultProxy;
let bucket: string;
let keyArn: string;
before(async () => {
  moto = await startMoto();
  proxy = await startFaultProxy(moto.url);
  bucket = await createBucket(moto.url);
  keyArn = await createKey(moto.url);
});
after(async () => {
  await proxy?.close();
  await moto?.stop();
});

/** A bundle in S3 under a KMS key, and what it takes to open it. */
async function setUpRemote(t: TestContext) {
  const { at, unsealing } = await setUp(t);
  const aws = new AwsAccess({ env: awsEnv(moto.url) });
  t.after(() => aws.destroy());
  const restore = replaceEnv(awsEnv(moto.url));
  const { keyring } = await openWrapping([keyArn], aws);
  const sealed = await seal(await writeArchive(ENTRIES), {
    keyring,
    name: 'web',
    serial: 9,
    created: CREATED,
  });
  restore();
  const key = unique('web.enc');
  const client = motoS3(moto.url);
  await client.send(new PutObjectCommand({ Bucket: bucket, Key: key, Body: sealed }));
  client.destroy();
  const remote = (change: Partial<UnsealerTask> = {}) =>
    unsealing(
      {
        location: `s3://${bucket}/${key}`,
        bundleFile: null,
        acceptedKeys: [keyArn],
        keyFiles: {},
        aws: { forcePathStyle: true },
        ...change,
      },
      { files: [], env: awsEnv(proxy.url) },
    );
  proxy.seen.length = 0;
  return { at, remote, size: sealed.length };
}

const kmsRequests = () =>
  proxy.seen.filter(({ headers }) => /Decrypt/.test(String(headers['x-amz-target']))).length;

test('a bundle in S3 under a KMS key is fetched and opened, and known again', async (t) => {
  const { remote } = await setUpRemote(t);
  const { revision, bytes, serial } = await mustOpen(remote());
  assert.equal(serial, 9);
  assert.equal(contentOf(generationOf(bytes), 'd/key.pem'), 'the key');
  assert.equal(kmsRequests(), 1);
  assert.equal((await runUnsealer(remote({ knownRevision: revision }))).outcome, 'unchanged');
  assert.equal(kmsRequests(), 1);
});

test('neither a header against the policy nor too little memory costs a KMS call', async (t) => {
  const { remote, size } = await setUpRemote(t);
  await assert.rejects(runUnsealer(remote({ name: 'db' })), refusal('bundle-name'));
  for (const bytes of [0, 100, 3 * size - 1]) {
    const memory = { availableBytes: bytes, heldBytes: 0, maxBytes: null };
    await assert.rejects(runUnsealer(remote({ memory })), refusal('memory-exceeded', /are available/));
  }
  assert.equal(kmsRequests(), 0);
});

test('a bundle that is not there is told as such', async (t) => {
  const { remote } = await setUpRemote(t);
  await assert.rejects(runUnsealer(remote({ location: `s3://${bucket}/none` })), refusal('source-not-found'));
});
