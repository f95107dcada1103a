/** What keeps plaintext off the disk, and whether there is room for it. */
import { parseLimit } from '../system/cgroups.ts';
import { type Check, ok, problem, type Verdict, warning } from './finding.ts';
import { type Subject, unitName } from './subject.ts';
import { lastOf, UNIT_DIRECTORIES, type Unit } from './units.ts';
import { formatMiB } from './words.ts';

const CORE_PATTERN = '/proc/sys/kernel/core_pattern';

/** Lines of /proc/swaps after its heading: what is swapped to. */
export function areasOf(swaps: string): string[] {
  return swaps
    .split('\n')
    .slice(1)
    .flatMap((line) => /^\S+/.exec(line)?.[0] ?? []);
}

export const swap: Check = {
  id: 'swap',
  area: 'memory',
  what: 'swap',
  async run(subject) {
    const { machine, plan, instance } = subject;
    const areas = areasOf((await machine.read('/proc/swaps')) ?? '');
    if (areas.length === 0) return ok('this machine has none');
    const found = `this machine swaps to ${areas.join(', ')}`;
    const running = await runningPid(subject);
    if (running !== undefined) {
      if ((await machine.memoryOf(running)).swapExcluded)
        return ok(`${found}; the control group of the mount may not use it`);
    }
    const why = await whyNotKept(subject);
    if (why === undefined) return ok(`${found}; the unit forbids it (MemorySwapMax=0)`);
    if (plan?.allowSwap === true)
      return warning(
        `${found}, ${why}, and allowSwap lets plaintext go there`,
        'swapoff -a; or take allowSwap out of the config and start it by its unit',
      );
    return problem(
      `${found}, and ${why}`,
      `swapoff -a; or, with cgroup v2, start it as systemctl start ${unitName(instance)}`,
    );
  },
};

async function whyNotKept(subject: Subject): Promise<string | undefined> {
  const unit = await subject.mountUnit();
  if (unit === undefined) return 'no unit is installed that would keep a mount out of it';
  const max = lastOf(unit, 'MemorySwapMax');
  if (max === undefined || parseLimit(max.value) !== 0)
    return `the unit does not forbid it (MemorySwapMax=${max?.value ?? ''})`;
  const mounts = await subject.machine.mounts();
  const controllers = mounts.find(({ fstype }) => fstype === 'cgroup2');
  const text =
    controllers === undefined
      ? ''
      : ((await subject.machine.read(`${controllers.mountpoint}/cgroup.controllers`)) ?? '');
  return text.split(/\s+/).includes('memory')
    ? undefined
    : 'cgroup v2 does not control memory here, so that MemorySwapMax=0 does nothing';
}

/** Of the supervisor. */
export async function runningPid(subject: Subject): Promise<number | undefined> {
  const status = await subject.status();
  return status === undefined || status instanceof Error ? undefined : status.pid;
}

export const hibernation: Check = {
  id: 'hibernation',
  area: 'memory',
  what: 'hibernation',
  async run({ machine }) {
    const states = (await machine.read('/sys/power/state')) ?? '';
    const modes = (await machine.read('/sys/power/disk')) ?? '';
    const areas = areasOf((await machine.read('/proc/swaps')) ?? '');
    if (!states.split(/\s+/).includes('disk') || modes.includes('[disabled]'))
      return ok('this machine can not');
    if (areas.length === 0) return ok('there is no swap to hibernate to');
    for (const directory of UNIT_DIRECTORIES) {
      // A link to /dev/null.
      if ((await machine.read(`${directory}/hibernate.target`)) === '')
        return ok('hibernate.target is masked');
      const guards = await machine.list(`${directory}/systemd-hibernate.service.requires`);
      const ours = guards.filter((name) => name.startsWith('secretsfs-'));
      if (ours.length > 0) return ok(`${ours.join(', ')} unmounts before it`);
    }
    return warning(
      'this machine can hibernate, which writes all memory to a disk, and nothing unmounts before',
      'cp systemd/secretsfs-hibernate.service /etc/systemd/system/; systemctl enable secretsfs-hibernate; or systemctl mask hibernate.target hybrid-sleep.target suspend-then-hibernate.target',
    );
  },
};

/** The mount's own processes can't be dumped; what reads it can, with the keys that it has read. */
export const corePattern: Check = {
  id: 'core-pattern',
  area: 'memory',
  what: 'core dumps',
  async run({ machine }) {
    const verdicts: Verdict[] = [];
    const pattern = ((await machine.read(CORE_PATTERN)) ?? '').trim();
    if (pattern.startsWith('|') && !(await keepsNothing(machine.read, pattern))) {
      const [program = ''] = pattern.slice(1).trim().split(' ');
      const isSystemd = program.endsWith('/systemd-coredump');
      verdicts.push(
        warning(
          `those of all programs go to ${JSON.stringify(program)}, whatever their limit says: of a reader of the mount, its keys too`,
          isSystemd
            ? "mkdir -p /etc/systemd/coredump.conf.d; printf '[Coredump]\\nStorage=none\\nProcessSizeMax=0\\n' > /etc/systemd/coredump.conf.d/none.conf"
            : 'sysctl -w kernel.core_pattern=core (and a file in /etc/sysctl.d that says so)',
        ),
      );
    }
    if (((await machine.read('/proc/sys/fs/suid_dumpable')) ?? '').trim() === '1')
      verdicts.push(
        warning(
          'fs.suid_dumpable is 1: what has changed its user, as a worker of nginx has, is dumped too',
          'sysctl -w fs.suid_dumpable=0',
        ),
      );
    return verdicts.length > 0
      ? verdicts
      : ok(`${JSON.stringify(pattern)}; no process of a mount is ever dumped`);
  },
};

const COREDUMP_DIRECTORIES = [
  '/etc/systemd/coredump.conf.d',
  '/run/systemd/coredump.conf.d',
  '/usr/lib/systemd/coredump.conf.d',
];

async function keepsNothing(
  read: (file: string) => Promise<string | undefined>,
  pattern: string,
): Promise<boolean> {
  if (!/\/systemd-coredump( |$)/.test(pattern)) return false;
  const files = [
    '/etc/systemd/coredump.conf',
    ...COREDUMP_DIRECTORIES.map((directory) => `${directory}/none.conf`),
  ];
  const texts = await Promise.all(files.map(read));
  return texts.some((text) => /^\s*Storage\s*=\s*none\s*$/m.test(text ?? ''));
}

/** A bundle is opened in three times its size: docs/cli-abi.md, memory-exceeded. */
const TIMES_CIPHERTEXT = 3;

export const headroom: Check = {
  id: 'memory-headroom',
  area: 'memory',
  what: 'memory for the next bundle',
  async run(subject) {
    const { machine, plan } = subject;
    if (plan === undefined) return undefined;
    const pid = await runningPid(subject);
    const left = pid === undefined ? undefined : (await machine.memoryOf(pid)).headroom;
    const available = availableOf((await machine.read('/proc/meminfo')) ?? '');
    const unit = await subject.mountUnit();
    const limit = pid === undefined && unit !== undefined ? unitLimit(unit) : undefined;
    const room = Math.min(...[left, available, limit].map((each) => each ?? Number.POSITIVE_INFINITY));
    let needed = 0;
    for (const part of plan.parts) {
      const [source] = part.sources;
      if (source === undefined) continue;
      const opened = await subject.opened(part, source).catch(() => undefined);
      needed = Math.max(needed, (opened?.bytes ?? 0) * TIMES_CIPHERTEXT);
    }
    const found = `${formatMiB(room)} can be had, the bundle as it is needs ${formatMiB(needed)} to be opened`;
    if (room >= needed) return ok(found);
    return problem(
      found,
      limit === room
        ? `raise MemoryMax= of ${unitName(subject.instance)}`
        : 'give the machine, or the control group, more memory; or pack smaller bundles',
    );
  },
};

function availableOf(meminfo: string): number | undefined {
  const kilobytes = /^MemAvailable:\s+(\d+) kB$/m.exec(meminfo)?.[1];
  return kilobytes === undefined ? undefined : Number(kilobytes) * 1024;
}

/** MemoryMax= and MemoryHigh=, systemd.resource-control(5): bytes, or with K, M, G, T; a percentage is not worked out. */
function unitLimit(unit: Unit): number | undefined {
  const limits = ['MemoryMax', 'MemoryHigh'].flatMap((key) => {
    const [, digits, suffix = ''] = /^(\d+)([KMGT]?)$/.exec(lastOf(unit, key)?.value ?? '') ?? [];
    return digits === undefined ? [] : [Number(digits) * 1024 ** ' KMGT'.indexOf(suffix || ' ')];
  });
  return limits.length === 0 ? undefined : Math.min(...limits);
}
