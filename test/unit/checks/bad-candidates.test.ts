/**
 * A hundred candidates and more that are wrong in one way each: refused, or let live with a warning, with its very line,
 * and never with a byte of what is in the files. The right one passes.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { type Looking, look, type Tree } from '../../support/candidates.ts';
import { chain, encrypted, type Issued, issue } from '../../support/certificates.ts';

const CANARY = 'c4n4ry5ecret';
const web = issue({ cn: 'web', names: ['DNS:web.test', 'DNS:*.w.test', 'IP:192.0.2.7'] });
const other = issue({ cn: 'other' });
const { leaf, middle, root } = chain({ cn: 'chained', names: ['DNS:web.test'] });
const long = issue({ cn: 'long', days: 400 });
const old = issue({ cn: 'old', from: '200101000000Z' });
const noName = issue({ cn: 'web.test', names: [] });
const authority = issue({ cn: 'authority', authority: true });

/** A file that is right, with a secret in it that no message may have. */
const withCanary = (pem: string) => `${CANARY}\n${pem}`;
const cut = (pem: string, from: number, to = from) => pem.slice(0, from) + pem.slice(to);
const lines = (pem: string) => pem.trimEnd().split('\n');
const withoutLine = (pem: string, index: number) => `${lines(pem).toSpliced(index, 1).join('\n')}\n`;
const flipped = (pem: string) =>
  pem.replace(/(\n.{20})(.)/, (_, before, letter) => `${before}${letter === 'A' ? 'B' : 'A'}`);
const crlf = (pem: string) => pem.replaceAll('\n', '\r\n');
const bundle = (...parts: readonly Issued[]) => parts.map(({ certificate }) => certificate).join('');

type Case = readonly [what: string, tree: Tree, line: RegExp, looking?: Looking];

const PAIR = { checks: { pairs: [{ certificate: 'web.crt', key: 'web.key' }] } };
const COMBINED = { checks: { pairs: [{ certificate: 'web.pem' }] } };
const good = { 'web.crt': withCanary(web.certificate), 'web.key': withCanary(web.key) };
const pairOf = (certificate: string, key: string) => ({ 'web.crt': certificate, 'web.key': key });

/** Of pairs, when they are configured: refused. Each is looked at without a config too. */
const PAIRS: readonly Case[] = [
  [
    'the key of another',
    { ...good, 'web.key': other.key },
    /"web.key" \(pair\): found the key of another certificate, want the key of "web.crt"/,
  ],
  [
    'the certificate of another',
    { ...good, 'web.crt': other.certificate },
    /"web.key" \(pair\): found the key of another/,
  ],
  [
    'another kind of key',
    { ...good, 'web.key': issue({ kind: 'rsa' }).key },
    /"web.key" \(pair\): found the key of another/,
  ],
  [
    'an Ed25519 key for an EC certificate',
    { ...good, 'web.key': issue({ kind: 'ed25519' }).key },
    /found the key of another/,
  ],
  [
    'no key',
    { 'web.crt': web.certificate },
    /"web.key" \(pair\): found no such file, want the key of "web.crt"/,
  ],
  ['no certificate', { 'web.key': web.key }, /"web.crt" \(pair\): found no such file, want a certificate/],
  ['neither', {}, /"web.crt" \(pair\): found no such file/],
  ['an empty key', pairOf(web.certificate, ''), /"web.key" \(pair\): found no private key in PEM/],
  ['an empty certificate', pairOf('', web.key), /"web.crt" \(pair\): found none, want a certificate in PEM/],
  [
    'a key in place of the certificate',
    pairOf(web.key, web.key),
    /"web.crt" \(pair\): found none, want a certificate/,
  ],
  [
    'a certificate in place of the key',
    pairOf(web.certificate, web.certificate),
    /"web.key" \(pair\): found no private key/,
  ],
  ['both swapped', pairOf(web.key, web.certificate), /"web.crt" \(pair\): found none, want a certificate/],
  [
    'a passphrase',
    pairOf(web.certificate, encrypted(web)),
    /"web.key" \(pair\): found an encrypted one, want the key of "web.crt", not encrypted/,
  ],
  [
    'a passphrase of old',
    pairOf(
      web.certificate,
      web.key.replace('KEY-----\n', 'KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\n'),
    ),
    /"web.key" \(pair\): found an encrypted one/,
  ],
  [
    'a key cut short',
    pairOf(web.certificate, cut(web.key, 60, 400)),
    /"web.key" \(pair\): found the end of the file \(line 1\), want an END of PRIVATE KEY/,
  ],
  [
    'a certificate cut short',
    pairOf(cut(web.certificate, 200, 5000), web.key),
    /"web.crt" \(pair\): found the end of the file \(line 1\), want an END of CERTIFICATE/,
  ],
  [
    'a certificate without a line',
    pairOf(withoutLine(web.certificate, 3), web.key),
    /"web.crt" \(pair\): found one that cannot be read \(line 1\), want a certificate/,
  ],
  [
    'a key without a line',
    pairOf(web.certificate, withoutLine(web.key, 2)),
    /"web.key" \(pair\): found a private key that cannot be read/,
  ],
  [
    'a key that is rubbish',
    pairOf(web.certificate, `-----BEGIN PRIVATE KEY-----\n${CANARY}\n-----END PRIVATE KEY-----\n`),
    /"web.key" \(pair\): found a private key that cannot be read/,
  ],
  [
    'a certificate that is rubbish',
    pairOf(`-----BEGIN CERTIFICATE-----\n${CANARY}\n-----END CERTIFICATE-----\n`, web.key),
    /"web.crt" \(pair\): found one that cannot be read \(line 1\)/,
  ],
  [
    'a byte order mark before the certificate',
    pairOf(`\ufeff${web.certificate}`, web.key),
    /"web.crt" \(pair\): found a byte order mark before it \(line 1\), want a BEGIN at the beginning of a line/,
  ],
  [
    'a byte order mark before the key',
    pairOf(web.certificate, `\ufeff${web.key}`),
    /"web.key" \(pair\): found a byte order mark before it/,
  ],
  [
    'two files run together',
    pairOf(web.certificate.trimEnd().concat(web.certificate), web.key),
    /"web.crt" \(pair\): found other text after it \(line 1\), want an END of CERTIFICATE on a line of its own/,
  ],
  [
    'an END in the line of text',
    pairOf(web.certificate.replace('\n-----END', '-----END'), web.key),
    /"web.crt" \(pair\): found other text before it \(line 1\), want an END of CERTIFICATE on a line of its own/,
  ],
  [
    'another BEGIN in between',
    pairOf(lines(web.certificate).slice(0, 3).join('\n').concat('\n', web.certificate), web.key),
    /"web.crt" \(pair\): found another BEGIN \(line 1\), want an END of CERTIFICATE/,
  ],
  [
    'an END of something else',
    pairOf(web.certificate.replace('END CERT', 'END CART'), web.key),
    /"web.crt" \(pair\): found the end of the file \(line 1\)/,
  ],
  [
    'the issuer first',
    pairOf(bundle(middle, leaf), leaf.key),
    /"web.crt" \(pair\): found it in place 2 of 2, want the certificate of the key first/,
  ],
  [
    'the root first',
    pairOf(bundle(root, middle, leaf), leaf.key),
    /"web.crt" \(pair\): found it in place 3 of 3/,
  ],
  [
    'the key of the issuer',
    pairOf(bundle(leaf, middle), middle.key),
    /"web.crt" \(pair\): found it in place 2 of 2/,
  ],
  [
    'only the issuer',
    pairOf(bundle(middle), leaf.key),
    /"web.key" \(pair\): found the key of another certificate/,
  ],
  [
    'an indented certificate',
    pairOf(web.certificate.replaceAll(/^/gm, '  '), web.key),
    /"web.crt" \(pair\): found none, want a certificate in PEM/,
  ],
  [
    'quoted as JSON',
    pairOf(JSON.stringify(web.certificate), web.key),
    /"web.crt" \(pair\): found none, want a certificate in PEM/,
  ],
  [
    'DER',
    pairOf(web.certificate, web.keyObject.export({ type: 'pkcs8', format: 'der' }).toString('latin1')),
    /"web.key" \(pair\): found no private key in PEM/,
  ],
  [
    'a public key',
    pairOf(web.certificate, '-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n'),
    /"web.key" \(pair\): found no private key in PEM/,
  ],
  [
    'a request in place of the certificate',
    pairOf('-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n', web.key),
    /"web.crt" \(pair\): found none/,
  ],
  [
    'an SSH key',
    pairOf(web.certificate, '-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n'),
    /"web.key" \(pair\): found no private key in PEM/,
  ],
  [
    'a truncated upload that ends in zeros',
    pairOf(web.certificate, `${web.key.slice(0, 90)}${'\0'.repeat(100)}`),
    /"web.key" \(pair\): found the end of the file/,
  ],
  [
    'a block that never ends',
    pairOf(`-----BEGIN CERTIFICATE-----\n${'A'.repeat(300_000)}\n-----END CERTIFICATE-----\n`, web.key),
    /"web.crt" \(pair\): found 300054 \(line 1\), want at most 262144 bytes from BEGIN to END/,
  ],
];

const combinedOf = (text: string) => ({ 'web.pem': text });
const COMBINED_FILES: readonly Case[] = [
  [
    'a combined file with another key',
    combinedOf(web.certificate + other.key),
    /"web.pem" \(pair\): found the key of another certificate, want the key of its certificate/,
    COMBINED,
  ],
  [
    'a combined file without a key',
    combinedOf(web.certificate),
    /"web.pem" \(pair\): found no private key in PEM/,
    COMBINED,
  ],
  [
    'a combined file without a certificate',
    combinedOf(web.key),
    /"web.pem" \(pair\): found none, want a certificate/,
    COMBINED,
  ],
  [
    'a combined file with its chain first',
    combinedOf(bundle(middle, leaf) + leaf.key),
    /"web.pem" \(pair\): found it in place 2 of 2/,
    COMBINED,
  ],
  ['a combined file that is missing', {}, /"web.pem" \(pair\): found no such file/, COMBINED],
  [
    'a combined file with an encrypted key',
    combinedOf(web.certificate + encrypted(web)),
    /"web.pem" \(pair\): found an encrypted one/,
    COMBINED,
  ],
];

const wild = { checks: { pairs: [{ certificate: 'live/*/fullchain.pem', key: 'live/*/privkey.pem' }] } };
const PLACES: readonly Case[] = [
  [
    'one of several sites',
    {
      'live/a/fullchain.pem': web.certificate,
      'live/a/privkey.pem': web.key,
      'live/b/fullchain.pem': web.certificate,
      'live/b/privkey.pem': other.key,
    },
    /"live\/b\/privkey.pem" \(pair\): found the key of another certificate, want the key of "live\/b\/fullchain.pem"/,
    wild,
  ],
  [
    'a site without a key',
    { 'live/a/fullchain.pem': web.certificate },
    /"live\/a\/privkey.pem" \(pair\): found no such file/,
    wild,
  ],
  [
    'a symlink to the wrong key',
    {
      'live/a/fullchain.pem': { to: '../../archive/cert1.pem' },
      'live/a/privkey.pem': { to: '../../archive/key2.pem' },
      'archive/cert1.pem': web.certificate,
      'archive/key1.pem': web.key,
      'archive/key2.pem': other.key,
    },
    /"live\/a\/privkey.pem" \(pair\): found the key of another/,
    wild,
  ],
  [
    'a symlink to nothing',
    { 'live/a/fullchain.pem': web.certificate, 'live/a/privkey.pem': { to: 'gone' } },
    /"live\/a\/privkey.pem" \(pair\): found no such file/,
    wild,
  ],
  [
    'a symlink to a directory',
    { 'live/a/fullchain.pem': web.certificate, 'live/a/privkey.pem': { to: '..' } },
    /"live\/a\/privkey.pem" \(pair\): found no such file/,
    wild,
  ],
  [
    'one key for all, of another',
    { 'a.crt': web.certificate, 'one.key': other.key },
    /"one.key" \(pair\): found the key of another certificate, want the key of "a.crt"/,
    { checks: { pairs: [{ certificate: '*.crt', key: 'one.key' }] } },
  ],
  [
    'two of them',
    { ...good, 'web.key': other.key, 'b.crt': web.certificate },
    /"web.key" \(pair\): .*, and 1 more$/,
    {
      checks: {
        pairs: [
          { certificate: 'web.crt', key: 'web.key' },
          { certificate: 'b.crt', key: 'b.key' },
        ],
      },
    },
  ],
];

const required = (...names: string[]) => ({ checks: { required: names } });
const REQUIRED: readonly Case[] = [
  [
    'a required file',
    {},
    /"web.crt" \(required\): found none, want a file of that name/,
    required('web.crt'),
  ],
  ['one of several', { a: '1' }, /"b" \(required\): found none/, required('a', 'b')],
  ['in another directory', { 'x/web.crt': '' }, /"web.crt" \(required\)/, required('web.crt')],
  ['a directory in its place', { 'web.crt/x': '' }, /"web.crt" \(required\)/, required('web.crt')],
  [
    'a dangling symlink in its place',
    { 'web.crt': { to: 'gone' } },
    /"web.crt" \(required\)/,
    required('web.crt'),
  ],
  ['a glob that nothing matches', { 'tls/a.pem': '' }, /"tls\/\*\.crt" \(required\)/, required('tls/*.crt')],
  ['a file in place of its directory', { tls: '' }, /"tls\/a" \(required\)/, required('tls/a')],
  ['a dot file', { env: '' }, /"\.env" \(required\)/, required('.env')],
  ['in another case', { 'WEB.CRT': '' }, /"web.crt" \(required\)/, required('web.crt')],
];

const dns = (file: string, ...names: string[]) => ({ checks: { dns: [{ file, names }] } });
const NAMES: readonly Case[] = [
  [
    'another name',
    good,
    /"web.crt" \(dns\): found one that is not for it, want a certificate for "www.test"/,
    dns('web.crt', 'www.test'),
  ],
  ['one of several names', good, /want a certificate for "b.test"/, dns('web.crt', 'web.test', 'b.test')],
  ['two labels for a star', good, /want a certificate for "a.b.w.test"/, dns('web.crt', 'a.b.w.test')],
  ['no label for a star', good, /want a certificate for "w.test"/, dns('web.crt', 'w.test')],
  ['a star that is not there', good, /want a certificate for "\*\.test"/, dns('web.crt', '*.test')],
  ['a star for a name', good, /want a certificate for "\*\.web\.test"/, dns('web.crt', '*.web.test')],
  [
    'the common name alone',
    { 'web.crt': noName.certificate },
    /want a certificate for "web.test"/,
    dns('web.crt', 'web.test'),
  ],
  ['another address', good, /want a certificate for "192.0.2.8"/, dns('web.crt', '192.0.2.8')],
  [
    'an address as a name',
    { 'web.crt': issue({ names: ['DNS:192.0.2.9'] }).certificate },
    /want a certificate for "192.0.2.9"/,
    dns('web.crt', '192.0.2.9'),
  ],
  [
    'a part of a label for a star',
    { 'web.crt': issue({ names: ['DNS:w*.a.test'] }).certificate },
    /want a certificate for "web.a.test"/,
    dns('web.crt', 'web.a.test'),
  ],
  [
    'a star in the middle',
    { 'web.crt': issue({ names: ['DNS:a.*.test'] }).certificate },
    /want a certificate for "a.b.test"/,
    dns('web.crt', 'a.b.test'),
  ],
  [
    'only in the second certificate',
    { 'web.crt': bundle(other, web) },
    /want a certificate for "web.test"/,
    dns('web.crt', 'web.test'),
  ],
  [
    'no certificate there',
    { 'web.crt': web.key },
    /"web.crt" \(dns\): found no certificate in PEM/,
    dns('web.crt', 'web.test'),
  ],
  ['no file there', {}, /"web.crt" \(dns\): found no such file/, dns('web.crt', 'web.test')],
  [
    'one of the files of a glob',
    { 'a.crt': web.certificate, 'b.crt': other.certificate },
    /"b.crt" \(dns\): found one that is not for it/,
    dns('*.crt', 'web.test'),
  ],
];

const format = (kind: string, match = 'f') => ({ checks: { formats: [{ match, format: kind }] } });
const FORMATS: readonly Case[] = [
  [
    'JSON cut short',
    { f: `{"a": "${CANARY}"` },
    /"f" \(format\): found the end of the file \(line 1, column 21\), want json with a comma or }/,
    format('json'),
  ],
  [
    'JSON with a comma too many',
    { f: `{\n"a": "${CANARY}",\n}` },
    /\(line 3, column 1\), want json with a name in double quotes/,
    format('json'),
  ],
  [
    'JSON with single quotes',
    { f: `{'a': '${CANARY}'}` },
    /\(line 1, column 2\), want json with a name/,
    format('json'),
  ],
  [
    'JSON with a comment',
    { f: `// ${CANARY}\n{}` },
    /\(line 1, column 1\), want json with a value/,
    format('json'),
  ],
  [
    'an empty JSON',
    { f: '' },
    /found the end of the file \(line 1, column 1\), want json with a value/,
    format('json'),
  ],
  ['HTML in place of JSON', { f: `<html>${CANARY}</html>` }, /want json with a value/, format('json')],
  ['YAML in place of JSON', { f: `a: ${CANARY}` }, /want json with a value/, format('json')],
  [
    'JSON with a byte order mark',
    { f: '\ufeff{}' },
    /found one \(line 1, column 1\), want json with no byte order mark/,
    format('json'),
  ],
  ['JSON in UTF-16', { f: Buffer.from('{}', 'utf16le') }, /want json with text/, format('json')],
  ['JSON in Latin-1', { f: Buffer.from('"\xe4"', 'latin1') }, /want json with UTF-8/, format('json')],
  ['two JSON texts', { f: '{}{}' }, /want json with the end of the file/, format('json')],
  ['JSON behind a symlink', { f: { to: 'g' }, g: '[' }, /"f" \(format\)/, format('json')],
  [
    'one of the files of a glob',
    { 'a/x.json': '1', 'a/b/y.json': `[${CANARY}` },
    /"a\/b\/y.json" \(format\)/,
    format('json', '**/*.json'),
  ],
  [
    'YAML with tabs',
    { f: `a:\n\tb: ${CANARY}\n` },
    /\(line 2, column 1\), want yaml with spaces for indentation/,
    format('yaml'),
  ],
  [
    'YAML with a key twice',
    { f: `a: ${CANARY}\na: 2\n` },
    /\(line 2, column 1\), want yaml with a key that is there once/,
    format('yaml'),
  ],
  [
    'YAML with an open quote',
    { f: `a: "${CANARY}\nb: 1\n` },
    /want yaml with a character that YAML needs here/,
    format('yaml'),
  ],
  ['YAML with an open bracket', { f: `a: [${CANARY}\n` }, /want yaml with/, format('yaml')],
  [
    'YAML with bad indentation',
    { f: `a:\n   b: 1\n  ${CANARY}: 2\n` },
    /"f" \(format\): .* want yaml with/,
    format('yaml'),
  ],
  [
    'a line without =',
    { f: `A=1\n${CANARY}\n` },
    /\(line 2, column 13\), want dotenv with = after a name/,
    format('dotenv'),
  ],
  [
    'a quote that stays open',
    { f: `A="${CANARY}\nB=2\n` },
    /found the end of the file \(line 1, column 3\), want dotenv with a quote that is closed/,
    format('dotenv'),
  ],
  [
    'text after a quote',
    { f: `A="1"${CANARY}\n` },
    /\(line 1, column 6\), want dotenv with the end of the line/,
    format('dotenv'),
  ],
  [
    'a name with a dash first',
    { f: `-A=${CANARY}` },
    /\(line 1, column 1\), want dotenv with a name/,
    format('dotenv'),
  ],
  ['JSON in place of dotenv', { f: `{"A":"${CANARY}"}` }, /want dotenv with a name/, format('dotenv')],
];

const afterEnd = pairOf(web.certificate, web.key);
const isLive = { live: pairOf(long.certificate, long.key) };
const CLOCK: readonly Case[] = [
  [
    'one that is not valid yet after a valid one',
    afterEnd,
    /^check-clock: "web.crt" \(dates\): found one that is valid from/,
    { ...isLive, live: pairOf(old.certificate, old.key), inDays: -0.5 },
  ],
  [
    'an expired chain file after a valid one',
    { 'a.pem': bundle(leaf, middle) },
    /^check-clock: "a.pem" \(dates\)/,
    { live: { 'a.pem': long.certificate }, inDays: 100 },
  ],
  [
    'an expired one behind a symlink',
    { 'a.pem': { to: 'b' }, b: web.certificate },
    /^check-clock: "a.pem" \(dates\)/,
    { live: { 'a.pem': { to: 'c' }, c: long.certificate }, inDays: 100 },
  ],
  [
    'an expired one, and a wrong pair: the pair is told',
    { ...afterEnd, 'x.crt': web.certificate },
    /^check-failed: "x.key" \(pair\): .*, and 1 more$/,
    { ...isLive, inDays: 100, checks: { pairs: [{ certificate: 'x.crt', key: 'x.key' }] } },
  ],
  [
    'an expired one after a valid one',
    good,
    /^check-clock: "web.crt" \(dates\): found one that expired \d{4}-/,
    { ...isLive, inDays: 100 },
  ],
  [
    'one that has ended already',
    pairOf(issue({ days: -1 }).certificate, issue({ days: -1 }).key),
    /^check-clock: "web.crt" \(dates\)/,
    isLive,
  ],
];

const rows: readonly Case[] = [
  ...PAIRS.map(([what, tree, line]): Case => [`pair: ${what}`, tree, line, PAIR]),
  ...[COMBINED_FILES, PLACES, REQUIRED, NAMES, FORMATS, CLOCK].flat(),
];

test('a hundred bad candidates are refused, each with its line, and nothing of their contents', async () => {
  assert.ok(rows.length >= 100, `${rows.length} candidates`);
  for (const [what, tree, line, looking] of rows) {
    const { refused = 'accepted', said } = await look(tree, looking);
    assert.match(refused, /^check-(failed|clock): "/, what);
    assert.match(refused, line, what);
    assert.doesNotMatch(said, new RegExp(CANARY), what);
    assert.doesNotMatch(said, /MI[GHI]|BEGIN [A-Z]+ ?[A-Z]*-|\n/, what);
  }
});

test('each of those leaves what is live, with its digest, and a right one after it passes', async () => {
  const digest = (files: ReadonlyMap<string, string>) =>
    createHash('sha256')
      .update(JSON.stringify([...files]))
      .digest('hex');
  const right = await look(good, PAIR);
  const wanted = digest(right.files);
  for (const [what, tree, , looking] of rows) {
    assert.equal((await look(tree, looking)).files.size, 0, what);
    assert.equal(digest((await look(good, PAIR)).files), wanted);
  }
});

test('what no config asks for is a warning, and goes live', async () => {
  const silent = [
    'no key',
    'no certificate',
    'neither',
    'an empty key',
    'an empty certificate',
    'a passphrase',
    'a passphrase of old',
    'DER',
  ];
  const alone = [
    'a key in place of the certificate',
    'both swapped',
    'an indented certificate',
    'quoted as JSON',
    'a request in place of the certificate',
  ];
  let warned = 0;
  for (const [what, tree] of PAIRS) {
    const { refused, warnings, said } = await look(tree);
    assert.equal(refused, undefined, what);
    assert.doesNotMatch(said, new RegExp(CANARY), what);
    if (silent.includes(what) || alone.includes(what)) continue;
    assert.ok(warnings.length > 0, `no warning: ${what}`);
    warned++;
  }
  assert.ok(warned > 20, `${warned} were warned of`);
});

const WARNED: readonly Case[] = [
  [
    'a guessed pair',
    { 'tls.crt': web.certificate, 'tls.key': other.key },
    /^tls.key \(pair\): found the key of another certificate, want the key of "tls.crt"$/,
  ],
  ['Let’s Encrypt', { 'fullchain.pem': web.certificate, 'privkey.pem': other.key }, /^privkey.pem \(pair\)/],
  ['cert.pem and key.pem', { 'cert.pem': web.certificate, 'key.pem': other.key }, /^key.pem \(pair\)/],
  ['name-key.pem', { 'web.pem': web.certificate, 'web-key.pem': other.key }, /^web-key.pem \(pair\)/],
  ['name.pem and name.key', { 'web.pem': web.certificate, 'web.key': other.key }, /^web.key \(pair\)/],
  ['name.crt.key', { 'web.crt': web.certificate, 'web.crt.key': other.key }, /^web.crt.key \(pair\)/],
  ['name.cert.pem', { 'web.cert.pem': web.certificate, 'web.key.pem': other.key }, /^web.key.pem \(pair\)/],
  [
    'in a directory',
    { 'a/tls.crt': web.certificate, 'a/tls.key': other.key, 'b/tls.key': web.key },
    /^a\/tls.key \(pair\)/,
  ],
  ['combined', { 'haproxy.pem': web.certificate + other.key }, /^haproxy.pem \(pair\)/],
  [
    'a chain out of order',
    { 'a.pem': bundle(leaf, root, middle) },
    /^a.pem \(chain\): found another one, want the issuer of certificate 1 in place 2$/,
  ],
  ['a chain with a stranger', { 'a.pem': bundle(leaf, other) }, /^a.pem \(chain\)/],
  [
    'a chain whose issuer has ended',
    { 'a.crt': bundle(chain({ cn: 'l', days: 3000 }).leaf, middle) },
    /^a.crt \(chain\): found certificate 2 of 2 expired/,
    { inDays: 2500 },
  ],
  ['a PEM that is none', { 'a.pem': CANARY }, /^a.pem \(pem\): found no block of it, want PEM$/],
  [
    'a lone key that is rubbish',
    { 'a.key': `-----BEGIN EC PRIVATE KEY-----\n${CANARY}\n-----END EC PRIVATE KEY-----\n` },
    /^a.key \(pem\): found one that cannot be read, want a private key$/,
  ],
  [
    'a lone certificate that is rubbish',
    { a: `-----BEGIN CERTIFICATE-----\n${CANARY}\n-----END CERTIFICATE-----\n` },
    /^a \(pem\): found one that cannot be read \(line 1\), want a certificate$/,
  ],
  ['a certificate with a flipped letter', { 'a.crt': flipped(authority.certificate) }, /^a.crt \(pem\)|^$/],
  [
    'soon to expire',
    good,
    /^web.crt \(expiry\): found one that expires \d{4}.*, want 30 days or more$/,
    { inDays: 70 },
  ],
  ['soon by the config', good, /want 120 days or more$/, { checks: { expiryWarning: '120d' } }],
  ['expired at the first start', good, /^web.crt \(dates\): found one that expired/, { inDays: 100 }],
  [
    'expired as the live one is',
    good,
    /^web.crt \(dates\): found one that expired/,
    { inDays: 500, ...isLive },
  ],
  [
    'a clock before all of them',
    good,
    /^web.crt \(dates\): found one that is valid from/,
    { inDays: -4000, ...isLive },
  ],
];

test('each warning has its line', async () => {
  for (const [what, tree, line, looking] of WARNED) {
    const { refused, warnings, said } = await look(tree, looking);
    assert.equal(refused, undefined, what);
    assert.ok(warnings.length <= 1 || what.startsWith('soon'), `${what}: ${warnings.join('; ')}`);
    assert.match(warnings.find((each) => line.test(each)) ?? warnings[0] ?? '', line, what);
    assert.doesNotMatch(said, new RegExp(CANARY), what);
  }
});

test('what is right is silent, however it is written', async () => {
  const rsa = issue({ kind: 'rsa' });
  const ed = issue({ kind: 'ed25519' });
  const trust = bundle(root, middle, authority);
  const right: readonly (readonly [string, Tree, Looking?])[] = [
    ['a pair', good, PAIR],
    ['CRLF', pairOf(crlf(web.certificate), crlf(web.key)), PAIR],
    ['RSA', pairOf(rsa.certificate, rsa.key), PAIR],
    ['Ed25519', pairOf(ed.certificate, ed.key), PAIR],
    [
      'PKCS#1',
      pairOf(rsa.certificate, rsa.keyObject.export({ type: 'pkcs1', format: 'pem' }).toString()),
      PAIR,
    ],
    ['SEC1', pairOf(web.certificate, web.keyObject.export({ type: 'sec1', format: 'pem' }).toString()), PAIR],
    [
      'EC parameters before it',
      pairOf(
        web.certificate,
        `-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n${web.key}`,
      ),
      PAIR,
    ],
    [
      'text around it',
      pairOf(`Bag Attributes\n${web.certificate}trailing garbage`, `garbage\n${web.key}more\0`),
      PAIR,
    ],
    ['no newline at its end', pairOf(web.certificate.trimEnd(), web.key.trimEnd()), PAIR],
    ['a chain', pairOf(bundle(leaf, middle, root), leaf.key), PAIR],
    ['combined, the key first', combinedOf(web.key + web.certificate), COMBINED],
    ['combined, the key last', combinedOf(bundle(leaf, middle) + leaf.key), COMBINED],
    ['another key of the same name elsewhere', { 'a/tls.crt': web.certificate, 'b/tls.key': other.key }],
    [
      'authorities, in any order',
      { 'ca.pem': trust, 'ca-bundle.crt': bundle(authority, middle, root) },
      { inDays: 10_000 },
    ],
    ['an authority with its key', { 'ca.crt': authority.certificate, 'ca.key': authority.key }],
    ['a key within YAML', { 'values.yaml': `key: |\n${web.key.replaceAll(/^/gm, '  ').slice(0, 90)}` }],
    ['an encrypted key that is guessed', { 'tls.crt': web.certificate, 'tls.key': encrypted(web) }],
    [
      'DER',
      { 'tls.crt': web.certificate, 'tls.key': web.keyObject.export({ type: 'pkcs8', format: 'der' }) },
    ],
    [
      'armour of others',
      {
        'k.asc': '-----BEGIN PGP PRIVATE KEY BLOCK-----\nxx',
        id_rsa: '-----BEGIN OPENSSH PRIVATE KEY-----\nxx',
      },
    ],
    ['parameters', { 'dh.pem': '-----BEGIN DH PARAMETERS-----\nMAYCAQ==\n-----END DH PARAMETERS-----\n' }],
    ['names', good, dns('web.crt', 'web.test', 'WEB.test', 'x.w.test', '*.w.test', '192.0.2.7')],
    ['not valid yet by a minute', good, { inDays: -1 / 1440, live: pairOf(old.certificate, old.key) }],
    ['files that are not there to be checked', {}, format('json')],
    [
      'globs that nothing matches',
      {},
      {
        checks: {
          pairs: [{ certificate: '*.crt', key: '*.key' }],
          dns: [{ file: '*.crt', names: ['a.test'] }],
        },
      },
    ],
  ];
  for (const [what, tree, looking] of right) {
    const { refused, warnings } = await look(tree, looking);
    const said = warnings.filter(
      (each) => !(what === 'parameters' || (what.startsWith('not valid') && /dates/.test(each))),
    );
    assert.deepEqual([refused, said], [undefined, []], what);
  }
});
