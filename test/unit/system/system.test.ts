import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { fuseParameters } from '../../../src/system/mounts.ts';
import { loadNative, SystemCallError } from '../../../src/system/native.ts';
import { notify } from '../../../src/system/notify.ts';
import { run } from '../../../src/system/run.ts';
import { swapAreas } from '../../../src/system/swap.ts';
import { REPOSITORY } from '../../support/paths.ts';
import { cleanups, exec, temporaryDirectory } from '../../support/server.ts';

test('a refused system call says which and why', async () => {
  const native = await loadNative();
  assert.throws(
    () => native.unmap(12345n, 1),
    (error) => {
      return error instanceof SystemCallError && error.message === 'munmap failed: EINVAL';
    },
  );
  assert.throws(() => native.map(2 ** 60), /mmap failed: ENOMEM/);
});

test('forbidDumps() makes the process undumpable, without a core limit', async () => {
  const script = `
    const { loadNative } = await import(process.argv[1] + '/build/src/system/native.js');
    (await loadNative()).forbidDumps();
    const { statSync, readFileSync } = await import('node:fs');
    console.log(/Max core file size\\s+(\\S+)\\s+(\\S+)/.exec(readFileSync('/proc/self/limits', 'utf8')).slice(1).join(' '));
    console.log(statSync('/proc/self/environ').uid);`;
  const user = ['--reuid', '3001', '--regid', '3001', '--clear-groups', '--'];
  const { stdout } = await exec('setpriv', [
    ...user,
    process.execPath,
    '--input-type=module',
    '-e',
    script,
    REPOSITORY,
  ]).catch((error) => error);
  // /proc/PID of what is not dumpable belongs to root; its own limits can still be read as world-readable.
  assert.deepEqual(stdout.trim().split('\n'), ['0 0', '0']);
});

test('swapAreas() knows the heading from an area', async (t) => {
  const directory = await temporaryDirectory(cleanups(t));
  const file = path.join(directory, 'swaps');
  const heading = 'Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n';
  await writeFile(file, heading);
  assert.deepEqual(await swapAreas(file), []);
  await writeFile(file, `${heading}/dev/sda2\t\tpartition\t1\t0\t-2\n/swap\\040file\tfile\t1\t0\t-3\n`);
  assert.deepEqual(await swapAreas(file), ['/dev/sda2', '/swap\\040file']);
  assert.ok(Array.isArray(await swapAreas()));
});

test('notify() reaches sockets with a path and abstract ones, and does nothing without one', async (t) => {
  const after = cleanups(t);
  const directory = await temporaryDirectory(after);
  assert.equal(await notify('READY=1', ''), false);
  for (const address of [path.join(directory, 'notify'), `@secretsfs-test-${process.pid}`]) {
    const script = `import socket,sys
a=sys.argv[1]
s=socket.socket(socket.AF_UNIX,socket.SOCK_DGRAM)
s.bind('\\0'+a[1:] if a[0]=='@' else a)
print('bound',flush=True)
print(s.recv(100).decode().replace('\\n','|'),flush=True)`;
    const receiver = spawn('python3', ['-c', script, address], { stdio: ['ignore', 'pipe', 'inherit'] });
    after(async () => void receiver.kill('SIGKILL'));
    const lines = createInterface({ input: receiver.stdout })[Symbol.asyncIterator]();
    assert.equal((await lines.next()).value, 'bound');
    assert.equal(await notify('READY=1\nSTATUS=é', address), true);
    assert.equal((await lines.next()).value, 'READY=1|STATUS=é');
  }
  await assert.rejects(notify('READY=1', path.join(directory, 'nobody')), /sendmsg failed: ENOENT/);
});

test('run() reports exit, a missing program and one that does not end', async () => {
  assert.deepEqual(await run('sh', ['-c', 'echo out; echo err >&2; exit 3'], 5000), {
    code: 3,
    stdout: 'out\n',
    stderr: 'err',
    found: true,
    timedOut: false,
  });
  assert.equal((await run('no-such-program', [], 5000)).found, false);
  const slow = await run('sleep', ['30'], 100);
  assert.deepEqual([slow.code, slow.timedOut], [undefined, true]);
});

test('the SELinux context is a parameter of the filesystem, where there is one', () => {
  const plain = fuseParameters({ fuseFd: 9, source: 'web' });
  assert.ok(!plain.some(([name]) => name === 'context'));
  const context = 'system_u:object_r:cert_t:s0:c1,c2';
  assert.deepEqual(fuseParameters({ fuseFd: 9, source: 'web', selinuxContext: context }), [
    ...plain,
    ['context', context],
  ]);
});
