/** What the control sockets can ask of a mount, the same whichever driver serves it. */
import type { Arguments, HookResult, RemountResult, Status, UpgradeResult } from '../control/protocol.ts';
import type { Operations } from '../control/server.ts';
import { ControlError, quote } from '../errors.ts';

/** A mount, as its control sockets see it. */
export interface Operated {
  describe(): Status;
  /** Resolves when it serves; rejects when it never will. */
  readonly ready: Promise<void>;
  /** Throws ControlError where no operator allowed it, of that part: whoever asks may not be believed. */
  useRollback(part: string | undefined): Promise<void>;
  refresh(options: Arguments): Promise<RemountResult>;
  upgrade(): Promise<UpgradeResult>;
  /** Runs the hook of that name now. */
  hook(name: string | undefined): Promise<HookResult>;
  /** Out of the mount table, where it is there already. One that fails leaves everything as it was. */
  detach(): Promise<void>;
  /** Ends it, also a start that is under way. */
  stop(): Promise<void>;
  /** Resolves when it is gone; rejects with why it could not go. */
  readonly ended: Promise<void>;
  readonly mountpoint: string;
}

export function operationsOf(mount: Operated): Operations {
  return {
    status: async () => mount.describe(),
    async wait() {
      await mount.ready;
      return mount.describe();
    },
    async remount(args) {
      await mount.ready;
      if (args.allowRollback === true) await mount.useRollback(args.part);
      return mount.refresh(args);
    },
    upgrade: () => mount.upgrade(),
    hook: ({ hook }) => mount.hook(hook),
    async unmount() {
      await mount.detach();
      void mount.stop();
      await mount.ended;
      return { mountpoint: mount.mountpoint };
    },
  };
}

/** No bundle of the mount is called so. `known`: nothing where it has one alone, which has no name there. */
export function unknownPart(name: string, known: readonly string[]): ControlError {
  return new ControlError('part-unknown', `cannot find ${quote(name)}: the mount has no such part`, {
    hint: known.length === 0 ? 'it has one bundle: leave the part out' : `there are: ${known.join(', ')}`,
  });
}
