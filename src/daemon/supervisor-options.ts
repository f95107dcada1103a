/** What a supervisor is told, and what it keeps of a generation. */
import type { ExecCheck } from '../checks/exec-settings.ts';
import type { HookSettings } from '../hooks/settings.ts';
import type { Candidate } from './candidate.ts';
import type { ConfigSource } from './config-reload.ts';
import type { Log } from './log.ts';
import type { PartOptions, SharedOptions } from './mount-options.ts';
import type { OpenedResult } from './unsealer-channel.ts';

export interface SupervisorOptions extends SharedOptions {
  /** One, or several with a directory each. */
  readonly parts: readonly PartOptions[];
  readonly cache: 'page' | 'none';
  readonly fastOpen: boolean;
  readonly resend: boolean;
  readonly retireAfterMs: number;
  /** 0: `consistency` is none. */
  readonly consistencyWindowMs: number;
  readonly memoryMax: number | undefined;
  readonly uidBase: number | undefined;
  /** Where the last good bundle is kept, and how long ago a source must have had it for a start; undefined: nowhere, and anything. */
  readonly cacheDir: string | undefined;
  readonly maxStaleMs: number | undefined;
  readonly selinuxContext: string | undefined;
  readonly hooks: readonly HookSettings[];
  readonly execChecks: readonly ExecCheck[];
}

export interface SupervisorPorts {
  readonly log: Log;
  /** For durations: it only ever goes on, whoever sets the clock. */
  readonly nowMs: () => number;
  /** The time of day, which serials are measured by: it follows a clock that is set right. */
  readonly clockMs: () => number;
  /** undefined: there is none that could change. */
  readonly config: ConfigSource | undefined;
  /** It was mounted for a line of fstab: umount is how it ends. */
  readonly endsByUmount: boolean;
}

/** A generation in the store, with what its unsealer said of it. */
export interface InStore {
  readonly candidate: Candidate;
  readonly result: OpenedResult;
  /** It was kept on the disk. */
  readonly isCached?: boolean | undefined;
}
