import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { followedBy, serialOf } from '../../../src/hooks/changes.ts';
import {
  isAccepted,
  isCommitted,
  isPlainName,
  keepPemBlocks,
  loadedCertificates,
} from '../../../src/hooks/haproxy.ts';
import { LINE_LENGTH_MAX, LINES_MAX, OutputLines } from '../../../src/hooks/output.ts';
import { ProbeState } from '../../../src/hooks/probe-state.ts';
import { parseUnits } from '../../../src/hooks/units.ts';

test('two changes of a path are one', () => {
  const all = ['added', 'changed', 'removed'] as const;
  const table = all.map((first) => all.map((second) => followedBy(first, second)));
  assert.deepEqual(table, [
    ['added', 'added', 'removed'],
    ['changed', 'changed', 'removed'],
    ['changed', 'changed', 'removed'],
  ]);
});

test('a serial is written in whole bytes of lower case, without leading zeros', () => {
  const cases = [
    ['0A01', '0a01'],
    ['A01', '0a01'],
    ['000A01', '0a01'],
    ['00', '00'],
    ['0', '00'],
    ['ff', 'ff'],
    ['0080', '80'],
    ['', undefined],
    ['-01', undefined],
    ['0x1', undefined],
  ] as const;
  for (const [given, wanted] of cases) assert.equal(serialOf(given), wanted, given);
});

function linesOf(...chunks: (string | Uint8Array)[]) {
  const lines: string[] = [];
  const output = new OutputLines((line) => lines.push(line));
  for (const chunk of chunks) output.push(Buffer.from(chunk as string));
  output.end();
  return { lines, dropped: output.dropped };
}

test('output becomes lines wherever it is cut, also inside a character', () => {
  assert.deepEqual(linesOf('one\ntw', 'o\n\nthree').lines, ['one', 'two', '', 'three']);
  const bytes = Buffer.from('é€\n');
  fc.assert(
    fc.property(fc.integer({ min: 0, max: bytes.length }), (at) => {
      assert.deepEqual(linesOf(bytes.subarray(0, at), bytes.subarray(at)).lines, ['é€']);
    }),
  );
});

test('no line has in it what a terminal obeys, is longer than it may be, or is one too many', () => {
  assert.deepEqual(linesOf('\u001b[31mred\u009b\r\u202e\n').lines, ['\\u001b[31mred\\u009b\\u000d\\u202e']);
  assert.deepEqual(linesOf(Buffer.from([0xff, 0x41])).lines, ['\ufffdA']);
  const long = linesOf('x'.repeat(10_000), 'y\nshort\n').lines;
  assert.deepEqual(long, [`${'x'.repeat(LINE_LENGTH_MAX)}…`, 'short']);
  const flood = linesOf('line\n'.repeat(LINES_MAX + 5));
  assert.equal(flood.lines.length, LINES_MAX);
  assert.equal(flood.dropped, 5);
});

const PEM = '-----BEGIN A-----\nAAAA\n-----END A-----\n';
const kept = (text: string) => {
  const bytes = Buffer.from(`${text}\n`);
  return bytes.toString('latin1', 0, keepPemBlocks(bytes));
};

test('of a PEM file its blocks are kept, and nothing that could end the payload of a command', () => {
  assert.equal(kept(PEM), PEM);
  assert.equal(kept(`comment\n\n${PEM}\n\nshutdown sessions\n${PEM.trimEnd()}`), PEM + PEM);
  assert.equal(
    kept('-----BEGIN A-----\r\nProc-Type: 4\r\n\r\nAA \r\n \t\r\n-----END A-----\r\n'),
    '-----BEGIN A-----\nProc-Type: 4\nAA\n-----END A-----\n',
  );
  for (const broken of [
    '',
    'text',
    '-----BEGIN A-----\nAA',
    `-----BEGIN A-----\n${PEM}`,
    '-----BEGIN A-----\n\u001b\n-----END A-----',
  ]) {
    assert.equal(kept(broken), '', JSON.stringify(broken));
  }
});

test('whatever a file is: what is kept has no empty line, and only lines of it', () => {
  const line = fc.constantFrom(
    '',
    '\r',
    ' ',
    'AAAA',
    'commit ssl cert x',
    '-----BEGIN A-----',
    '-----END A-----',
    '-----END A-----x',
  );
  fc.assert(
    fc.property(fc.array(line), fc.constantFrom('\n', '\r\n'), (lines, end) => {
      const text = kept(lines.join(end));
      assert.ok(!text.includes('\n\n') && !text.startsWith('\n') && !text.includes('\r'));
      if (text === '') return;
      assert.ok(text.startsWith('-----BEGIN ') && text.endsWith('\n'));
      for (const each of text.trimEnd().split('\n'))
        assert.ok(
          lines.some((line) => line.trimEnd() === each),
          each,
        );
    }),
    { numRuns: 1000 },
  );
});

test("haproxy's answers, as 2.6 gives them", () => {
  const listed = '# transaction\n*/m/open.pem\n# filename\n/m/web.pem\n/m/other.pem\n\n';
  assert.deepEqual([...loadedCertificates(listed)], ['/m/web.pem', '/m/other.pem']);
  assert.ok(isAccepted('Transaction created for certificate /m/web.pem!\n\n'));
  assert.ok(isAccepted('Transaction updated for certificate /m/web.pem!\n\n'));
  assert.ok(!isAccepted("Can't replace a certificate which is not referenced by the configuration!\n\n"));
  assert.ok(isCommitted('Committing /m/web.pem.\nSuccess!\n\n'));
  assert.ok(!isCommitted('No ongoing transaction! !\n'));
  for (const name of ['a b', 'a;b', 'a\nb', 'a\\b', "a'b", '', 'é', '<<'])
    assert.ok(!isPlainName(name), name);
  assert.ok(isPlainName('/srv/web-secrets/tls/_.example.com+1@2.pem'));
});

test('states of units, also of one that there is not', () => {
  const output =
    'Id=a.service\nLoadState=loaded\nActiveState=active\n\nId=b.service\nLoadState=loaded\nActiveState=inactive\n\n' +
    'Id=c.service\nLoadState=not-found\nActiveState=inactive\n';
  assert.deepEqual(parseUnits(output), [
    { id: 'a.service', isLoaded: true, isActive: true },
    { id: 'b.service', isLoaded: true, isActive: false },
    { id: 'c.service', isLoaded: false, isActive: false },
  ]);
});

test('a probe knows what is served, since when, and how long it took', () => {
  const probe = new ProbeState();
  assert.equal(probe.verdict, 'unknown');
  probe.expect('01', 1000);
  probe.record({ serial: '01', error: null }, 1500);
  assert.deepEqual([probe.verdict, probe.propagationMs], ['served', 500]);
  probe.expect('02', 10_000);
  assert.equal(probe.verdict, 'unknown');
  probe.record({ serial: '01', error: null }, 10_100);
  assert.deepEqual([probe.verdict, probe.propagationMs], ['wrong', null]);
  probe.record({ serial: null, error: 'ECONNREFUSED' }, 10_200);
  assert.equal(probe.verdict, 'unreachable');
  assert.equal(probe.status().servedSerial, '01');
  probe.record({ serial: '02', error: null }, 10_300);
  probe.record({ serial: '02', error: null }, 20_000);
  assert.deepEqual(probe.status(), {
    servedSerial: '02',
    expectedSerial: '02',
    since: '1970-01-01T00:00:10.300Z',
    propagationMs: 300,
    checked: '1970-01-01T00:00:20.000Z',
    error: null,
  });
  probe.expect('02', 30_000);
  assert.equal(probe.propagationMs, 300, 'a generation with the same certificate changes nothing');
  probe.expect(undefined, 40_000);
  probe.record({ serial: '02', error: null }, 40_100);
  assert.equal(probe.verdict, 'unknown');
});
