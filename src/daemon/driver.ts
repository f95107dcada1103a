/** Which driver a mount takes, and why, in words for `status`. */
import { readFileSync } from 'node:fs';
import { release } from 'node:os';
import { MountError } from '../errors.ts';

export type DriverName = 'kernel' | 'fuse-native';

export interface DriverChoice {
  readonly driver: DriverName;
  readonly reason: string;
}

/** linux/capability.h */
const CAP_SYS_ADMIN = 21n;
/** fsopen(2) and its like came with 5.2; the protocol that we speak at least, 7.31, with 5.4. */
const KERNEL_MIN = [5, 4] as const;

/** Throws MountError driver-missing where the wanted driver can't run here. */
export function chooseDriver(
  wanted: 'auto' | DriverName,
  machine: {
    readonly platform: string;
    readonly uid: number;
    readonly release: string;
    readonly status: string;
  } = {
    platform: process.platform,
    uid: process.geteuid?.() ?? -1,
    release: release(),
    status: ownStatus(),
  },
): DriverChoice {
  if (wanted === 'fuse-native') return { driver: wanted, reason: 'as --driver says' };
  const obstacle = obstacleOf(machine);
  if (wanted === 'kernel') {
    if (obstacle === undefined) return { driver: 'kernel', reason: 'as --driver says' };
    throw new MountError('driver-missing', `cannot take the kernel driver: ${obstacle}`, {
      hint: 'run as root on Linux 5.4 or newer, or take --driver fuse-native',
    });
  }
  if (obstacle === undefined) return { driver: 'kernel', reason: 'auto: root on Linux' };
  return { driver: 'fuse-native', reason: `auto: ${obstacle}` };
}

function obstacleOf(machine: Parameters<typeof chooseDriver>[1] & object): string | undefined {
  if (machine.platform !== 'linux') return `it is for Linux, this is ${machine.platform}`;
  if (machine.uid !== 0) return 'it needs root';
  const effective = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)$/m.exec(machine.status)?.[1] ?? '0'}`);
  if ((effective & (1n << CAP_SYS_ADMIN)) === 0n) return 'it needs CAP_SYS_ADMIN, which this root has not';
  const [major = 0, minor = 0] = machine.release.split('.').map(Number);
  if (major < KERNEL_MIN[0] || (major === KERNEL_MIN[0] && minor < KERNEL_MIN[1])) {
    return `it needs Linux ${KERNEL_MIN.join('.')}, this is ${major}.${minor}`;
  }
  return undefined;
}

function ownStatus(): string {
  try {
    return readFileSync('/proc/self/status', 'utf8');
  } catch {
    return '';
  }
}
