/** What the control socket can ask of a mount with fuse-native. */
import path from 'node:path';
import { useRollback } from '../control/consent.ts';
import type { Status } from '../control/protocol.ts';
import type { Operations } from '../control/server.ts';
import { ControlError } from '../errors.ts';
import type { Held } from './activation.ts';
import { describeRefreshed } from './describe.ts';
import { unknownHook } from './hooks.ts';
import type { Lifetime } from './lifetime.ts';
import type { MountOptions } from './mount-options.ts';
import { describeNativeGeneration } from './mount-status.ts';
import { operationsOf, unknownPart } from './operations.ts';
import type { Rotation } from './rotation.ts';

export interface ControlledMount {
  readonly options: Pick<MountOptions, 'runtimeDir' | 'instance'>;
  readonly uid: number;
  readonly mountpoint: string;
  readonly rotation: Pick<Rotation<Held>, 'refresh'>;
  readonly life: Lifetime;
  status(): Status;
  /** Throws MountError; does nothing where it is not mounted. */
  unmount(): Promise<void>;
}

export function operationsOfMount(mount: ControlledMount): Operations {
  const { options, uid, mountpoint, rotation, life, status, unmount } = mount;
  return operationsOf({
    ...{ mountpoint, ready: life.ready, ended: life.ended },
    describe: status,
    useRollback: (part) => useRollback(path.join(options.runtimeDir, options.instance), uid, part),
    refresh: async ({ part, ...asked }) => {
      if (part !== undefined) throw unknownPart(part, []);
      return describeRefreshed(await rotation.refresh(asked), describeNativeGeneration);
    },
    hook: async (name) => {
      throw unknownHook(name, []);
    },
    upgrade: async () => {
      throw new ControlError(
        'control-unsupported',
        'cannot upgrade: the driver fuse-native serves from one process',
        { hint: 'unmount it and mount it again: secretsfs unmount, then secretsfs mount' },
      );
    },
    detach: async () => {
      await life.started();
      await unmount();
    },
    stop: () => life.stop(),
  });
}
