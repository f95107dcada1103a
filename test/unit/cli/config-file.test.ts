/** What --config may name. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createServer } from 'node:net';
import path from 'node:path';
import { test } from 'node:test';
import { readConfigFile } from '../../../src/cli/config-file.ts';
import { configGiven } from '../../../src/cli/replace-supervisor.ts';
import { temporaryDirectory } from '../../support/temporary.ts';

test('a config that is no file is refused before it is opened: a fifo would wait for whoever writes', async (t) => {
  const directory = await temporaryDirectory(t);
  const at = (name: string) => path.join(directory, name);
  // To open it is ENXIO: where this fails, the fifo hangs.
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(at('socket'), resolve));
  t.after(() => server.close());
  execFileSync('mkfifo', [at('fifo')]);
  for (const name of ['socket', 'fifo'])
    assert.throws(() => readConfigFile(at(name)), {
      code: 'config-unreadable',
      message: /it is not a file$/,
    });
});

test('configGiven() finds --config in a command line, in both ways to write it, the last one', () => {
  const given = (...words: string[]) => configGiven([...words, ''].join('\0'));
  const command = ['/usr/bin/node', '/usr/bin/secretsfs', 'mount'];
  assert.equal(given(...command, '--config', '/etc/a.yaml', '--instance', 'web'), '/etc/a.yaml');
  assert.equal(given(...command, '--config=/etc/a.yaml', '--config=/etc/b=c.yaml'), '/etc/b=c.yaml');
  assert.equal(given(...command, '--configs', 'x'), undefined);
  assert.equal(given(''), undefined);
});
