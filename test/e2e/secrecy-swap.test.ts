/**
 * Nothing of what is served reaches a swap device, although all memory of all processes of the mount is pushed out.
 *
 * What can't be checked on a machine without cgroup v2: that MemorySwapMax=0 keeps out the rest of the processes too,
 * an unsealer in the middle of its work above all. scripts/test-kernels does, on a kernel that has it. Here the mount
 * runs with --allow-swap, and what must hold even then is looked at: the store, the server's buffers, the page cache.
 */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { startHolder } from '../support/holder.ts';
import { eventually } from '../support/program.ts';
import { canary, full, SecretMount, secretFile } from '../support/secret-mount.ts';
import { pushOut, swapOn } from '../support/swap.ts';

const FILE_BYTES = 2 * 1024 * 1024;
/** errno(3) */
const ESRCH = 3;
const SWAP_MEBIBYTES = 512;
const ROUNDS = 3;

test('with all memory of the mount pushed out, no byte of a secret is in swap', async (t) => {
  const [live, retired, control] = [canary(), canary(), canary()];
  const mount = await SecretMount.start(t, {
    notifier: true,
    entries: secretFile(retired, FILE_BYTES),
    args: ['--allow-swap', '--retire-after', '1s'],
  });
  const { bench } = mount;
  const after = bench.after.bind(bench);
  await readFile(mount.path('secret'));
  await mount.rotate(secretFile(live, FILE_BYTES));
  // The page cache of the mount is filled, and one reader has it mapped.
  assert.ok((await readFile(mount.path('secret'))).equals(full(live, FILE_BYTES)));
  const mapped = await startHolder(after, undefined, {
    directory: bench.directory,
    args: ['map', mount.path('secret')],
  });
  const holder = await startHolder(after, control, { directory: bench.directory });

  const processes = await mount.processes();
  // On for as short as can be: a mount that starts meanwhile refuses to.
  const swap = await swapOn(bench.path('swap'), SWAP_MEBIBYTES, after);
  const swapped = new Map<string, number>();
  for (let round = 0; round < ROUNDS; round++) {
    // Again, because they run, and fetch back what they need.
    for (const { role, pid } of [...processes, { role: 'reader', pid: mapped.pid }]) {
      try {
        swapped.set(role, Math.max(pushOut(pid), swapped.get(role) ?? 0));
      } catch (error) {
        // They end when they have nothing to do.
        if (!/teller|notifier/.test(role) || (error as { errno?: number }).errno !== ESRCH) throw error;
      }
    }
    await readFile(mount.path('secret'));
    await sleep(50);
  }
  const controlled = await eventually(async () => {
    pushOut(holder.pid);
    const found = await swap.count(control);
    assert.ok(found > 1000, `${found} copies of the control are in swap`);
    return found;
  });
  const counts = { live: await swap.count(live), retired: await swap.count(retired) };
  t.diagnostic(`control: ${controlled} copies; swapped: ${JSON.stringify(Object.fromEntries(swapped))}`);
  assert.deepEqual(counts, { live: 0, retired: 0 });
  for (const [role, bytes] of swapped) {
    // A shell has less than that.
    assert.ok(
      bytes > (role === 'prober' ? 0 : 1024 * 1024),
      `of the ${role} only ${bytes} bytes were pushed out`,
    );
  }
});
