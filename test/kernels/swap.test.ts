/**
 * Under the unit's MemorySwapMax=0, on a machine that has swap, with all memory of the unit asked for: nothing of any
 * process of the mount goes there. The controls: an ordinary process does, the same process under the same limit does not,
 * and the mount's own processes do once the limit is lifted.
 */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { test } from 'node:test';
import { startHolder } from '../support/holder.ts';
import { Bench, eventually } from '../support/program.ts';
import { canary, full, secretFile } from '../support/secret-mount.ts';
import { pushOut, swapOn } from '../support/swap.ts';
import { UnitMount } from '../support/unit-mount.ts';

const FILE_BYTES = 2 * 1024 * 1024;
const SWAP_MEBIBYTES = 256;
const ROUNDS = 3;
const FOUND_MIN = 1000;

test('under MemorySwapMax=0 no page of any process of the unit reaches swap', async (t) => {
  const bench = await Bench.create(t);
  const after = bench.after.bind(bench);
  const [live, retired, control, limited] = [canary(), canary(), canary(), canary()];
  // On before the unit starts: it does so without --allow-swap.
  const swap = await swapOn(bench.path('swap'), SWAP_MEBIBYTES, after);
  const mount = await UnitMount.create(t, secretFile(retired, FILE_BYTES));
  await mount.systemctl('start');
  await readFile(mount.path('secret'));
  await mount.put(secretFile(live, FILE_BYTES));
  await mount.systemctl('reload');
  assert.ok((await readFile(mount.path('secret'))).equals(full(live, FILE_BYTES)));
  const { directory } = bench;
  await startHolder(after, undefined, { directory, args: ['map', mount.path('secret')] });
  const free = await startHolder(after, control, { directory });
  const scope = ['systemd-run', '--scope', '--quiet', '-p', 'MemorySwapMax=0', '--'];
  const bound = await startHolder(after, limited, { directory, before: scope });

  /** The kernel takes what it can from the unit. Not from every service: what this process holds would be found. */
  async function press(): Promise<boolean> {
    // Linux 5.19.
    const reclaim = await mount.cgroupPath('memory.reclaim');
    if (!existsSync(reclaim)) return false;
    // EAGAIN: there was less to take.
    await writeFile(reclaim, '512M').catch(() => undefined);
    return true;
  }

  async function pushAll(): Promise<number> {
    let swapped = 0;
    for (const pid of await mount.pids()) swapped += pushOut(pid);
    return swapped;
  }

  let pressed = false;
  for (let round = 0; round < ROUNDS; round++) {
    assert.equal(await pushAll(), 0);
    assert.equal(pushOut(bound.pid), 0);
    pressed = await press();
    await readFile(mount.path('secret'));
    await mount.put(secretFile(live, FILE_BYTES));
    await mount.systemctl('reload');
  }
  assert.equal(await pushAll(), 0);
  assert.equal((await mount.cgroup('memory.swap.current')).trim(), '0');
  const controlled = await eventually(async () => {
    pushOut(free.pid);
    const found = await swap.count(control);
    assert.ok(found > FOUND_MIN, `${found} copies of the control are in swap`);
    return found;
  });
  const counts = async (...needles: Buffer[]) => Promise.all(needles.map((needle) => swap.count(needle)));
  assert.deepEqual(await counts(live, retired, limited), [0, 0, 0]);

  // That it was the limit: without it, the same processes are swapped. Still no secret is.
  await mount.systemctl('set-property', '--runtime', 'MemorySwapMax=infinity');
  const lifted = await eventually(async () => {
    const swapped = await pushAll();
    assert.ok(swapped > 1024 * 1024, `${swapped} bytes are in swap`);
    return swapped;
  });
  assert.deepEqual(await counts(live, retired), [0, 0]);
  const how = pressed ? 'and memory.reclaim' : 'alone';
  t.diagnostic(`control: ${controlled} copies; without the limit: ${lifted} bytes; MADV_PAGEOUT ${how}`);
});
