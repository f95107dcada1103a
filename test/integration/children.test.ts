/** Real processes, as root: what they may do is read from /proc, not from what was asked for. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import type { Readable } from 'node:stream';
import { type TestContext, test } from 'node:test';
import { type Child, type ChildOptions, spawnChild } from '../../src/daemon/children.ts';
import { MountError } from '../../src/errors.ts';
import { makePipe } from '../../src/system/files.ts';
import { cleanups, exec, temporaryDirectory } from '../support/server.ts';

const UID = 1_879_200_000;
const BUILD = new URL('../../src/', import.meta.url).href;

/** A directory with a script `child.mjs`, that everybody may read. */
async function scriptIn(t: TestContext, body: string): Promise<string> {
  const directory = await temporaryDirectory(cleanups(t));
  const preamble = `import fs from 'node:fs';
    import { enterChild } from '${BUILD}daemon/child.js';
    import { SyncChannel } from '${BUILD}daemon/channel.js';\n`;
  fs.writeFileSync(path.join(directory, 'child.mjs'), preamble + body, { mode: 0o644 });
  return directory;
}

function start(t: TestContext, options: Partial<ChildOptions> & { directory: string }): Child {
  const child = spawnChild({
    role: 'server',
    script: 'child.mjs',
    user: { uid: UID, gid: UID + 1 },
    fds: ['channel'],
    ...options,
  });
  t.after(() => child.kill());
  return child;
}

/** Standard error of a child, to its end. */
function hearing(): { readonly hear: NonNullable<ChildOptions['hear']>; text(): Promise<string> } {
  let heard: Promise<string> = Promise.resolve('');
  return {
    hear: (stderr) => {
      heard = stderr.toArray().then((chunks) => Buffer.concat(chunks).toString());
    },
    text: () => heard,
  };
}

const REPORT = `
  const channel = new SyncChannel(3);
  const status = fs.readFileSync('/proc/self/status', 'utf8');
  const of = (key) => new RegExp('^' + key + ':[ \\t]*(.*)$', 'm').exec(status)[1];
  const links = {};
  for (const fd of fs.readdirSync('/proc/self/fd')) try { links[fd] = fs.readlinkSync('/proc/self/fd/' + fd); } catch {}
  channel.send({ uid: of('Uid'), gid: of('Gid'), groups: of('Groups'), caps: ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb'].map(of),
    nnp: of('NoNewPrivs'), net: fs.readlinkSync('/proc/self/ns/net'), devices: fs.readFileSync('/proc/self/net/dev', 'utf8'),
    env: process.env, links, cwd: process.cwd(), session: fs.readFileSync('/proc/self/stat', 'utf8').split(' ')[5], fsize: fs.readFileSync('/proc/self/limits', 'utf8').split('\\n').find((l) => l.startsWith('Max file size')) });
  channel.receive();
`;

test('a child has its user, no capability, an empty network and a built environment', async (t) => {
  process.env['NODE_OPTIONS'] = '--no-warnings';
  process.env['SECRET_OF_THE_PARENT'] = 'x';
  t.after(() => {
    delete process.env['NODE_OPTIONS'];
    delete process.env['SECRET_OF_THE_PARENT'];
  });
  const directory = await scriptIn(t, REPORT);
  const child = start(t, { directory, emptyNetwork: true, fileBytesMax: 4096, environment: { MORE: '1' } });
  const seen = (await child.channel?.receive()) as Record<string, unknown>;
  const none = '0'.repeat(16);
  assert.equal(seen['uid'], [UID, UID, UID, UID].join('\t'));
  assert.equal(seen['gid'], [UID + 1, UID + 1, UID + 1, UID + 1].join('\t'));
  assert.equal((seen['groups'] as string).trim(), '');
  assert.deepEqual(seen['caps'], [none, none, none, none, none]);
  assert.equal(seen['nnp'], '1');
  assert.notEqual(seen['net'], fs.readlinkSync('/proc/self/ns/net'));
  assert.deepEqual(
    (seen['devices'] as string).match(/^\s*\w+:/gm)?.map((name) => name.trim()),
    ['lo:'],
  );
  assert.equal(seen['cwd'], '/');
  assert.equal(seen['session'], `${child.pid}`);
  assert.match(seen['fsize'] as string, / 4096 +4096 /);
  assert.deepEqual(Object.keys(seen['env'] as object).sort(), [
    'LANG',
    'MORE',
    'PATH',
    'SECRETSFS_FDS',
    'SECRETSFS_PARENT',
    ...(process.env['TZ'] === undefined ? [] : ['TZ']),
  ]);
  const links = seen['links'] as Record<string, string>;
  assert.deepEqual([links['0'], links['1']], ['/dev/null', '/dev/null']);
  assert.match(links['3'] ?? '', /^socket:/);
  child.channel?.close();
  assert.equal((await child.exited).code, 0);
});

test('a root child keeps exactly the capabilities that it is given', async (t) => {
  const directory = await scriptIn(t, REPORT);
  const child = start(t, {
    directory,
    role: 'prober',
    user: undefined,
    capabilities: ['dac_override', 'fowner'],
  });
  const seen = (await child.channel?.receive()) as Record<string, unknown>;
  const both = '000000000000000a';
  assert.deepEqual(
    seen['caps'],
    [0, both, both, both, 0].map((each) => (each === 0 ? '0'.repeat(16) : each)),
  );
  assert.equal(seen['net'], fs.readlinkSync('/proc/self/ns/net'));
});

test('descriptors arrive in their order, from 3 on', async (t) => {
  const pipe = makePipe();
  const file = fs.openSync('/etc/hostname', 'r');
  t.after(() => {
    for (const fd of [pipe.readFd, pipe.writeFd, file]) fs.closeSync(fd);
  });
  const directory = await scriptIn(
    t,
    `enterChild({ role: 'agent', fds: [/hostname$/, /^pipe:/, /^socket:/] });
     fs.writeSync(4, 'through'); new SyncChannel(5).send({ done: true });`,
  );
  const child = start(t, { directory, role: 'agent', fds: [file, pipe.writeFd, 'channel'] });
  assert.deepEqual(await child.channel?.receive(), { done: true });
  const bytes = Buffer.alloc(20);
  assert.equal(bytes.toString('utf8', 0, fs.readSync(pipe.readFd, bytes)), 'through');
  assert.equal((await child.exited).code, 0);
});

test('enterChild() ends a child that holds a descriptor too many, or lacks one', async (t) => {
  const file = fs.openSync('/etc/hostname', 'r');
  t.after(() => fs.closeSync(file));
  const directory = await scriptIn(t, `enterChild({ role: 'agent', fds: [/^socket:/] });`);
  for (const [fds, why] of [
    [['channel', file], 'descriptor 4 is not ours'],
    [[file, 'channel'], 'descriptor 3 is not what it should be'],
  ] as const) {
    const log = hearing();
    const child = start(t, { directory, role: 'agent', fds, hear: log.hear });
    assert.deepEqual(await child.exited, { code: 78, signal: undefined });
    assert.equal(await log.text(), `secretsfs agent: cannot start: ${why}\n`);
  }
});

test('enterChild() closes the process to others of its user, to the debugger and to core dumps', async (t) => {
  const directory = await scriptIn(
    t,
    `enterChild({ role: 'server', fds: [/^socket:/] });
     const channel = new SyncChannel(3);
     channel.send({ fd: fs.readdirSync('/proc/self/fd').length > 3 }); channel.receive(); channel.receive();`,
  );
  const child = start(t, { directory });
  assert.deepEqual(await child.channel?.receive(), { fd: true });
  const same = ['--reuid', `${UID}`, '--regid', `${UID + 1}`, '--clear-groups', '--'];
  const look = exec('setpriv', [...same, 'ls', `/proc/${child.pid}/fd`]);
  await assert.rejects(look, /Permission denied/);
  assert.match(fs.readFileSync(`/proc/${child.pid}/limits`, 'utf8'), /Max core file size +0 +0/);
  process.kill(child.pid, 'SIGUSR1');
  await new Promise((resolve) => setTimeout(resolve, 100));
  const listening = fs.readFileSync(`/proc/${child.pid}/net/tcp`, 'utf8');
  assert.ok(!listening.includes(':240D '), 'the debugger listens on 9229');
  assert.ok(fs.existsSync(`/proc/${child.pid}`));
});

test('a child ends with its parent, also before it looked', async (t) => {
  const directory = await scriptIn(
    t,
    `enterChild({ role: 'server', fds: [/^socket:/] }); new SyncChannel(3).receive();`,
  );
  const log = hearing();
  const child = start(t, { directory, hear: log.hear, environment: { SECRETSFS_PARENT: '1' } });
  assert.equal((await child.exited).code, 78);
  assert.match(await log.text(), /its supervisor is gone/);
  // One that waits for nothing and looks at nothing: setpriv has seen to it.
  fs.writeFileSync(
    path.join(directory, 'deaf.mjs'),
    'Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);',
  );
  const parent = `const { spawnChild } = await import('${BUILD}daemon/children.js');
    const child = spawnChild({ role: 'server', script: 'deaf.mjs', directory: process.argv[1], user: undefined, fds: ['channel'] });
    process.stdout.write(String(child.pid)); setTimeout(() => process.kill(process.pid, 'SIGKILL'), 200);`;
  const { stdout } = await exec(process.execPath, ['--input-type=module', '-e', parent, directory]).catch(
    (error: { stdout: string }) => error,
  );
  for (let i = 0; i < 100 && runs(Number(stdout)); i += 1)
    await new Promise((resolve) => setTimeout(resolve, 20));
  const survived = runs(Number(stdout));
  if (survived) process.kill(Number(stdout), 'SIGKILL');
  assert.equal(survived, false);
});

function runs(pid: number): boolean {
  try {
    return !/\) Z /.test(fs.readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
}

test('the program beside the one that was started is taken, where its link leads now', async (t) => {
  const base = await temporaryDirectory(cleanups(t));
  for (const version of ['1', '2']) {
    fs.mkdirSync(path.join(base, version));
    const code = `process.exit(${version}0);`;
    fs.writeFileSync(path.join(base, version, 'child.mjs'), code);
    fs.writeFileSync(
      path.join(base, version, 'main.mjs'),
      `const { spawnChild } = await import('${BUILD}daemon/children.js');
       const fs = await import('node:fs');
       const start = () => spawnChild({ role: 'server', script: 'child.mjs', user: undefined, fds: ['channel'] }).exited;
       const first = await start();
       fs.unlinkSync('${base}/main.mjs'); fs.symlinkSync('2/main.mjs', '${base}/main.mjs');
       console.log(first.code, (await start()).code);`,
    );
  }
  fs.symlinkSync('1/main.mjs', path.join(base, 'main.mjs'));
  assert.equal((await exec(process.execPath, [path.join(base, 'main.mjs')])).stdout, '10 20\n');
});

test('a tool that is missing is named', () => {
  const before = process.env['PATH'];
  process.env['PATH'] = '/nowhere';
  try {
    assert.throws(
      () => spawnChild({ role: 'server', script: 'x', directory: '/', user: undefined, fds: ['channel'] }),
      (error) => error instanceof MountError && /setpriv is missing/.test(error.message),
    );
  } finally {
    process.env['PATH'] = before;
  }
});

test('a child whose log nobody reads, or nobody has any more, goes on', async (t) => {
  const directory = await scriptIn(
    t,
    `import { writeToLog } from '${BUILD}daemon/child.js';
     enterChild({ role: 'agent', fds: [/^socket:/] });
     const channel = new SyncChannel(3);
     for (;;) { for (let i = 0; i < 2000; i++) writeToLog('x'.repeat(1000) + '\\n'); channel.send({ wrote: true }); if (channel.receive() === undefined) break; }`,
  );
  let stderr: Readable | undefined;
  const child = start(t, { directory, role: 'agent', hear: (stream) => (stderr = stream.pause()) });
  assert.deepEqual(await child.channel.receive(), { wrote: true });
  stderr?.destroy();
  child.channel.send({ again: true });
  assert.deepEqual(await child.channel.receive(), { wrote: true });
  child.channel.end();
  assert.deepEqual(await child.exited, { code: 0, signal: undefined });
});
