import assert from 'node:assert/strict';
import { test } from 'node:test';
import { activatedBy } from '../../../src/daemon/mount-hooks.ts';

const CERTIFICATE = { path: 'web.crt', serial: '0a', notBefore: '', notAfter: '', names: [] };
const UPLOADED = '2026-11-01T00:00:00.000Z';
const OPENED = {
  generation: { candidate: { id: 7 }, result: { certificates: [CERTIFICATE], uploaded: UPLOADED } },
  serial: 3,
} as unknown as Parameters<typeof activatedBy>[0];

test('hooks are told which certificates are live, what changed, and when it was uploaded', () => {
  const files = [{ path: 'web.crt', change: 'changed' as const }];
  const told = activatedBy(OPENED, { files });
  const { certificates, changed, uploaded, first, generation, serial } = told;
  assert.deepEqual([generation, serial, first, changed, uploaded], [7, 3, false, files, UPLOADED]);
  assert.equal(certificates[0]?.serial, '0a');
});

test('a mount that starts late is not a renewal that took long', () => {
  const { first, changed, uploaded } = activatedBy(OPENED, undefined);
  assert.deepEqual([first, changed, uploaded], [true, [], null]);
});
