/** What a mount with fuse-native says of itself. */
import type { GenerationStatus, Status } from '../control/protocol.ts';
import type { Generation } from '../generation/generation.ts';
import type { Held } from './activation.ts';
import type { NoticingState } from './agent-channel.ts';
import { checksStatus } from './check-findings.ts';
import { describeNoticing, describeState, iso } from './describe.ts';
import type { MountOptions } from './mount-options.ts';
import type { Live, RotationState } from './rotation-ports.ts';

export interface NativeDescribed {
  readonly options: MountOptions;
  readonly startedMs: number;
  readonly mountpoint: string;
  readonly mounted: boolean;
  readonly rotation: RotationState<Held>;
  readonly floor: Status['floor'];
  /** Superseded, and still held. */
  readonly lingering: readonly Pick<Generation, 'id' | 'contentBytes'>[];
  readonly noticing: NoticingState | undefined;
}

export function describeNative(described: NativeDescribed): Status {
  const { options, startedMs, mountpoint, mounted, rotation, floor, lingering, noticing } = described;
  const { instance, name, sources, version, driverReason } = options;
  const { live } = rotation;
  return {
    instance,
    name,
    version,
    pid: process.pid,
    started: iso(startedMs),
    mountpoint,
    // The first, as what all of them are shown as.
    bundle: sources[0]?.bundle ?? '',
    driver: 'fuse-native',
    consistency: 'none',
    driverReason,
    ...describeState(mounted, rotation),
    live: live === undefined ? null : describeNativeGeneration(live),
    floor,
    lingering: lingering.map(({ id, contentBytes }) => ({ id, bytes: contentBytes })),
    ...checksStatus(live?.generation.findings, Date.now(), options.checks),
    ...describeNoticing(rotation, sources, noticing),
  };
}

export function describeNativeGeneration(live: Live<Held>): GenerationStatus {
  const { serial, created, revision, sha256, activatedMs } = live;
  const { generation, memory } = live.generation;
  return {
    id: generation.id,
    serial,
    created,
    revision,
    sha256,
    activated: iso(activatedMs),
    uploaded: live.uploadedMs === undefined ? null : iso(live.uploadedMs),
    files: generation.files,
    bytes: generation.contentBytes,
    locked: memory.locked,
  };
}
