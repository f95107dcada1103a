import { ask } from '../control/client.ts';
import { type Command, optionalTextArg } from './command.ts';
import { mountUnit } from './mount-unit.ts';
import { ABOUT_A_MOUNT, controlDirectory, resolveInstance, STATUS_MS_MAX } from './targets.ts';

const UNMOUNT_MS_MAX = 60_000;

export const unmount: Command = {
  usage: 'unmount [mount]',
  ...ABOUT_A_MOUNT,
  build: (yargs) =>
    ABOUT_A_MOUNT.build(yargs)
      // For the end of secretsfs@.service.
      .option('left', { type: 'boolean', hidden: true }),
  async run(args, context) {
    // Without a name there is no store of that name.
    if (args['left'] === true) return endLeft(optionalTextArg(args, 'mount') ?? '');
    const runtimeDir = controlDirectory(context);
    const instance = await resolveInstance(runtimeDir, optionalTextArg(args, 'mount'));
    // While it runs. One that does not say how it is may be unmounted all the same.
    const status = await ask(runtimeDir, instance, 'status', STATUS_MS_MAX).catch(() => undefined);
    const unit = status === undefined ? undefined : await mountUnit(status.pid);
    const result = await ask(runtimeDir, instance, 'unmount', UNMOUNT_MS_MAX);
    if (context.json) return context.ui.printJson({ ...result, unit: unit?.name ?? null });
    context.ui.print(`${instance}: unmounted ${result.mountpoint}`);
    if (unit !== undefined) context.ui.warn(`its unit mounts it again; to end it: ${unit.stop}`);
  },
};

/** What systemd still keeps of an instance whose unit is being stopped without a supervisor. */
async function endLeft(instance: string): Promise<void> {
  const { endLeftStores } = await import('../daemon/left-store.ts');
  const { createLog } = await import('../daemon/log.ts');
  await endLeftStores(instance, createLog({ fd: 2, readable: process.stderr.isTTY === true }));
}
