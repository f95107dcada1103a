import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checksSchema } from '../../../src/checks/settings.ts';
import { partOptions } from '../../../src/cli/mount-parts.ts';
import type { Settings } from '../../../src/daemon/config.ts';
import type { PartSettings } from '../../../src/daemon/mounts-settings.ts';

const source = (bundle: string) => [{ bundle }];
const parts = (settings: Settings, mounts: Record<string, PartSettings>) => partOptions(settings, mounts);
const KEY = { key: ['local:/k'] };

test('a part has what stands beside mounts: where it does not say it itself, and keys together', async () => {
  const [tls, app] = await parts(
    { key: ['local:/shared'], acceptKey: ['local:/accepted'], poll: 9_000, maxFiles: 5 },
    {
      tls: { source: source('/t.sfs') },
      app: { source: source('/a.sfs'), key: ['local:/own'], poll: 1_000, name: 'other', required: false },
    },
  );
  assert.deepEqual(
    [tls, app].map((part) => [
      part?.directory,
      part?.name,
      part?.acceptedKeys,
      part?.pollMs,
      part?.filesMax,
      part?.required,
    ]),
    [
      ['tls', 't', ['local:/accepted'], 9_000, 5, true],
      ['app', 'other', ['local:/own'], 1_000, 5, false],
    ],
  );
});

test('what two bundles can not share, and what is of one alone, is a config error', async () => {
  const two = { a: { source: source('/x/web.sfs') }, b: { source: source('/y/web.sfs') } };
  const one = { a: { source: source('/x/web.sfs') } };
  const checks = checksSchema.parse({ required: ['x'] });
  const refused: [Settings, Record<string, PartSettings>, RegExp][] = [
    [KEY, two, /a and b have the same name: web/],
    [{ ...KEY, name: 'web' }, one, /name stands beside it/],
    [{ ...KEY, minSerial: 3 }, one, /minSerial stands beside it/],
    [{ ...KEY, checks }, one, /checks of contents stand beside it/],
    [{ ...KEY, maxBytes: 2 ** 30 }, { ...one, b: { source: source('/b.sfs') } }, /together they may have/],
  ];
  for (const [settings, mounts, message] of refused) {
    await assert.rejects(parts(settings, mounts), { code: 'config-invalid', message });
  }
  await assert.rejects(parts({}, one), { message: /^mounts\.a: no key given/ });
});

test('programs that check, which see the whole mount, may stand beside mounts:', async () => {
  const checks = checksSchema.parse({ exec: [{ name: 'look', run: ['/bin/true'] }] });
  assert.equal((await parts({ ...KEY, checks }, { a: { source: source('/a.sfs') } })).length, 1);
});
