/**
 * systemd's store of descriptors (FileDescriptorStoreMax= in systemd.service(5)): what a service gives it, the next process of
 * that service is started with. Nobody but the service's main process gives or takes (NotifyAccess=main).
 */
import { notify } from './notify.ts';

/** SD_LISTEN_FDS_START of sd_listen_fds(3). */
const FIRST_FD = 3;
const VARIABLES = ['LISTEN_PID', 'LISTEN_FDS', 'LISTEN_FDNAMES', 'LISTEN_PIDFDID'] as const;
/** More than anybody gives us. */
const FDS_MAX = 1024;

export interface Received {
  readonly name: string;
  readonly fd: number;
}

/** Whether this process was started with descriptors that nobody took yet. */
export function isHandedDescriptors(env: NodeJS.ProcessEnv, pid: number): boolean {
  return env['LISTEN_PID'] === `${pid}`;
}

/**
 * What this process was started with: sd_listen_fds_with_names(3). Ours to close. The variables are gone then: what we start
 * is started with nothing. Pure but for `env`.
 */
export function receivedDescriptors(env: NodeJS.ProcessEnv, pid: number): Received[] {
  const { LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES = '' } = env;
  for (const variable of VARIABLES) delete env[variable];
  if (LISTEN_PID !== `${pid}` || LISTEN_FDS === undefined || !/^[1-9]\d{0,3}$/.test(LISTEN_FDS)) return [];
  const names = LISTEN_FDNAMES.split(':');
  const count = Math.min(Number(LISTEN_FDS), FDS_MAX);
  return Array.from({ length: count }, (_, i) => ({ name: names[i] ?? '', fd: FIRST_FD + i }));
}

/** Asks systemd to keep it, also when it is readable or broken. False where there is no systemd. Throws SystemCallError. */
export function keepDescriptor(name: string, fd: number, socket?: string): Promise<boolean> {
  return notify(`FDSTORE=1\nFDNAME=${name}\nFDPOLL=0`, socket, fd);
}

/** Asks it to close all that it keeps under this name. As above. */
export function forgetDescriptors(name: string, socket?: string): Promise<boolean> {
  return notify(`FDSTOREREMOVE=1\nFDNAME=${name}`, socket);
}
