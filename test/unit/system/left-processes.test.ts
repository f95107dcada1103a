import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { endLeftProcesses } from '../../../src/system/left-processes.ts';
import { temporaryDirectory } from '../../support/temporary.ts';

const UNIT = '0::/system.slice/system-secretsfs.slice/secretsfs@web.service\n';
const OTHER = '0::/system.slice/nginx.service\n';

test('what is older and of the same service is killed, and nothing else', async (t) => {
  const proc = await temporaryDirectory(t);
  const put = async (pid: string, cgroup: string, started: number, name = 'sh') => {
    await mkdir(path.join(proc, pid));
    await writeFile(path.join(proc, pid, 'cgroup'), cgroup);
    const before = Array.from({ length: 18 }, () => '0').join(' ');
    await writeFile(path.join(proc, pid, 'stat'), `${pid} (${name}) S ${before} ${started} 0 0\n`);
  };
  await put('100', UNIT, 5_000);
  await put('90', UNIT, 4_000);
  await put('91', UNIT, 4_999, 'a) S 9 (b');
  await put('92', UNIT, 5_000);
  await put('93', UNIT, 6_000);
  await put('94', OTHER, 4_000);
  await put('irqs', UNIT, 1);
  // It has ended meanwhile.
  await mkdir(path.join(proc, '95'));
  const killed: number[] = [];
  const kill = (pid: number) => void killed.push(pid);
  assert.equal(endLeftProcesses(proc, kill, '100'), 2);
  assert.deepEqual(killed.sort(), [90, 91]);

  killed.length = 0;
  await writeFile(path.join(proc, '100', 'cgroup'), '0::/user.slice/session-1.scope\n');
  await writeFile(path.join(proc, '90', 'cgroup'), '0::/user.slice/session-1.scope\n');
  assert.equal(endLeftProcesses(proc, kill, '100'), 0);
  assert.deepEqual(killed, []);
});
