/** The unit, and what the daemon tells systemd. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { PROGRAM, REPOSITORY } from '../support/paths.ts';
import { Bench, eventually, run } from '../support/program.ts';

const UNIT = path.join(REPOSITORY, 'systemd', 'secretsfs@.service');

/** Writes down each datagram that comes: Node can't listen on this kind of socket. */
const LISTENER = `
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
print("bound", flush=True)
while True:
    for line in s.recv(4096).decode().split("\\n"):
        print(line, flush=True)
`;

test('systemd finds nothing wrong with the unit, and every option of its command exists', async (t) => {
  const bench = await Bench.create(t);
  const unit = await readFile(UNIT, 'utf8');
  const file = bench.path('secretsfs@.service');
  await writeFile(file, unit.replaceAll('/usr/bin/secretsfs', PROGRAM));
  const { code, stdout, stderr } = await run('systemd-analyze', ['verify', '--man=no', file]);
  assert.equal(stdout + stderr, '');
  assert.equal(code, 0);
  // The control: it does look.
  await writeFile(file, unit.replaceAll('/usr/bin/secretsfs', PROGRAM).replace('Type=notify', 'Typo=notify'));
  assert.match((await run('systemd-analyze', ['verify', '--man=no', file])).stderr, /Typo/);

  await writeFile(
    bench.path('web.yaml'),
    `bundle: ${bench.path('none.enc')}\nmountpoint: ${bench.directory}\n`,
  );
  const command = /^ExecStart=\S+ (.*)$/m.exec(unit)?.[1] ?? '';
  const args = command
    .replace('/etc/secretsfs/%i.yaml', bench.path('web.yaml'))
    .replace('%i', 'web')
    .split(' ');
  assert.match((await bench.secretsfs(args)).stderr, /no key given/);
});

test('a mount says READY=1 to systemd once it serves, and STOPPING=1 when it ends', async (t) => {
  const bench = await Bench.create(t);
  await mkdir(bench.path('mnt'));
  await mkdir(bench.path('dir'));
  await writeFile(bench.path('dir/secret'), 'content');
  await bench.must(['keygen', 'key']);
  await bench.must(['pack', '--dir', 'dir', '--key', 'local:key', 'web.enc']);
  const listener = spawn('python3', ['-c', LISTENER, bench.path('notify')], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  bench.after(async () => listener.kill('SIGKILL'));
  let said = '';
  listener.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    said += chunk;
  });
  await eventually(async () => assert.match(said, /^bound/));
  const env = { ...bench.env, NOTIFY_SOCKET: bench.path('notify') };
  const daemon = await bench.mount(['web.enc', 'mnt', '--key', 'local:key'], env);
  await eventually(async () => assert.match(said, /^READY=1$/m));
  assert.match(said, /^STATUS=serial \d+ at /m);
  assert.ok(!said.includes('STOPPING'));
  await daemon.stop();
  await eventually(async () => assert.match(said, /^STOPPING=1$/m));
});
