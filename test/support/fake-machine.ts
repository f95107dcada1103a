/** A machine of texts for doctor's checks: what is not said of it is not there. */
import type { FileFacts, Machine, User } from '../../src/doctor/machine.ts';
import { type MountPlan, type Outside, Subject } from '../../src/doctor/subject.ts';
import type { SecretsfsError } from '../../src/errors.ts';

export interface FakeMachine extends Partial<Omit<Machine, 'read' | 'list' | 'stat' | 'user'>> {
  /** Path → text; directories follow from it. */
  readonly files?: Readonly<Record<string, string>>;
  readonly facts?: Readonly<Record<string, Partial<FileFacts>>>;
  readonly users?: readonly User[];
}

export function fakeMachine({ files = {}, facts = {}, users = [], ...rest }: FakeMachine): Machine {
  const below = (directory: string) =>
    Object.keys(files).flatMap((file) =>
      file.startsWith(`${directory}/`) ? [file.slice(directory.length + 1)] : [],
    );
  return {
    uid: 0,
    env: {},
    kernel: '6.12.0',
    read: async (file) => files[file],
    list: async (directory) =>
      [...new Set(below(directory === '/' ? '' : directory).map((name) => name.split('/')[0] ?? ''))].sort(),
    async stat(path) {
      const kind = files[path] !== undefined ? 'file' : below(path).length > 0 ? 'directory' : undefined;
      const known = facts[path];
      if (kind === undefined && known === undefined) return undefined;
      return { kind: kind ?? 'other', uid: 0, gid: 0, mode: 0o644, ...known };
    },
    openError: async () => undefined,
    untrusted: () => undefined,
    run: async () => ({ code: 0, stdout: 'fuseblk', stderr: '', found: true, timedOut: false }),
    has: async () => true,
    mounts: async () => [],
    memoryOf: async () => ({ headroom: undefined, swapExcluded: true }),
    pidfdProblem: () => undefined,
    user: async (name) => users.find((user) => user.name === name),
    statusAs: async () => undefined,
    ...rest,
  };
}

export function fakeSubject(
  machine: FakeMachine,
  {
    plan,
    outside,
    ...options
  }: {
    configError?: SecretsfsError;
    plan?: Partial<MountPlan>;
    outside?: Partial<Outside>;
    instance?: string;
    shippedUnit?: string;
    unitSets?: readonly string[];
    unitHides?: readonly string[];
  } = {},
): Subject {
  const refuse = () => {
    throw new Error('not asked in this test');
  };
  return new Subject({
    machine: fakeMachine(machine),
    outside: { cloud: refuse, status: refuse, open: refuse, nowMs: () => 0, ...outside },
    instance: options.instance ?? 'web',
    configPath: undefined,
    configError: options.configError,
    shippedUnit: options.shippedUnit,
    unitSets: options.unitSets ?? [],
    unitHides: options.unitHides ?? [],
    plan:
      plan === undefined
        ? undefined
        : {
            ...{
              mountpoint: '/srv/web',
              instance: 'web',
              preserve: false,
              allowSwap: false,
              runtimeDir: '/run/secretsfs',
            },
            opens: { rules: [], audit: false },
            ...{ stateDir: '/var/lib/secretsfs', parts: [], driver: 'kernel', uidBase: undefined, hooks: [] },
            ...plan,
          },
  });
}
