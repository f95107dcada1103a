/** Candidates that are bad in 25 ways, a hundred in scripts/soak: none of them goes live, and the right one after each of them does. */
import assert from 'node:assert/strict';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { test } from 'node:test';
import { writeArchive } from '../../src/bundle/archive.ts';
import { BUNDLE } from '../../src/bundle/kind.ts';
import { parseHeader } from '../../src/bundle/message.ts';
import type { SealOptions } from '../../src/bundle/seal.ts';
import { localKeyring } from '../../src/keyring/local.ts';
import { KEY, OTHER_KEY, sealTest } from '../support/bundles.ts';
import { entriesOf, type Tree } from '../support/candidates.ts';
import { encrypted, issue } from '../support/certificates.ts';
import { Bench } from '../support/program.ts';
import { member, tarOf } from '../support/tars.ts';

/** Of each kind, each with other details. */
const OF_EACH = process.env['SECRETSFS_SOAK'] === undefined ? 1 : 4;
const CONFIG = `
key: local:key
context: [env=prod]
checks:
  pairs: [{certificate: "tls/*.crt", key: "tls/*.key"}, {certificate: "haproxy/*.pem"}]
  required: [tls/www.crt, app.json]
  dns: [{file: tls/www.crt, names: [www.test]}]
  formats:
    - {match: "*.json", format: json}
    - {match: "*.yaml", format: yaml}
    - {match: "*.env", format: dotenv}
`;

const certificates = [0, 1].map((i) => issue({ cn: `right ${i}`, names: ['DNS:www.test'] }));
const at = <T>(values: readonly T[], i: number) => values[i % values.length] as T;

/** What passes every check. `n` is what changes from one to the next. */
function right(n: number): Tree {
  const { certificate, key } = at(certificates, n);
  return {
    'tls/www.crt': certificate,
    'tls/www.key': key,
    'haproxy/www.pem': certificate + key,
    'app.json': `{"n": ${n}}`,
    'app.yaml': `n: ${n}\n`,
    'app.env': `N=${n}\n`,
  };
}

function without(tree: Tree, path: string): Tree {
  return Object.fromEntries(Object.entries(tree).filter(([name]) => name !== path));
}

/** Of a tree, or of a tar of these members. */
type Seal = (tree: Tree, options?: Partial<SealOptions>, members?: readonly Buffer[]) => Promise<Buffer>;
interface Kind {
  readonly what: string;
  readonly code: RegExp;
  /** `n`: of the right tree that it is made from. `serial`: of what is live. */
  make(i: number, n: number, seal: Seal, serial: number): Promise<Buffer>;
}

/** One whose content a check refuses. */
function content(what: string, change: (tree: Tree, i: number) => Tree, code = /^check-failed$/): Kind {
  return { what, code, make: (i, n, seal) => seal(change(right(n), i)) };
}

const OTHERS = [
  issue({ cn: 'other 0', names: ['DNS:www.test'] }),
  issue({ cn: 'other 1', names: ['DNS:www.test'] }),
];
const ELSEWHERE = ['elsewhere.test', 'www.test.example', 'test', '*.www.test'].map((name) =>
  issue({ cn: name, names: [`DNS:${name}`] }),
);
const EXPIRED = [0, 1].map((i) => issue({ cn: `old ${i}`, names: ['DNS:www.test'], days: -1 }));

const KINDS: readonly Kind[] = [
  content('the key of another certificate', (tree, i) => ({ ...tree, 'tls/www.key': at(OTHERS, i).key })),
  content('a pair without its key', (tree) => without(tree, 'tls/www.key')),
  content('a required certificate that is missing', (tree) => without(tree, 'tls/www.crt')),
  content('a certificate that is none', (tree, i) => ({
    ...tree,
    'tls/www.crt': at(
      ['', 'hello', '\0', '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n'],
      i,
    ),
  })),
  content('a certificate for another name', (tree, i) => {
    const { certificate, key } = at(ELSEWHERE, i);
    return { ...tree, 'tls/www.crt': certificate, 'tls/www.key': key };
  }),
  content('JSON that does not parse', (tree, i) => ({
    ...tree,
    'app.json': at(['{"n": 1', "{'n': 1}", '', '{"n": 1,}'], i),
  })),
  content('YAML that does not parse', (tree, i) => ({
    ...tree,
    'app.yaml': at(['a: [', 'a: b: c', '\t- x', 'a: "b'], i),
  })),
  content('dotenv that does not parse', (tree, i) => ({
    ...tree,
    'app.env': at(['N', '=1', 'A B=1', 'N="1'], i),
  })),
  content('JSON that is not UTF-8, or has a byte order mark', (tree, i) => ({
    ...tree,
    'app.json': at([Buffer.from([0x22, 0xff, 0x22]), Buffer.from('\ufeff{}')], i),
  })),
  content('a combined PEM with the key of another', (tree, i) => ({
    ...tree,
    'haproxy/www.pem': at(certificates, i).certificate + at(OTHERS, i).key,
  })),
  content('a combined PEM without a key', (tree, i) => ({
    ...tree,
    'haproxy/www.pem': at(certificates, i).certificate,
  })),
  content('a key under a passphrase', (tree, i) => ({
    ...tree,
    'tls/www.crt': at(certificates, i).certificate,
    'tls/www.key': encrypted(at(certificates, i)),
  })),
  content('a required file that is missing', (tree) => without(tree, 'app.json')),
  content(
    'a certificate that is expired while the live one is not',
    (tree, i) => {
      const { certificate, key } = at(EXPIRED, i);
      return { ...tree, 'tls/www.crt': certificate, 'tls/www.key': key };
    },
    /^check-clock$/,
  ),
  {
    what: 'what is no bundle',
    code: /^bundle-invalid$/,
    make: async (i, n) =>
      at([Buffer.from('hello'), Buffer.alloc(0), Buffer.alloc(5000, 7), await tarOfTree(right(n))], i),
  },
  {
    what: 'one that is cut short',
    code: /^bundle-truncated$/,
    async make(i, n, seal) {
      const whole = await seal(right(n));
      return whole.subarray(0, at([100, 1000, whole.length >> 1, whole.length - 1], i));
    },
  },
  {
    what: 'one of which a bit was flipped',
    code: /^(bundle|key|data-key)-/,
    async make(i, n, seal) {
      const whole = await seal(right(n));
      const { headerBytes } = parseHeader(whole, BUNDLE);
      const offset = at([headerBytes - 1, headerBytes + 40, whole.length >> 1, whole.length - 1], i);
      whole[offset] = (whole[offset] ?? 0) ^ (1 << (2 * i));
      return whole;
    },
  },
  {
    what: 'one under another key',
    code: /^key-not-accepted$/,
    make: (_i, n, seal) => seal(right(n), { keyring: localKeyring(OTHER_KEY).keyring }),
  },
  {
    what: 'one of another name',
    code: /^bundle-name$/,
    make: (i, n, seal) => seal(right(n), { name: at(['db', 'Web', 'web2', 'we'], i) }),
  },
  {
    what: 'one of another context',
    code: /^bundle-context$/,
    make: (i, n, seal) => seal(right(n), { context: { env: at(['dev', 'PROD', 'prod ', 'x'], i) } }),
  },
  {
    what: 'one of a lower serial',
    code: /^bundle-serial-low$/,
    make: (i, n, seal, serial) => seal(right(n), { serial: at([serial - 1, 1, serial >> 1, serial - 5], i) }),
  },
  {
    what: 'one of the same serial',
    code: /^bundle-serial-reused$/,
    make: (_i, n, seal, serial) => seal(right(n), { serial }),
  },
  {
    what: 'one of the future',
    code: /^bundle-serial-future$/,
    make: (i, n, seal) => seal(right(n), { serial: Date.now() + (i + 2) * 3_600_000 }),
  },
  {
    what: 'an archive with what a mount does not take',
    code: /^archive-refused$/,
    make: (i, _n, seal) =>
      seal({}, {}, [
        at(
          [
            member({ name: 'l', typeflag: '1', linkname: 'app.json' }),
            member({ name: '../out' }),
            member({ name: 'device', typeflag: '3' }),
            member({ name: 's', typeflag: '2', linkname: '../../etc/shadow' }),
          ],
          i,
        ),
      ]),
  },
  {
    what: 'a bundle without an archive',
    code: /^archive-invalid$/,
    make: (i, _n, seal) => seal({}, {}, [Buffer.alloc(2048, i + 7)]),
  },
];

const tarOfTree = (tree: Tree) => writeArchive(entriesOf(tree));

test('of bad candidates of every kind none goes live, and the right one after each of them does', async (t) => {
  const bench = await Bench.create(t);
  await mkdir(bench.path('mnt'));
  await writeFile(bench.path('key'), KEY, { mode: 0o400 });
  await writeFile(bench.path('config.yaml'), CONFIG);
  let serial = Date.now() - 1000;
  const put = async (bytes: Uint8Array) => {
    await writeFile(bench.path('new'), bytes);
    await rename(bench.path('new'), bench.path('web.enc'));
  };
  const seal: Seal = async (tree, options = {}, members = undefined) =>
    sealTest(members === undefined ? await tarOfTree(tree) : tarOf(...members), {
      serial: serial + 1,
      context: { env: 'prod' },
      ...options,
    });
  const served = () => readFile(bench.path('mnt/app.json'), 'utf8');

  await put(await seal(right(0), { serial }));
  await bench.mount(['web.enc', 'mnt', '--config', 'config.yaml']);
  let n = 0;
  for (const { what, code, make } of KINDS) {
    for (let i = 0; i < OF_EACH; i++) {
      await put(await make(i, n + 1, seal, serial));
      const { stderr } = await bench.secretsfs(['remount', 'web', '--json']);
      assert.match(stderr === '' ? 'it went live' : JSON.parse(stderr).error.code, code, `${what}, ${i}`);
      assert.equal(await served(), `{"n": ${n}}`, what);

      n += 1;
      serial += 1;
      await put(await seal(right(n), { serial }));
      await bench.must(['remount', 'web']);
      assert.equal(await served(), `{"n": ${n}}`, `after ${what}`);
    }
  }
  assert.equal(KINDS.length, 25);
});
