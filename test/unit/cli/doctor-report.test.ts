import assert from 'node:assert/strict';
import { test } from 'node:test';
import { printFindings } from '../../../src/cli/doctor-report.ts';
import { createUi } from '../../../src/cli/ui.ts';
import type { Finding } from '../../../src/doctor/finding.ts';

const FINDINGS: readonly Finding[] = [
  { id: 'a', area: 'machine', state: 'ok', what: '/dev/fuse', found: 'it is there', fix: null },
  {
    id: 'b',
    area: 'machine',
    state: 'problem',
    what: 'clock',
    found: 'it is 20 min behind\u001b[2J that of S3 and of KMS',
    fix: 'timedatectl set-ntp true; timedatectl timesync-status',
  },
  {
    id: 'c',
    area: 'bucket',
    state: 'unknown',
    what: 'ACL',
    found: 'denied',
    fix: 'aws s3api get-bucket-acl',
  },
];

function printed(options: { isTTY: boolean; columns?: number; env?: NodeJS.ProcessEnv }): string {
  let text = '';
  const stream = {
    ...options,
    listenerCount: () => 1,
    write: (chunk: string) => {
      text += chunk;
    },
  } as unknown as NodeJS.WriteStream;
  printFindings(FINDINGS, createUi({ stdout: stream, stderr: stream, env: options.env ?? {} }));
  return text;
}

test('a report is grouped by area, its fixes below their findings, and ends with the sums', () => {
  assert.equal(
    printed({ isTTY: false }),
    `machine
  ok       /dev/fuse: it is there
  problem  clock: it is 20 min behind\\u001b[2J that of S3 and of KMS
           fix: timedatectl set-ntp true; timedatectl timesync-status
bucket
  unknown  ACL: denied
           see: aws s3api get-bucket-acl
1 ok, 0 warning, 1 problem, 1 unknown
`,
  );
});

test('a report keeps to the width of the terminal, but for commands, which are to be copied', () => {
  const lines = printed({ isTTY: true, columns: 40, env: { NO_COLOR: '1' } }).split('\n');
  assert.ok(
    lines.filter((line) => !/fix:|see:/.test(line)).every((line) => line.length <= 40),
    lines.join('\n'),
  );
  assert.ok(lines.includes('           fix: timedatectl set-ntp true; timedatectl timesync-status'));
});

test('a report has colours on a terminal that takes them, and nowhere else', () => {
  assert.ok(printed({ isTTY: true, columns: 80 }).includes('\u001b[31mproblem\u001b[0m'));
  const off = [{ NO_COLOR: '1' }, { TERM: 'dumb' }].map((env) => printed({ isTTY: true, columns: 80, env }));
  for (const text of [...off, printed({ isTTY: false })]) assert.ok(!text.includes('\u001b'), text);
});
