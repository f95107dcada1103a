/** Agent and unsealer as the supervisor starts them: as users who may open nothing, with their descriptors alone. */
import assert from 'node:assert/strict';
import { closeSync, openSync, readFileSync, statSync } from 'node:fs';
import { chmod, rename, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { writeArchive } from '../../src/bundle/archive.ts';
import { DEFAULT_CHECKS } from '../../src/checks/settings.ts';
import { ask } from '../../src/control/client.ts';
import { makeSocketDirectory } from '../../src/control/directory.ts';
import { AgentLink, type AgentOperations, type AgentTask } from '../../src/daemon/agent-channel.ts';
import { type ChildOptions, spawnChild } from '../../src/daemon/children.ts';
import { FILES_VARIABLE, unseal } from '../../src/daemon/unsealer-channel.ts';
import { Generation, inMemory } from '../../src/generation/generation.ts';
import { FileSource } from '../../src/source/file.ts';
import { listenUnix } from '../../src/system/sockets.ts';
import { KEY, sealTest } from '../support/bundles.ts';
import { file } from '../support/entries.ts';
import { REPOSITORY } from '../support/paths.ts';
import { eventually } from '../support/program.ts';
import { temporaryDirectory } from '../support/temporary.ts';

const task = (location: string, known: AgentTask['parts'][number]['known']): AgentTask => ({
  parts: [{ sources: [{ location, aws: {} }], pollMs: 1000, spreadMs: 0, queue: null, aws: {}, known }],
  statusSocket: false,
  metrics: { listen: null, fileLabels: false },
});
const USER = { name: '1879048192', uid: 0x70000000, gid: 0x70000000 };
const PROGRAMS = path.join(REPOSITORY, 'build', 'src', 'processes');

function start(t: TestContext, options: Pick<ChildOptions, 'role' | 'script' | 'fds' | 'environment'>) {
  assert.equal(process.getuid?.(), 0, 'this needs root: processes of other users are started');
  const child = spawnChild({ ...options, directory: PROGRAMS, user: USER });
  t.after(async () => {
    child.kill();
    await child.exited;
  });
  const { channel } = child;
  assert.ok(channel !== undefined);
  return { ...child, channel };
}

/** A bundle and its key that root alone may open. */
async function setUp(t: TestContext) {
  const place = await temporaryDirectory(t);
  const at = (name: string) => path.join(place, name);
  await chmod(place, 0o755);
  await writeFile(at('key'), KEY, { mode: 0o400 });
  await writeFile(at('web.enc'), await sealTest(await writeArchive([file('a', 'plain')])), { mode: 0o400 });
  const open = (name: string, flags: string) => {
    const fd = openSync(name.startsWith('/') ? name : at(name), flags);
    t.after(() => closeSync(fd));
    return fd;
  };
  return { at, open };
}

test('an unsealer of another user opens what root alone may, through its descriptors', async (t) => {
  const { at, open } = await setUp(t);
  const unsealer = start(t, {
    role: 'unsealer',
    script: 'unsealer.js',
    fds: [
      'channel',
      open('image', 'w+'),
      open('changes', 'w'),
      open('/dev/null', 'r'),
      open('web.enc', 'r'),
      open('key', 'r'),
    ],
    environment: { [FILES_VARIABLE]: '2' },
  });
  const result = await unseal(
    unsealer,
    {
      location: at('web.enc'),
      bundleFile: 7,
      keepFile: null,
      knownRevision: null,
      revision: null,
      sourceAws: {},
      liveSha256: null,
      floor: null,
      name: 'web',
      context: {},
      formats: [],
      acceptedKeys: [`local:${at('key')}`],
      keyFiles: { [at('key')]: 8 },
      supervisorUid: 0,
      bytesMax: 1_000_000,
      filesMax: 100,
      preserve: false,
      checks: DEFAULT_CHECKS,
      rules: [],
      owner: { uid: 0, gid: 0 },
      aws: {},
      generationId: 1,
      memory: { availableBytes: null, heldBytes: 0, maxBytes: null },
    },
    { timeoutMs: 30_000, silenceMs: 30_000, signal: new AbortController().signal },
  );
  assert.equal(result.outcome, 'opened');
  const image = readFileSync(at('image'));
  assert.equal(Generation.open(image, inMemory(image)).files, 1);
  assert.equal((await unsealer.exited).code, 0);
});

test('an unsealer that holds a descriptor more than it should does not begin', async (t) => {
  const { open } = await setUp(t);
  const fds = ['channel' as const, open('image', 'w+'), open('changes', 'w'), open('/dev/null', 'r')];
  const unsealer = start(t, { role: 'unsealer', script: 'unsealer.js', fds: [...fds, open('key', 'r')] });
  assert.equal((await unsealer.exited).code, 78);
});

test('an agent of another user answers on sockets of root, sees a bundle that it may not read change, and ends with its supervisor', async (t) => {
  const { at, open } = await setUp(t);
  const runtimeDir = at('run');
  const directory = await makeSocketDirectory(runtimeDir, 'web', 0);
  const controlFd = listenUnix(path.join(directory, 'control.sock'), 0o600, 0, 0);
  const metricsFd = listenUnix(path.join(directory, 'metrics.sock'), 0o600, 0, 0);
  t.after(() => closeSync(controlFd));
  t.after(() => closeSync(metricsFd));
  const agent = start(t, {
    role: 'agent',
    script: 'agent.js',
    fds: ['channel', controlFd, open('/dev/null', 'r'), metricsFd],
  });
  const events: string[] = [];
  const revision = (await new FileSource(at('web.enc')).fetch({ bytesMax: 1e6 }))?.revision ?? '';
  const operations = {
    upgrade: async () => ({ replaced: ['server'], processes: [] }),
  } as unknown as AgentOperations;
  const link = new AgentLink(agent.channel, task(at('web.enc'), [{ revision, is: 'live' }]), operations, {
    looked: ([look]) => events.push(look?.outcome ?? 'nothing'),
    noticing: () => undefined,
    closed: (why) => events.push(why),
    bug: (error) => events.push(String(error)),
  });
  await eventually(async () => assert.deepEqual(events, ['same']));
  assert.deepEqual((await ask(runtimeDir, 'web', 'upgrade', 5000)).replaced, ['server']);
  await writeFile(at('new'), readFileSync(at('web.enc')), { mode: 0o400 });
  await rename(at('new'), at('web.enc'));
  // Sooner than a poll.
  await eventually(async () => assert.deepEqual(events, ['same', 'changed']), 5_000);
  link.close();
  assert.equal((await agent.exited).code, 0);
  assert.ok(statSync(path.join(directory, 'control.sock')).isSocket());
});

test('an agent that is killed takes nothing with it: the next one answers on the same socket', async (t) => {
  const { at, open } = await setUp(t);
  const directory = await makeSocketDirectory(at('run'), 'web', 0);
  const controlFd = listenUnix(path.join(directory, 'control.sock'), 0o600, 0, 0);
  const metricsFd = listenUnix(path.join(directory, 'metrics.sock'), 0o600, 0, 0);
  t.after(() => closeSync(controlFd));
  t.after(() => closeSync(metricsFd));
  const closed: string[] = [];
  const link = () => {
    const agent = start(t, {
      role: 'agent',
      script: 'agent.js',
      fds: ['channel', controlFd, open('/dev/null', 'r'), metricsFd],
    });
    new AgentLink(
      agent.channel,
      task(at('web.enc'), []),
      { upgrade: async () => ({ replaced: [`${agent.pid}`], processes: [] }) } as unknown as AgentOperations,
      {
        looked: () => undefined,
        noticing: () => undefined,
        closed: (why) => closed.push(why),
        bug: (error) => assert.fail(String(error)),
      },
    );
    return agent;
  };
  const first = link();
  const asked = () => ask(at('run'), 'web', 'upgrade', 20_000).then(({ replaced }) => replaced[0]);
  assert.equal(await asked(), `${first.pid}`);
  first.kill();
  await first.exited;
  await eventually(async () => assert.deepEqual(closed, ['the other side is gone']));
  // Whoever connects meanwhile waits in the socket's queue.
  const waiting = asked();
  const second = link();
  assert.equal(await waiting, `${second.pid}`);
});
