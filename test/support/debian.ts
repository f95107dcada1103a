/** A Debian of its own, with systemd, fuse3 and nginx, and without Node.js: made once, kept in build/roots. */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { REPOSITORY } from './paths.ts';
import { must } from './program.ts';
import { patient } from './slowness.ts';

const PACKAGES = [
  'systemd',
  'systemd-sysv',
  'dbus',
  'fuse3',
  'nginx-light',
  'openssl',
  'libgcc-s1',
  'libstdc++6',
];
/** What a machine without screen, disk and network has no use for; who wants nginx starts it. */
const MASKED = [
  'apt-daily.timer',
  'apt-daily-upgrade.timer',
  'dpkg-db-backup.timer',
  'e2scrub_all.timer',
  'fstrim.timer',
  'getty@tty1.service',
  'console-getty.service',
  'systemd-logind.service',
];

/** Its root directory, which is not to be written to. */
export async function debianRoot(): Promise<string> {
  const roots = path.join(REPOSITORY, 'build', 'roots');
  const hash = createHash('sha256')
    .update([...PACKAGES, ...MASKED].join())
    .digest('hex');
  const root = path.join(roots, `bookworm-${hash.slice(0, 12)}`);
  if (existsSync(root)) return root;
  await mkdir(roots, { recursive: true });
  const made = `${root}.${process.pid}`;
  try {
    const include = `--include=${PACKAGES.join()}`;
    const args = ['--quiet', '--mode=root', '--variant=minbase', include, 'bookworm', made];
    await must('mmdebstrap', args, { timeoutMs: patient(240_000) });
    await must('chroot', [made, 'systemctl', 'mask', ...MASKED]);
    await must('chroot', [made, 'systemctl', 'disable', 'nginx']);
    await rename(made, root);
  } finally {
    await rm(made, { recursive: true, force: true });
  }
  return root;
}
