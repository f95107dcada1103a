/** What an engine is given, and what it says of itself. */
import type { MountError } from '../errors.ts';
import type { ChangeList } from '../generation/changes.ts';
import type { Served } from '../metrics/snapshot.ts';
import type { ProcessUsers } from '../system/process-users.ts';
import type { Child } from './children.ts';
import type { Log } from './log.ts';

export interface EngineOptions {
  /** As prepareMountpoint() returned it. */
  readonly mountpoint: string;
  /** What the mount table shows as the source. */
  readonly source: string;
  /** SELinux context of everything in it. */
  readonly selinuxContext?: string | undefined;
  readonly cache: 'page' | 'none';
  readonly fastOpen: boolean;
  readonly resend: boolean;
  readonly retireAfterMs: number;
  /** 0: opens are of what is live. Else a process that opens several files with less than this between gets them from one. */
  readonly consistencyWindowMs: number;
  readonly users: ProcessUsers;
  /** Files, directories and symlinks of a generation at the most. */
  readonly nodesMax: number;
  /** Whether modes and owners are the bundle's; else the server insists on root's alone. */
  readonly preserve: boolean;
}

/** A generation that may be served, and is not yet. */
export interface Proposed {
  readonly id: number;
  /** Its image, for reading; closed when prove() has settled. */
  readonly imageFd: number;
  /** Whether anything is served. */
  readonly isFirst: boolean;
  readonly files: ChangeList['files'];
}

/** What starts the processes; each call is one new process. */
export interface EnginePorts {
  readonly spawnServer: (fds: { fuse: number; store: number; dropPipe: number | undefined }) => Child;
  readonly spawnProber: (fds: { clone: number }) => Child;
  readonly spawnTeller: (fds: { clone: number }) => Child;
  readonly spawnNotifier: (fds: { fuse: number; dropPipe: number | undefined }) => Child;
  /** Has the last word on a generation before anybody sees it: what it throws refuses that. */
  readonly prove?: ((proposed: Proposed) => Promise<void>) | undefined;
  readonly log: Log;
  readonly nowMs: () => number;
  /** The mount answered: for systemd's watchdog. */
  readonly onAlive: () => void;
  /** It answers with errors, again and again: the connection is gone, and no server brings it back. */
  readonly onLost: (error: MountError) => void;
}

export interface EngineStatus {
  readonly live: number | undefined;
  readonly lingering: readonly { readonly id: number; readonly bytes: number; readonly sinceMs: number }[];
  readonly storeBytes: number;
  readonly processes: readonly {
    readonly role: string;
    readonly pid: number;
    readonly startedMs: number;
    readonly restarts: number;
  }[];
  /** Why no server could take over now, in words. */
  readonly successorProblem: string | undefined;
  /** What the servers counted; undefined before there was one. */
  readonly served: Served | undefined;
  /** With the kernel; undefined before it is mounted. */
  readonly negotiated: { readonly protocol: string; readonly resend: boolean } | undefined;
}
