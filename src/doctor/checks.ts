/** All that doctor looks at. */
import { BUCKET_CHECKS } from './bucket.ts';
import { decrypts, reachable, serial, verifies } from './bundle.ts';
import { clock } from './clock.ts';
import { credentials, credentialsReadable, region } from './credentials.ts';
import { config, configTrust, keyFiles, mountpoint, serials, users } from './files.ts';
import type { Check } from './finding.ts';
import { environment, fuseConf, fuseDevice, kernel, programs } from './fuse.ts';
import { imds } from './imds.ts';
import { keyRotation, keyState } from './key.ts';
import { memlock } from './memlock.ts';
import { corePattern, headroom, hibernation, swap } from './memory.ts';
import { answers } from './mount.ts';
import { SERVER_CHECKS } from './servers.ts';
import { order, unitInstalled, unitSettings } from './systemd.ts';

/** In the order in which a person reads them, within each area. */
export const CHECKS: readonly Check[] = [
  ...[fuseDevice, fuseConf, kernel, programs, environment, clock],
  ...[swap, hibernation, corePattern, headroom, memlock],
  ...[config, configTrust, keyFiles, users, serials],
  ...[unitInstalled, unitSettings, order],
  ...[credentials, credentialsReadable, region, imds],
  ...BUCKET_CHECKS,
  ...[keyState, keyRotation, decrypts],
  ...[reachable, verifies, serial],
  ...SERVER_CHECKS,
  ...[mountpoint, answers],
];
