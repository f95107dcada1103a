/** What a supervisor is told, and what it keeps of a generation. */
import type { AwsSettings } from './agent-channel.ts';
import type { Candidate } from './candidate.ts';
import type { Log } from './log.ts';
import type { OpenedResult } from './unsealer-channel.ts';

export interface SupervisorOptions {
  /** As status shows it: absolute, or s3://…. */
  readonly bundle: string;
  readonly mountpoint: string;
  /** The name that the bundle must carry. */
  readonly name: string;
  /** What status, remount and unmount call this mount. */
  readonly instance: string;
  readonly acceptedKeys: readonly string[];
  /** Pairs that the bundle's context must have. */
  readonly context: Readonly<Record<string, string>>;
  readonly bytesMax: number;
  readonly filesMax: number;
  readonly preserve: boolean;
  readonly allowSwap: boolean;
  readonly statusGid: number | undefined;
  readonly runtimeDir: string;
  /** Where the floor of serials is kept. */
  readonly stateDir: string;
  readonly minSerial: number | undefined;
  readonly version: string;
  /** Why this driver, in words. */
  readonly driverReason: string;
  readonly cache: 'page' | 'none';
  readonly fastOpen: boolean;
  readonly resend: boolean;
  readonly retireAfterMs: number;
  readonly memoryMax: number | undefined;
  readonly uidBase: number | undefined;
  readonly pollMs: number;
  readonly aws: AwsSettings;
}

export interface SupervisorPorts {
  readonly log: Log;
  readonly nowMs: () => number;
}

/** A generation in the store, with what its unsealer said of it. */
export interface InStore {
  readonly candidate: Candidate;
  readonly result: OpenedResult;
}
