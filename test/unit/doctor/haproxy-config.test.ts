import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  certificatesOfList,
  crtBase,
  filesOf,
  parseHaproxy,
  wordsOf,
} from '../../../src/doctor/haproxy-config.ts';

const filesIn = (text: string) =>
  filesOf(parseHaproxy(text, '/h')).map(({ path, kind, line }) => `${line} ${kind} ${path}`);

test('wordsOf() takes quotes, escapes and comments as haproxy does', () => {
  assert.deepEqual(wordsOf(`bind "a b"c 'd"\\' e\\ f g#h # i`), ['bind', 'a bc', 'd"\\', 'e f', 'g']);
  assert.deepEqual(wordsOf('  '), []);
  assert.deepEqual(wordsOf('a "" b'), ['a', '', 'b']);
  assert.deepEqual(wordsOf('a "b # c'), ['a', 'b # c']);
});

test('filesOf() finds certificates, lists and authorities, below their bases', () => {
  const text = `global
  crt-base /m/tls/
  ca-base /m/ca
frontend web
  bind :443 ssl crt a.pem crt /m/dir/ crt-list list.txt ca-file clients.pem
backend app
  server one 10.0.0.1:443 ssl crt client.pem ca-file @system-ca crl-file r.pem
  server two 10.0.0.1:443 crt "$HOME/x.pem"`;
  assert.deepEqual(filesIn(text), [
    '5 certificate /m/tls/a.pem',
    '5 certificate /m/dir/',
    '5 list list.txt',
    '5 file /m/ca/clients.pem',
    '7 certificate /m/tls/client.pem',
    '7 file /m/ca/r.pem',
  ]);
});

test('filesOf() finds what a crt-store loads, below bases of its own', () => {
  const text =
    'global\n  crt-base /other\ncrt-store web\n  crt-base /m/c\n  key-base /m/k\n  load crt a.crt key a.key alias x ocsp-update on';
  assert.deepEqual(filesIn(text), ['6 file /m/c/a.crt', '6 file /m/k/a.key']);
});

test('filesOf() takes no other word for one that names a file', () => {
  assert.deepEqual(
    filesIn(
      'frontend web\n  acl crt path /a\n  bind :1 constructor x\n  http-request set-header crt /m/a\n  bind crt',
    ),
    [],
  );
});

test('certificatesOfList() has the first word of each line', () => {
  const list = '# all\na.pem [alpn h2] example.org\n\n/m/b.pem !c.example.org\n@web/x';
  assert.deepEqual(certificatesOfList(list, '/m/tls/'), [
    { path: '/m/tls/a.pem', line: 2 },
    { path: '/m/b.pem', line: 4 },
  ]);
  assert.deepEqual(certificatesOfList('a.pem'), [{ path: 'a.pem', line: 1 }]);
  assert.equal(crtBase(parseHaproxy('global\n crt-base /a\nfrontend x\n crt-base /b', '/h')), '/a');
});
