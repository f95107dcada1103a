/**
 * After `unmount` nobody reads the secret any more, not even a process in a mount namespace that still has the mount. A
 * page that a program has mapped is different: see docs/threat-model.md.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { file } from '../support/entries.ts';
import { read } from '../support/machine.ts';
import { canary, full, SecretMount } from '../support/secret-mount.ts';

const OUTSIDE = fileURLToPath(new URL('../support/outside.js', import.meta.url));
const FILE_BYTES = 100_000;
const MODES = [
  ['--cache', 'page'],
  ['--cache', 'none'],
  ['--cache', 'page', '--fast-open'],
];

type Seen = Readonly<Record<string, string>>;

/** A process in a mount namespace of its own, made while the mount was there. */
class Outside {
  readonly child: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  constructor(mount: SecretMount) {
    this.child = spawn(
      'unshare',
      ['--mount', '--propagation', 'private', '--', process.execPath, OUTSIDE, mount.mountpoint],
      { stdio: ['pipe', 'pipe', 'inherit'] },
    );
    mount.bench.after(async () => {
      if (this.child.exitCode !== null || this.child.signalCode !== null) return;
      const closed = once(this.child, 'close');
      this.child.kill('SIGKILL');
      await closed;
    });
    if (this.child.stdout === null) throw new Error('no stdout');
    this.#lines = createInterface({ input: this.child.stdout })[Symbol.asyncIterator]();
  }

  async look(order: string): Promise<Seen> {
    this.child.stdin?.write(`${order}\n`);
    const { value } = await this.#lines.next();
    return JSON.parse(value ?? '{}');
  }
}

for (const mode of MODES) {
  test(`after unmount a mount namespace that holds the mount reads nothing (${mode.join(' ')})`, async (t) => {
    const secret = canary();
    const content = full(secret, FILE_BYTES);
    const names = ['opened', 'fresh', 'mapped', 'untouched'];
    const mount = await SecretMount.start(t, {
      entries: names.map((name) => file(name, content)),
      args: mode,
    });
    const outside = new Outside(mount);
    // The control: before, every way shows the secret, also from pages that are cached.
    const word = secret.toString('latin1');
    assert.deepEqual(await outside.look('before'), {
      opened: word,
      reopened: word,
      new: word,
      stat: `${FILE_BYTES}`,
      'mapped, touched': word,
    });
    await mount.bench.must(['unmount', 'web']);
    await mount.daemon.ended;
    assert.ok(read(`/proc/${outside.child.pid}/mountinfo`).includes(mount.mountpoint), 'it is not held');
    const after = await outside.look('after');
    t.diagnostic(JSON.stringify(after));
    for (const [way, seen] of Object.entries(after)) {
      assert.match(seen, /^E[A-Z]+$/, `${way}: ${JSON.stringify(seen)}`);
    }
    assert.deepEqual(Object.keys(after).sort(), [
      'mapped, touched',
      'mapped, untouched',
      'new',
      'opened',
      'reopened',
    ]);
  });
}
