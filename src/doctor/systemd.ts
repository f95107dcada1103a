/** The unit of the mount: installed, as it was shipped, not undone by drop-ins; and that what reads the mount waits for it. */

import { type Check, ok, problem, type Verdict, warning } from './finding.ts';
import { readsMount } from './servers.ts';
import { type Subject, unitName } from './subject.ts';
import { type Assignment, lastOf, listOf, type Unit } from './units.ts';

const ADMIN = /^\/(etc|run)\//;

/** Where systemd does not rule there is nothing to say. */
async function hasSystemd({ machine }: Subject): Promise<boolean> {
  return (
    (await machine.stat('/usr/lib/systemd/system')) !== undefined ||
    (await machine.stat('/lib/systemd/system')) !== undefined
  );
}

export const unitInstalled: Check = {
  id: 'unit',
  area: 'systemd',
  what: 'unit',
  async run(subject) {
    if (subject.machine.uid !== 0 || !(await hasSystemd(subject))) return undefined;
    const unit = await subject.mountUnit();
    const name = unitName(subject.instance);
    if (unit === undefined)
      return warning(
        `there is no ${name}: nothing starts the mount at boot`,
        'cp systemd/secretsfs@.service /etc/systemd/system/; systemctl daemon-reload',
      );
    const { shippedUnit } = subject;
    if (shippedUnit !== undefined && unit.file.includes('@.') && unit.text.trim() !== shippedUnit.trim()) {
      const mend = ADMIN.test(unit.file)
        ? `rm ${unit.file}, or put the shipped one there; what you want otherwise: systemctl edit ${name}`
        : 'install the package again';
      return warning(
        `${unit.file} is not the one that this version ships`,
        `${mend}; systemctl daemon-reload`,
      );
    }
    return ok(unit.file);
  },
};

/** systemd.exec(5): each gives the unit a mount namespace of its own, unless it is off. */
const HIDING =
  /^(Root(Directory|Image)|Protect(System|Home|Proc|ControlGroups|Kernel(Tunables|Modules|Logs))|Private(Tmp|Devices|Mounts|Users)|ProcSubset|MountAPIVFS|MountImages|ExtensionImages|DynamicUser|TemporaryFileSystem|Bind(ReadOnly)?Paths|(ReadWrite|ReadOnly|Inaccessible|Exec|NoExec)Paths|MountFlags)$/;
const OFF = /^(no|false|off|0|default|all|)$/i;

interface Demand {
  readonly key: string;
  readonly wanted: RegExp;
  readonly why: string;
}
/** What else the shipped unit relies on. */
const DEMANDS: readonly Demand[] = [
  {
    key: 'Type',
    wanted: /^notify(-reload)?$/,
    why: 'what comes After= it starts before the files are there',
  },
  { key: 'MemorySwapMax', wanted: /^0$/, why: 'plaintext can be swapped out' },
  { key: 'LimitCORE', wanted: /^0(:0)?$/, why: 'a process could be dumped' },
  {
    key: 'KillMode',
    wanted: /^(process|mixed)$/,
    why: 'a stop ends the processes before they unmount and wipe',
  },
  { key: 'Restart', wanted: /^(always|on-failure)$/, why: 'nobody starts it again' },
  {
    key: 'OOMPolicy',
    wanted: /^continue$/,
    why: 'the whole mount ends where one process would have been replaced',
  },
  {
    key: 'FileDescriptorStoreMax',
    wanted: /^([3-9]|[1-9]\d+)$/,
    why: 'a restart, or the end of its main process, takes the mount away from its readers (want 3)',
  },
  { key: 'User', wanted: /^(root|0)$/, why: 'the kernel driver needs root' },
  { key: 'NotifyAccess', wanted: /^(main|exec|all)$/, why: 'systemd never hears that it is ready' },
  { key: 'PrivateNetwork', wanted: /^(no|false|off|0)$/i, why: 'S3 and KMS are out of reach' },
];
const HAS_DEFAULT = new Set(['User', 'PrivateNetwork']);

export const unitSettings: Check = {
  id: 'unit-settings',
  area: 'systemd',
  what: 'settings of the unit',
  async run(subject) {
    const unit = await subject.mountUnit();
    if (unit === undefined) return undefined;
    const bad = brokenBy(unit);
    if (bad.length > 0) return bad;
    const files = new Set(unit.assignments.map(({ file }) => file));
    return ok(files.size === 1 ? 'as they should be' : `as they should be, with ${files.size - 1} drop-ins`);
  },
};

/** A finding for each setting of a unit of ours that takes away what a mount needs. Pure. */
export function brokenBy(unit: Unit): Verdict[] {
  const keys = [
    ...new Set(unit.assignments.filter(({ section }) => section === 'Service').map(({ key }) => key)),
  ];
  const hiding = keys.filter((key) => HIDING.test(key)).flatMap((key) => lastOf(unit, key) ?? []);
  const verdicts = hiding
    .filter(({ value }) => !OFF.test(value))
    .map((each) =>
      problem(
        `${written(each)} hides the mount from everybody else: the unit gets mounts of its own`,
        mend(each),
      ),
    );
  for (const { key, wanted, why } of DEMANDS) {
    const last = lastOf(unit, key);
    if (last === undefined && HAS_DEFAULT.has(key)) continue;
    if (last !== undefined && wanted.test(last.value)) continue;
    verdicts.push(
      problem(
        last === undefined ? `${key}= is not set: ${why}` : `${written(last)}: ${why}`,
        mend(last ?? { file: unit.file, key }),
      ),
    );
  }
  return verdicts;
}

const written = ({ key, value, file }: Assignment) => `${key}=${value} of ${file}`;
const mend = ({ file, key }: Pick<Assignment, 'file' | 'key'>) =>
  `take ${key}= out of ${file}, or set it as shipped; systemctl daemon-reload; systemctl restart the unit`;

/** "secretsfs wait INSTANCE …", or without a name where there is but one. */
function asksFor(command: string, instance: string): boolean {
  const [, name] = /\bsecretsfs wait(?: ([^-\s]\S*))?/.exec(command) ?? ['', ' '];
  return name === undefined || name === instance;
}

export const order: Check = {
  id: 'order',
  area: 'systemd',
  what: 'what reads the mount starts after it',
  async run(subject) {
    const { instance, plan } = subject;
    if (plan === undefined || instance === undefined) return undefined;
    const name = unitName(instance);
    const verdicts: Verdict[] = [];
    for (const server of await readsMount(subject)) {
      const unit = await subject.unit(`${server}.service`);
      if (unit === undefined) continue;
      const requires = [...listOf(unit, 'Requires'), ...listOf(unit, 'BindsTo')].includes(name);
      const waits = listOf(unit, 'After').includes(name) && listOf(unit, 'Wants').includes(name);
      const asks = unit.assignments.some(
        ({ key, value }) => key === 'ExecStartPre' && asksFor(value, instance),
      );
      const dropIn = `/etc/systemd/system/${server}.service.d/secretsfs.conf`;
      const edit = `install -D -m 644 systemd/${server}-drop-in.conf ${dropIn}; sed -i 's/web/${instance}/g' ${dropIn}; systemctl daemon-reload`;
      if (requires)
        verdicts.push(warning(`${server} requires ${name}: each restart of the mount restarts it`, edit));
      else if (!waits)
        verdicts.push(
          warning(
            `${server} may start before the files are there: it has no After= and Wants= of ${name}`,
            edit,
          ),
        );
      else if (!asks)
        verdicts.push(
          warning(
            `${server} starts without its files where the mount failed: no ExecStartPre= of it waits`,
            edit,
          ),
        );
      else verdicts.push(ok(`${server} does`));
    }
    return verdicts;
  },
};
