import type { OldFormat } from '../bundle/old-format-names.ts';
import type { FileRule } from '../checks/ownership.ts';
import type { Checks } from '../checks/settings.ts';
import type { OpensSettings } from '../opens/rules.ts';
import type { AwsSettings } from './agent-channel.ts';
import type { MetricsOptions } from './metrics-settings.ts';

/** Where a bundle may be, and the AWS settings for it. */
export interface MountSource {
  /** As status shows it: absolute, or s3://…. */
  readonly bundle: string;
  readonly aws: AwsSettings;
}

/** What there is to know of one bundle: where it comes from, when it is looked for, and what may be accepted. */
export interface BundleOptions {
  /** In the order in which they are asked. */
  readonly sources: readonly MountSource[];
  readonly pollMs: number;
  /** Over what a queue's news is spread. */
  readonly spreadMs: number;
  readonly queue: { readonly url: string } | { readonly topic: string } | undefined;
  /** Openings a minute; undefined: the keys cost nothing. */
  readonly unsealsPerMinute: number | undefined;
  /** For keys and the queue. */
  readonly aws: AwsSettings;
  /** The name that the bundle must carry. */
  readonly name: string;
  readonly acceptedKeys: readonly string[];
  /** Pairs that the bundle's context must have. */
  readonly context: Readonly<Record<string, string>>;
  readonly bytesMax: number;
  readonly filesMax: number;
  readonly checks: Checks;
  /** `files:`, with users and groups looked up. */
  readonly rules: readonly FileRule[];
  readonly minSerial: number | undefined;
  /** What it may be beside a bundle: formats that carry neither name nor serial. */
  readonly formats: readonly OldFormat[];
}

/** One of the bundles of a mount. */
export interface PartOptions extends BundleOptions {
  /** One name, below the mountpoint; undefined: its tree is all of the mount, and it is the only one. */
  readonly directory: string | undefined;
  /** Without it, there is no mount. */
  readonly required: boolean;
}

/** What is of a mount as a whole. */
export interface SharedOptions {
  readonly mountpoint: string;
  /** What status, remount and unmount call this mount. */
  readonly instance: string;
  /** What the mount table shows as the source. */
  readonly fsname: string;
  readonly preserve: boolean;
  readonly allowSwap: boolean;
  readonly statusGid: number | undefined;
  readonly metrics: MetricsOptions;
  /** `access:` and `audit`, with users and groups looked up. */
  readonly opens: OpensSettings;
  readonly runtimeDir: string;
  /** Where the floor of serials is kept. */
  readonly stateDir: string;
  /** How long a start waits for what others can mend: 0 not at all, Infinity for ever. */
  readonly startTimeoutMs: number;
  readonly version: string;
  /** Why this driver, in words. */
  readonly driverReason: string;
}

/** A mount of one bundle. */
export type MountOptions = SharedOptions & BundleOptions;
