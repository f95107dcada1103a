/** What goes into the packages as it is. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { parseConfig } from '../../src/daemon/config-yaml.ts';
import { REPOSITORY } from '../support/paths.ts';

const EXAMPLE = path.join(REPOSITORY, 'packaging/example.yaml');

test('the example of a config is one, with and without what is commented out', () => {
  const text = readFileSync(EXAMPLE, 'utf8');
  assert.deepEqual(Object.keys(parseConfig(EXAMPLE, text)), ['bundle', 'mountpoint', 'acceptKey']);
  const all = parseConfig(EXAMPLE, text.replace(/^#(\w+:| +- )/gm, '$1'));
  assert.deepEqual(Object.keys(all).sort(), [
    ...['acceptKey', 'bundle', 'files', 'hooks', 'mountpoint', 'poll', 'statusGroup'],
  ]);
});
