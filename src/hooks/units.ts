/** What `systemctl show --property=Id,LoadState,ActiveState` says of several units. */

export interface UnitState {
  readonly id: string;
  readonly isLoaded: boolean;
  /** It runs, or is about to: it has to be told. One that is not reads new files when it starts. */
  readonly isActive: boolean;
}

/** Blocks of KEY=VALUE with an empty line between them, in the order in which the units were asked for. */
export function parseUnits(output: string): UnitState[] {
  return output
    .split(/\n\n+/)
    .filter((block) => block.includes('='))
    .map((block) => {
      const value = (key: string) => new RegExp(`^${key}=(.*)$`, 'm').exec(block)?.[1] ?? '';
      return {
        id: value('Id'),
        isLoaded: value('LoadState') === 'loaded',
        isActive: !['inactive', 'failed', 'deactivating'].includes(value('ActiveState')),
      };
    });
}
