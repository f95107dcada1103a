/** What an agent is to watch of each bundle of a mount. */
import type { WatchTask } from './agent-channel.ts';
import type { PartOptions } from './mount-options.ts';
import { queueTaskOf } from './queue-task.ts';

/** `ownId` and `restarts` are as for queueTaskOf(). */
export function watchTasks(
  { parts, instance }: { readonly parts: readonly PartOptions[]; readonly instance: string },
  ownId: string,
  restarts: number,
): Omit<WatchTask, 'known'>[] {
  return parts.map(({ sources, queue, pollMs, spreadMs, aws }, part) => ({
    sources: sources.map((source) => ({ location: source.bundle, aws: source.aws })),
    // A topic makes a queue for each bundle that hears of it.
    queue:
      queue === undefined
        ? null
        : queueTaskOf(queue, instance, part === 0 ? ownId : `${ownId}-${part}`, restarts),
    ...{ pollMs, spreadMs, aws },
  }));
}
