import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { decodeFacts, encodeFacts, isAsBefore, liveOf, partFacts } from '../../../src/daemon/facts.ts';
import type { PartOptions } from '../../../src/daemon/mount-options.ts';

const SHA256 = 'a'.repeat(64);
const OPTIONS = {
  directory: undefined,
  name: 'web',
  acceptedKeys: ['local:/key'],
  sources: [{ bundle: '/web.enc', aws: {} }],
  rules: [{ match: '**', uid: 33 }],
  filesMax: 10,
} as unknown as PartOptions;
const COUNTS = { added: 0, changed: 0, removed: 0, unchanged: 0 };
const WRITTEN = { files: 1, directories: 1, symlinks: 0, contentBytes: 3, counts: COUNTS };
const RESULT = {
  ...WRITTEN,
  outcome: 'opened' as const,
  revision: 'r1',
  sha256: SHA256,
  serial: 5,
  created: '2026-11-05T10:20:30.456Z',
  uploaded: null,
  findings: [],
  warnings: 0,
  certificates: [],
  kept: ['a'],
};
const OPENED = {
  generation: {
    candidate: { id: 4, imageFd: 3, changesFd: 4, previousFd: undefined, closed: true },
    result: RESULT,
  },
  serial: 5,
  created: RESULT.created,
  uploadedMs: undefined,
};
const FROM = { source: 0, revision: 'r1', sha256: SHA256 };
const FACTS = partFacts(OPTIONS, OPENED, FROM, 1_000);

test('facts are what they were, with the rules of the whole mount', () => {
  const facts = decodeFacts(encodeFacts([FACTS], [OPTIONS], undefined));
  assert.deepEqual(facts, { version: 1, rules: OPTIONS.rules, written: null, parts: [FACTS] });
  const cached = partFacts(OPTIONS, OPENED, { ...FROM, source: undefined }, 1_000);
  assert.equal(decodeFacts(encodeFacts([cached], [OPTIONS], undefined))?.parts[0]?.source, null);
  const image = { id: 9, bytes: 10, nextIno: 11 };
  const several = decodeFacts(encodeFacts([{ ...FACTS, directory: 'a', image }], [OPTIONS], RESULT));
  assert.deepEqual([several?.written, several?.parts[0]?.image], [WRITTEN, image]);
});

test('liveOf() is what Rotation had, without descriptors', () => {
  const live = liveOf(FACTS, 4);
  const { candidate, result } = live.generation;
  assert.deepEqual(result, RESULT);
  assert.deepEqual(candidate, { id: 4, imageFd: -1, changesFd: -1, previousFd: undefined, closed: true });
  assert.deepEqual([live.serial, live.revision, live.sha256, live.activatedMs], [5, 'r1', SHA256, 1_000]);
  const part = liveOf({ ...FACTS, image: { id: 9, bytes: 1, nextIno: 1 } }, 4);
  assert.equal(part.generation.candidate.id, 9);
});

test('isAsBefore() sees what a bundle is judged by, and where it is looked for', () => {
  const now = (change: object) => isAsBefore(FACTS, { ...OPTIONS, ...change });
  assert.deepEqual(now({}), { judged: true, sources: true });
  assert.deepEqual(now({ pollMs: 1 }), { judged: true, sources: true });
  assert.deepEqual(now({ name: 'other' }), { judged: false, sources: true });
  assert.deepEqual(now({ minSerial: 7 }), { judged: false, sources: true });
  assert.deepEqual(now({ sources: [] }), { judged: true, sources: false });
});

test('what encodeFacts() does not write is none, and no bytes are an error', () => {
  const facts = JSON.parse(encodeFacts([FACTS], [OPTIONS], undefined));
  for (const other of [
    { ...facts, version: 2 },
    { ...facts, more: 1 },
    { ...facts, parts: [{ ...FACTS, serial: 0 }] },
    { ...facts, parts: [{ ...FACTS, result: { ...RESULT, files: -1 } }] },
    { ...facts, rules: [{ match: '**', mode: 0o4777 }] },
  ]) {
    assert.equal(decodeFacts(JSON.stringify(other)), undefined);
  }
  assert.equal(decodeFacts(undefined), undefined);
  fc.assert(fc.property(fc.oneof(fc.string(), fc.json()), (text) => decodeFacts(text) === undefined));
});
