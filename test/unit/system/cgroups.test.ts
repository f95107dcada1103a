import assert from 'node:assert/strict';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import {
  type CgroupSources,
  memoryHeadroom,
  memoryHierarchies,
  parseLimit,
  swapExcluded,
} from '../../../src/system/cgroups.ts';
import { type CgroupFiles, makeSwaplessCgroup } from '../../../src/system/own-cgroup.ts';
import { temporaryDirectory } from '../../support/temporary.ts';

const SWAP_HEADING = 'Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n';
const V1_MAX = '9223372036854771712';

/** A machine below a temporary directory; `files` are below its cgroup mount. */
async function machine(
  t: TestContext,
  options: {
    cgroup: string;
    mounts: (root: string) => string[];
    files?: Record<string, string>;
    swaps?: string;
  },
): Promise<CgroupSources & { root: string }> {
  const root = await temporaryDirectory(t);
  for (const [name, text] of Object.entries(options.files ?? {})) {
    await mkdir(path.join(root, path.dirname(name)), { recursive: true });
    await writeFile(path.join(root, name), text);
  }
  const texts = {
    cgroup: options.cgroup,
    mountinfo: options.mounts(root).join('\n'),
    swaps: SWAP_HEADING + (options.swaps ?? ''),
  };
  for (const [name, text] of Object.entries(texts)) await writeFile(path.join(root, `.${name}`), text);
  const at = (name: string) => path.join(root, `.${name}`);
  return { root, cgroup: at('cgroup'), mountinfo: at('mountinfo'), swaps: at('swaps') };
}

const v2 = (root: string) => [
  '22 1 0:20 / / rw - ext4 /dev/sda rw',
  `30 22 0:26 / ${root} rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate`,
];

test('memoryHierarchies() finds v2 and the v1 memory controller, as a container sees them', () => {
  const cgroup = '5:cpu,cpuacct:/a\n4:memory:/docker/abc/d\n1:name=systemd:/x\n0::/u.slice/s.service\n';
  const mountinfo = [
    '30 22 0:26 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw',
    '31 22 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct',
    '32 22 0:28 /docker/abc /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory',
  ].join('\n');
  const [v1, unified] = memoryHierarchies(cgroup, mountinfo);
  assert.deepEqual(v1, { version: 1, directories: ['/sys/fs/cgroup/memory/d', '/sys/fs/cgroup/memory'] });
  const top = '/sys/fs/cgroup/unified';
  assert.deepEqual(unified, {
    version: 2,
    directories: [`${top}/u.slice/s.service`, `${top}/u.slice`, top],
  });
  assert.deepEqual(memoryHierarchies('0::/../other\n', mountinfo), []);
  assert.deepEqual(memoryHierarchies('', ''), []);
});

test('memoryHeadroom() is the least that any ancestor leaves, its unused file pages counted as free', async (t) => {
  const files = {
    'a/b/memory.max': 'max\n',
    'a/b/memory.high': 'max\n',
    'a/b/memory.current': '100\n',
    'a/memory.max': '1000\n',
    'a/memory.high': 'max\n',
    'a/memory.current': '900\n',
    'a/memory.stat': 'anon 5\ninactive_file 300\nactive_file 400\n',
  };
  const sources = await machine(t, { cgroup: '0::/a/b\n', mounts: v2, files });
  assert.equal(await memoryHeadroom(sources), 400);
  await writeFile(path.join(sources.root, 'a/b/memory.high'), '350\n');
  assert.equal(await memoryHeadroom(sources), 250);
  await writeFile(path.join(sources.root, 'a/b/memory.current'), '5000\n');
  assert.equal(await memoryHeadroom(sources), 0);
});

test('memoryHeadroom() knows the limit of v1 from its "no limit"', async (t) => {
  const mounts = (root: string) => [`32 22 0:28 / ${root} rw - cgroup cgroup rw,memory`];
  const files = {
    'g/memory.limit_in_bytes': `${V1_MAX}\n`,
    'g/memory.usage_in_bytes': '10\n',
    'memory.limit_in_bytes': `${V1_MAX}\n`,
    'memory.usage_in_bytes': '10\n',
    'memory.stat': 'inactive_file 1\ntotal_inactive_file 200\n',
  };
  const sources = await machine(t, { cgroup: '4:memory:/g\n', mounts, files });
  assert.equal(await memoryHeadroom(sources), undefined);
  await writeFile(path.join(sources.root, 'memory.limit_in_bytes'), '1000\n');
  await writeFile(path.join(sources.root, 'memory.usage_in_bytes'), '700\n');
  assert.equal(await memoryHeadroom(sources), 500);
});

test('swapExcluded() wants no swap area, or a v2 group of ours that may use none', async (t) => {
  const options = {
    cgroup: '0::/a/b\n',
    mounts: v2,
    files: { 'a/memory.swap.max': 'max\n', 'a/b/x': '' },
  };
  assert.equal(await swapExcluded(await machine(t, options)), true);
  const sources = await machine(t, { ...options, swaps: '/dev/sda2 partition 1 0 -2\n' });
  assert.equal(await swapExcluded(sources), false);
  await writeFile(path.join(sources.root, 'a/memory.swap.max'), '0\n');
  assert.equal(await swapExcluded(sources), true);
});

test('parseLimit() takes a number and nothing else', () => {
  assert.deepEqual(
    ['0\n', '12', 'max\n', '', '-1', '1x'].map((text) => parseLimit(text)),
    [0, 12, undefined, undefined, undefined, undefined],
  );
});

/** The kernel's rules for the few files that matter, over an object. */
class FakeCgroups implements CgroupFiles {
  readonly files = new Map<string, string>();
  readonly directories = new Set(['/c', '/c/own']);
  delegated = true;
  where = '/c/own';
  /** Others in the same group as we. */
  others: string[] = [];
  refuses: string | undefined;
  readonly steps: string[] = [];

  async read(file: string): Promise<string> {
    if (file === 'cgroup') return `0::${this.where.slice(2) || '/'}\n`;
    if (file === 'mountinfo') return '1 0 0:1 / /c rw - cgroup2 none rw';
    return this.files.get(file) ?? (file.endsWith('subtree_control') ? '' : this.#missing());
  }

  async write(file: string, text: string): Promise<void> {
    this.steps.push(`${file}=${text}`);
    if (file === this.refuses) throw new Error('EINVAL');
    const directory = path.dirname(file);
    if (file.endsWith('cgroup.procs')) {
      if (this.files.get(`${directory}/cgroup.subtree_control`) === 'memory') throw new Error('EBUSY');
      this.where = directory;
    } else if (text === '+memory') {
      if (this.where === directory || this.others.includes(directory)) throw new Error('EBUSY');
      this.files.set(file, 'memory');
    } else if (text === '-memory') this.files.delete(file);
    else if (this.files.get(`${path.dirname(directory)}/cgroup.subtree_control`) === 'memory')
      this.files.set(file, text);
    else this.#missing();
  }

  async mkdir(directory: string): Promise<void> {
    this.directories.add(directory);
  }

  async rmdir(directory: string): Promise<void> {
    if (this.where === directory || this.others.includes(directory)) throw new Error('EBUSY');
    this.directories.delete(directory);
  }

  async isDelegated(): Promise<boolean> {
    return this.delegated;
  }

  #missing(): never {
    throw Object.assign(new Error('ENOENT'), { code: 'ENOENT' });
  }
}

const fakeSources = { cgroup: 'cgroup', mountinfo: 'mountinfo', swaps: '' };

test('makeSwaplessCgroup() moves the process first, and undoes everything in remove()', async () => {
  const fake = new FakeCgroups();
  const own = await makeSwaplessCgroup('web', 7, fakeSources, fake);
  assert.equal(own?.directory, '/c/own/secretsfs-web');
  assert.equal(fake.where, own.directory);
  assert.equal(fake.files.get('/c/own/secretsfs-web/memory.swap.max'), '0');
  fake.others = [own.directory];
  assert.equal(await own.remove(), false);
  fake.others = [];
  assert.equal(await own.remove(), true);
  assert.deepEqual([fake.where, fake.directories.has(own.directory)], ['/c/own', false]);
  assert.equal(fake.files.has('/c/own/cgroup.subtree_control'), false);
});

test('makeSwaplessCgroup() leaves nothing behind where it does not work', async () => {
  for (const spoil of [
    (fake: FakeCgroups) => fake.others.push('/c/own'),
    (fake: FakeCgroups) => {
      fake.refuses = '/c/own/secretsfs-web/memory.swap.max';
    },
    (fake: FakeCgroups) => {
      fake.delegated = false;
    },
    (fake: FakeCgroups) => {
      fake.refuses = '/c/own/secretsfs-web/cgroup.procs';
    },
  ]) {
    const fake = new FakeCgroups();
    spoil(fake);
    assert.equal(await makeSwaplessCgroup('web', 7, fakeSources, fake), undefined);
    assert.deepEqual([fake.where, [...fake.directories]], ['/c/own', ['/c', '/c/own']]);
    assert.equal(fake.files.size, 0);
  }
});

test('makeSwaplessCgroup() on this machine works or leaves it as it was', async () => {
  const before = await readFile('/proc/self/cgroup', 'utf8');
  const own = await makeSwaplessCgroup(`test-${process.pid}`);
  if (own !== undefined) {
    assert.equal(await readFile(path.join(own.directory, 'memory.swap.max'), 'utf8'), '0\n');
    assert.equal(await own.remove(), true);
  }
  assert.equal(await readFile('/proc/self/cgroup', 'utf8'), before);
});
