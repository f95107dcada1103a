/** Where plaintext is in memory: of which process, and for how long. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { startHolder } from '../support/holder.ts';
import { scanMemory } from '../support/scan.ts';
import { canary, full, isAlive, SecretMount, secretFile, untilGone } from '../support/secret-mount.ts';

/** More than one READ, and of a size that no smaller answer overwrites. */
const FILE_BYTES = 300_000;

/** How often each needle stands in the memory of each process, those where it does not left out. */
async function copies(mount: SecretMount, needles: Record<string, Buffer>): Promise<string[]> {
  const found: string[] = [];
  for (const { role, pid } of await mount.processes()) {
    for (const [name, needle] of Object.entries(needles)) {
      const hits = scanOf(role, pid, needle);
      if (hits.length > 0) found.push(`${role}: ${hits.length} of ${name} in ${hits[0]?.flags.join(' ')}`);
    }
  }
  return found;
}

/** Teller and notifier may end between two looks: what they had is gone with them. */
function scanOf(role: string, pid: number, needle: Buffer): ReturnType<typeof scanMemory> {
  try {
    return scanMemory(pid, needle);
  } catch (error) {
    if (/teller|notifier/.test(role) && !isAlive(pid)) return [];
    throw error;
  }
}

for (const cache of ['page', 'none']) {
  test(`what is served, and what was, is in the memory of no process (cache ${cache})`, async (t) => {
    const [retired, live, control] = [canary(), canary(), canary()];
    const mount = await SecretMount.start(t, {
      entries: secretFile(retired, FILE_BYTES),
      args: ['--cache', cache, '--retire-after', '1s'],
    });
    const { bench, daemon } = mount;
    assert.ok((await readFile(mount.path('secret'))).equals(full(retired, FILE_BYTES)));
    // The reply that carried it was the server's last: nothing has overwritten it since but the server itself.
    assert.deepEqual(await copies(mount, { live: retired }), []);
    await mount.rotate(secretFile(live, FILE_BYTES));
    assert.ok((await readFile(mount.path('secret'))).equals(full(live, FILE_BYTES)));
    await daemon.event('retired');
    assert.deepEqual(await copies(mount, { retired, live, key: mount.key }), []);

    const holder = await startHolder(bench.after.bind(bench), control, { directory: bench.directory });
    assert.ok(scanMemory(holder.pid, control).length > 1000);
  });
}

test('while it is unsealed a secret is in the unsealer, which ends, and in no other process', async (t) => {
  const mount = await SecretMount.start(t, { entries: secretFile(canary()) });
  const secret = canary();
  const pid = await mount.stoppedUnsealer(secret);
  const inUnsealer = scanMemory(pid, secret).length;
  assert.ok(inUnsealer > 1000, `${inUnsealer} copies in the unsealer`);
  // The mount goes on as ever, and can be asked.
  assert.deepEqual(await copies(mount, { secret, key: mount.key }), []);
  const activations = mount.daemon.count('activated');
  process.kill(pid, 'SIGCONT');
  await untilGone(pid, 60_000);
  await mount.daemon.event('activated', activations + 1);
  const served = await readFile(mount.path('secret'));
  assert.ok(served.equals(full(secret, served.length)));
  assert.deepEqual(await copies(mount, { secret, key: mount.key }), []);
});
