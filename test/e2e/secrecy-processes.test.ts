/** Each process of a mount is what it is said to be (docs/architecture.md): user, privileges, descriptors, namespaces. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import {
  closeSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statfsSync,
  statSync,
} from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { derivedUidBase } from '../../src/system/process-users.ts';
import { allPids, read } from '../support/machine.ts';
import { must } from '../support/program.ts';
import { canary, isAlive, type MountProcess, SecretMount, secretFile } from '../support/secret-mount.ts';

const INTRUDER = fileURLToPath(new URL('../support/intruder.js', import.meta.url));
const BASE = derivedUidBase('web');
const USERS = { server: BASE, agent: BASE + 1, unsealer: BASE + 2, nobody: 65534, stranger: 23_459 };
const RAMFS_MAGIC = 0x858458f6;
/** CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER. */
const TELLER_CAPABILITIES = '000000000000000e';
/** With CAP_SYS_CHROOT, which it needed: without the right to gain privileges it gives nothing. */
const TELLER_BOUND = '000000000004000e';
const NONE = '0000000000000000';
const SETTLE_MS = 700;

const FUSE = /^\/dev\/fuse$/;
const SOCKET = /^socket:/;
const DIRECTORY = /^\/$/;
/** Of descriptor 3 and those that follow. */
const DESCRIPTORS: Readonly<Record<string, readonly RegExp[]>> = {
  server: [FUSE, DIRECTORY, SOCKET],
  successor: [FUSE, DIRECTORY, SOCKET],
  prober: [DIRECTORY, SOCKET],
  // The mount was its descriptor 3 until it was its root directory.
  teller: [/^($|anon_inode:|pipe:|\/dev\/null$)/, SOCKET],
  notifier: [FUSE, SOCKET],
  // Channel, control, in place of a status socket nothing, metrics.
  agent: [SOCKET, SOCKET, /^\/dev\/null$/, SOCKET],
  // Candidate, changes, previous, bundle (perhaps put anew meanwhile), key.
  unsealer: [
    SOCKET,
    /^\/candidate-\d+$/,
    /^\/changes-\d+$/,
    /^\/gen-\d+$/,
    /\/web\.enc( \(deleted\))?$/,
    /\/key$/,
  ],
};
/** Node's own, and images that the server has open for reading. An agent watches files and may talk to AWS. */
const FURTHER: Readonly<Record<string, RegExp>> = {
  server: /^(anon_inode:|pipe:|\/dev\/null$|\/proc$|\/gen-\d+( \(deleted\))?$)/,
  successor: /^(anon_inode:|pipe:|\/dev\/null$|\/proc$|\/gen-\d+( \(deleted\))?$)/,
  agent: /^(anon_inode:|pipe:|\/dev\/null$|socket:)/,
  prober: /^\/dev\/null$|\/prober\.sh$/,
};
const NODES_OWN = /^(anon_inode:|pipe:|\/dev\/null$)/;
const ENVIRONMENT = /^(PATH|LANG|TZ|SECRETSFS_PARENT|SECRETSFS_FDS)$/;
const ENVIRONMENT_OF_SERVER =
  /^(PATH|LANG|TZ|SECRETSFS_PARENT|SECRETSFS_FDS|SECRETSFS_RULES|SECRETSFS_OPENS)$/;
// glibc cuts its tunables into pieces where they stand.
const ENVIRONMENT_OF_AWS =
  /^(PATH|LANG|TZ|SECRETSFS_PARENT|SECRETSFS_FDS|SECRETSFS_FILES|HOME|AWS_\w+|\w+_(PROXY|proxy)|GLIBC_TUNABLES|glibc\.[\w.]+)$/;

function statusOf(pid: number): Record<string, string> {
  const lines = read(`/proc/${pid}/status`).toString().split('\n');
  return Object.fromEntries(
    lines.map((line) => {
      const [name = '', value = ''] = line.split(/:\s*/, 2);
      return [name, value.trim().replaceAll('\t', ' ')];
    }),
  );
}

function links(pid: number): Map<number, string> {
  const found = new Map<number, string>();
  for (const name of readdirSync(`/proc/${pid}/fd`)) {
    try {
      found.set(Number(name), readlinkSync(`/proc/${pid}/fd/${name}`));
    } catch {
      // Closed meanwhile.
    }
  }
  return found;
}

/** All of a mount's, and an unsealer that is stopped in the middle. */
async function allProcesses(mount: SecretMount): Promise<MountProcess[]> {
  const unsealer = await mount.stoppedUnsealer(canary());
  return [...(await mount.processes()), { role: 'unsealer', pid: unsealer }];
}

function userOf(role: string): number {
  if (role === 'successor' || role === 'notifier') return USERS.server;
  return USERS[role as keyof typeof USERS] ?? 0;
}

test('users, privileges, descriptors, namespaces and limits of every process are as designed', async (t) => {
  const { pid } = process;
  await must('prlimit', ['--pid', `${pid}`, '--core=unlimited:unlimited']);
  const foreign = openSync('/etc/passwd', 'r');
  const mount = await SecretMount.start(t, {
    notifier: true,
    entries: secretFile(canary()),
    leaked: { fd: foreign, leakedAs: 33 },
  });
  closeSync(foreign);
  const outside = readlinkSync('/proc/self/ns/net');
  for (const { role, pid } of await allProcesses(mount)) {
    const status = statusOf(pid);
    const of = (...names: string[]) => names.map((name) => status[name]);
    const uid = userOf(role);
    const four = Array(4).fill(uid).join(' ');
    assert.deepEqual(of('Uid', 'Gid', 'Groups'), [four, four, ''], role);
    assert.equal(statSync(`/proc/${pid}/mem`).uid, 0, `${role} can be looked into by its own user`);
    assert.match(read(`/proc/${pid}/limits`).toString(), /Max core file size +0 +0 /, role);
    assert.equal(
      readlinkSync(`/proc/${pid}/ns/net`) === outside,
      /supervisor|agent|unsealer/.test(role),
      role,
    );
    if (role === 'supervisor') continue;

    assert.deepEqual(of('CapInh', 'CapAmb', 'NoNewPrivs'), [NONE, NONE, '1'], role);
    const capabilities =
      role === 'teller' ? [TELLER_CAPABILITIES, TELLER_CAPABILITIES, TELLER_BOUND] : [NONE, NONE, NONE];
    assert.deepEqual(of('CapEff', 'CapPrm', 'CapBnd'), capabilities, role);
    const fds = links(pid);
    const named = DESCRIPTORS[role] ?? [];
    for (const [i, expected] of named.entries()) assert.match(fds.get(3 + i) ?? '', expected, role);
    // A shell that reads has its channel there, too.
    assert.match(fds.get(0) ?? '', role === 'prober' ? /^(socket:|\/dev\/null$)/ : /^\/dev\/null$/, role);
    assert.equal(fds.get(1), '/dev/null', role);
    for (const [fd, target] of fds) {
      if (fd >= 3 + named.length) assert.match(target, FURTHER[role] ?? NODES_OWN, `${role}: ${fd}`);
    }
    if (!/agent|unsealer/.test(role)) {
      const devices = read(`/proc/${pid}/net/dev`).toString().trim().split('\n').slice(2);
      assert.deepEqual(
        devices.map((line) => line.trim().split(':')[0]),
        ['lo'],
        role,
      );
      // And that is down: not even 127.0.0.1 can be reached.
      assert.equal(read(`/proc/${pid}/net/if_inet6`).toString(), '', role);
    }
  }
});

test('when memory runs out the supervisor goes last, and an unsealer first', async (t) => {
  const mount = await SecretMount.start(t, { notifier: true, entries: secretFile(canary()) });
  const scores = new Map<string, number>();
  for (const { role, pid } of await allProcesses(mount)) {
    scores.set(role, Number(read(`/proc/${pid}/oom_score_adj`).toString()));
  }
  const text = JSON.stringify([...scores]);
  const supervisor = scores.get('supervisor') as number;
  for (const [, score] of scores) assert.ok(score >= supervisor, text);
  assert.equal(scores.get('unsealer'), 800, text);
  assert.equal(scores.get('agent'), 300, text);
  // Below zero is a privilege (CAP_SYS_RESOURCE): where it is not had, what stands above is all there is.
  const allowed = (BigInt(`0x${statusOf(process.pid)['CapEff']}`) & (1n << 24n)) !== 0n;
  assert.equal(supervisor, allowed ? -1000 : 0, text);
  for (const role of ['server', 'successor', 'prober', 'teller', 'notifier']) {
    assert.equal(scores.get(role), allowed ? -800 : 0, text);
  }
});

test('the store is in no mount table, and no other user gets at it, at the mount or at a process', async (t) => {
  const mount = await SecretMount.start(t, { notifier: true, entries: secretFile(canary()) });
  const processes = await mount.processes();
  const pids = processes.map(({ pid }) => `${pid}`);
  const stores = [...links(mount.supervisor).keys()].filter((fd) => {
    return statfsSync(`/proc/${mount.supervisor}/fd/${fd}`).type === RAMFS_MAGIC;
  });
  assert.ok(stores.length > 0);
  const device = (path: string) => {
    const { dev } = statSync(path);
    return ` ${dev >> 8}:${dev & 0xff} `;
  };
  const store = device(`/proc/${mount.supervisor}/fd/${stores[0]}`);
  const tables = allPids().map((pid) => read(`/proc/${pid}/mountinfo`).toString());
  assert.equal(tables.filter((table) => table.includes(store)).length, 0);
  // The control: what is mounted is there.
  assert.ok(tables.filter((table) => table.includes(mount.mountpoint)).length > 0);

  for (const [name, uid] of Object.entries(USERS)) {
    const found = await must(process.execPath, [INTRUDER, `${uid}`, mount.path('secret'), ...pids]);
    assert.deepEqual(JSON.parse(found), [], name);
  }
  // The control: root can.
  const found: string[] = JSON.parse(
    await must(process.execPath, [INTRUDER, '0', mount.path('secret'), ...pids]),
  );
  for (const { role, pid } of processes) {
    if (role === 'teller' && !isAlive(pid)) continue;
    assert.ok(found.includes(`${pid} mem`) && found.includes(`${pid} ptrace`), role);
  }
  assert.ok(found.includes('file'));
  assert.ok(found.some((way) => /fd\/\d+\/gen-1$/.test(way)));
});

/** Ports and unix sockets that the process listens on. */
function listening(pid: number): string[] {
  const inodes = new Set([...links(pid).values()].map((link) => /^socket:\[(\d+)\]$/.exec(link)?.[1]));
  return ['tcp', 'tcp6']
    .flatMap((table) => read(`/proc/${pid}/net/${table}`).toString().split('\n').slice(1))
    .map((line) => line.trim().split(/\s+/))
    .filter((fields) => fields[3] === '0A' && inodes.has(fields[9]))
    .map((fields) => fields[1] ?? '');
}

test('SIGUSR1 opens no debugger in any process, and ends none', async (t) => {
  const mount = await SecretMount.start(t, { notifier: true, entries: secretFile(canary()) });
  const processes = await allProcesses(mount);
  for (const { pid } of processes) process.kill(pid, 'SIGUSR1');
  for (const { role, pid } of processes) if (role === 'unsealer') process.kill(pid, 'SIGCONT');
  for (let i = 0; i < 10; i++) {
    await sleep(SETTLE_MS / 10);
    for (const { role, pid } of processes) {
      if (role === 'unsealer' && !isAlive(pid)) continue;
      assert.ok(isAlive(pid), `${role} ended`);
      assert.deepEqual(listening(pid), [], role);
    }
  }
  await mount.daemon.event('activated', 3);
  assert.deepEqual(
    await mount.processes(),
    processes.filter(({ role }) => role !== 'unsealer'),
  );

  const control = spawn(process.execPath, ['-e', 'console.log(1); setInterval(() => 0, 1000)'], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  mount.bench.after(async () => control.kill('SIGKILL'));
  await new Promise((resolve) => control.stdout.once('data', resolve));
  control.kill('SIGUSR1');
  await sleep(SETTLE_MS);
  assert.equal(listening(control.pid as number).length, 1);
});

test('what changes programs from outside (NODE_OPTIONS, LD_*) reaches no child', async (t) => {
  const directory = mkdtempSync(path.join(tmpdir(), 'secretsfs-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const loaded = path.join(directory, 'loaded');
  await writeFile(loaded, '');
  await writeFile(
    path.join(directory, 'foreign.cjs'),
    `require('node:fs').appendFileSync(${JSON.stringify(loaded)}, process.pid + '\\n');`,
  );
  const mount = await SecretMount.start(t, {
    notifier: true,
    entries: secretFile(canary()),
    env: {
      NODE_OPTIONS: `--require=${path.join(directory, 'foreign.cjs')}`,
      LD_LIBRARY_PATH: directory,
      LD_PRELOAD: '',
      MALLOC_PERTURB_: '1',
      AWS_REGION: 'eu-west-1',
      HTTPS_PROXY: 'http://127.0.0.1:9',
      UNRELATED: 'word',
    },
  });
  for (const { role, pid } of await allProcesses(mount)) {
    if (role === 'supervisor') continue;
    const names = read(`/proc/${pid}/environ`)
      .toString()
      .split('\0')
      .filter(Boolean)
      .map((pair) => pair.slice(0, pair.indexOf('=')));
    const wanted = /agent|unsealer/.test(role)
      ? ENVIRONMENT_OF_AWS
      : /server|successor/.test(role)
        ? ENVIRONMENT_OF_SERVER
        : ENVIRONMENT;
    for (const name of names) assert.match(name, wanted, role);
    // The control: what is let through is there.
    assert.equal(names.includes('AWS_REGION'), /agent|unsealer/.test(role), role);
  }
  // Whoever starts the supervisor decides what that one loads, and nothing else is loaded anywhere.
  assert.equal((await readFile(loaded, 'utf8')).trim(), `${mount.supervisor}`);
  assert.ok(readFileSync(`/proc/${mount.supervisor}/environ`).includes('UNRELATED=word'));
});
