/** Whether this machine can mount: the device, fusermount's configuration, the kernel, the programs that a mount starts. */
import { type Check, ok, problem, warning } from './finding.ts';
import type { Subject } from './subject.ts';

const DEVICE = '/dev/fuse';
const FUSE_CONF = '/etc/fuse.conf';
/** fsopen(2) came with 5.2; the protocol that the kernel driver speaks at least, 7.31, with 5.4. */
const KERNEL_MIN = 504;
const RESEND_FROM = 609;

export const fuseDevice: Check = {
  id: 'fuse-device',
  area: 'machine',
  what: DEVICE,
  async run({ machine }) {
    const facts = await machine.stat(DEVICE);
    const again = `rm -rf ${DEVICE}; mknod -m 0666 ${DEVICE} c 10 229`;
    if (facts !== undefined && facts.kind !== 'other')
      return problem(`it is a ${facts.kind}, and no device`, again);
    const why = await machine.openError(DEVICE);
    if (why === undefined) return ok('it is there and can be opened');
    if (why === 'EACCES' || why === 'EPERM')
      return problem(
        'this user may not open it',
        `chmod 0666 ${DEVICE}; of a container: docker run --device ${DEVICE}`,
      );
    if (why === 'ENOENT' || why === 'ENXIO' || why === 'ENODEV')
      return problem(
        why === 'ENOENT' ? 'it is not there' : 'it is there, and the kernel has no FUSE behind it',
        `modprobe fuse; of a container: docker run --device ${DEVICE}`,
      );
    return problem(`it can't be opened: ${why}`, again);
  },
};

/** As root fuse-native mounts for everybody, and mount(2) does not look at fuse.conf. */
export const fuseConf: Check = {
  id: 'fuse-conf',
  area: 'machine',
  what: FUSE_CONF,
  async run({ machine, plan }) {
    if (plan?.driver !== 'fuse-native' || machine.uid === 0) return undefined;
    const text = (await machine.read(FUSE_CONF)) ?? '';
    if (allowsOthers(text)) return ok('user_allow_other is set');
    return warning(
      'user_allow_other is not set: only the user of the mount can read it',
      `echo user_allow_other | sudo tee -a ${FUSE_CONF}`,
    );
  },
};

export function allowsOthers(text: string): boolean {
  return text.split('\n').some((line) => line.trim() === 'user_allow_other');
}

export const kernel: Check = {
  id: 'kernel',
  area: 'machine',
  what: 'kernel',
  async run(subject) {
    const { machine, plan } = subject;
    const version = versionOf(machine.kernel);
    const found = `Linux ${machine.kernel}`;
    if (version < KERNEL_MIN && plan?.driver !== 'fuse-native')
      return problem(
        `${found}: the kernel driver needs 5.4`,
        'boot a newer kernel, or set driver: fuse-native',
      );
    const pidfd = machine.pidfdProblem();
    if (pidfd !== undefined)
      return problem(
        `${found}: pidfd_open(2) fails: ${pidfd}`,
        'boot a kernel from 5.3 on; in a container let seccomp pass pidfd_open',
      );
    return ok(`${found}: ${(await featuresOf(subject, version)).join(', ')}`);
  },
};

async function featuresOf(subject: Subject, version: number): Promise<string[]> {
  const status = await subject.status();
  const negotiated = status === undefined || status instanceof Error ? undefined : status.negotiated;
  const resend = negotiated?.resend ?? version >= RESEND_FROM;
  return [
    negotiated == null ? 'FUSE protocol not negotiated yet' : `FUSE ${negotiated.protocol}`,
    resend ? 'sends lost requests again' : 'lost requests are taken over from memory (RESEND came with 6.9)',
    'new mount API, pidfd',
  ];
}

/** "6.18.4-amd64" → 618 */
export function versionOf(release: string): number {
  const [major = 0, minor = 0] = release.split('.').map((part) => Number.parseInt(part, 10));
  return major * 100 + minor;
}

/** Program → Debian's package. */
const NEEDED = {
  kernel: {
    mount: 'mount',
    umount: 'mount',
    unshare: 'util-linux',
    setpriv: 'util-linux',
    prlimit: 'util-linux',
  },
  'fuse-native': { fusermount3: 'fuse3' },
} as const;

export const programs: Check = {
  id: 'programs',
  area: 'machine',
  what: 'programs that a mount starts',
  async run({ machine, plan }) {
    const needed: Readonly<Record<string, string>> = NEEDED[plan?.driver ?? 'kernel'];
    const found = await Promise.all(Object.keys(needed).map((name) => machine.has(name)));
    const missing = Object.keys(needed).filter((_, i) => found[i] === false);
    if (missing.length === 0) return ok(Object.keys(needed).join(', '));
    const packages = [...new Set(missing.map((name) => needed[name]))];
    return problem(`there is no ${missing.join(', ')}`, `apt install ${packages.join(' ')}`);
  },
};

const FAULTY_NAMES = /^(LD_PRELOAD|LD_AUDIT|NODE_OPTIONS)$/;

export const environment: Check = {
  id: 'environment',
  area: 'machine',
  what: 'environment',
  async run({ machine }) {
    const names = Object.keys(machine.env).filter(
      (name) => FAULTY_NAMES.test(name) && machine.env[name] !== '',
    );
    if (names.length === 0) return ok('nothing in it changes the supervisor');
    return warning(
      `${names.join(', ')} changes what a supervisor that is started here does`,
      `unset ${names.join(' ')}`,
    );
  },
};
