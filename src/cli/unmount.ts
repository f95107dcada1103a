import type { Command } from './command.ts';
import { ABOUT_A_MOUNT, askMount } from './targets.ts';

const UNMOUNT_MS_MAX = 60_000;

export const unmount: Command = {
  usage: 'unmount [mount]',
  ...ABOUT_A_MOUNT,
  build: (yargs) =>
    ABOUT_A_MOUNT.build(yargs)
      // For the end of secretsfs@.service.
      .option('left', { type: 'boolean', hidden: true }),
  async run(args, context) {
    if (args['left'] === true) return endLeft(String(args['mount']));
    const { instance, result } = await askMount('unmount', UNMOUNT_MS_MAX, args, context);
    if (context.json) context.ui.printJson(result);
    else context.ui.print(`${instance}: unmounted ${result.mountpoint}`);
  },
};

/** What systemd still keeps of an instance whose unit is being stopped without a supervisor. */
async function endLeft(instance: string): Promise<void> {
  const { endLeftStores } = await import('../daemon/left-store.ts');
  const { createLog } = await import('../daemon/log.ts');
  await endLeftStores(instance, createLog({ fd: 2, readable: process.stderr.isTTY === true }));
}
