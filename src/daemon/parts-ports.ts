/** What the bundles of a mount need of it: what they bring live is the mount's, and it alone may make it so. */
import type { ChangeList } from '../generation/changes.ts';
import type { Activated } from '../hooks/changes.ts';
import type { FileLane } from '../system/file-lane.ts';
import type { ProcessUsers } from '../system/process-users.ts';
import type { Candidate } from './candidate.ts';
import type { composeInto } from './composing.ts';
import type { Engine } from './engine.ts';
import type { SupervisorPorts } from './supervisor-options.ts';
import type { takeInStore } from './taking.ts';
import type { Tally } from './tally.ts';

export interface PartsPorts extends SupervisorPorts {
  engine(): Engine;
  users(): ProcessUsers;
  readonly lane: FileLane;
  /** Fetches and opens into the store: takeInStore(). */
  readonly take: typeof takeInStore;
  /** Puts the trees of several together: composeInto(). */
  readonly compose: typeof composeInto;
  /** Counts what is looked for, and what is asked of AWS. */
  readonly tally: Pick<Tally, 'checked' | 'called'>;
  /** Makes it live; where it throws, the candidate is gone. `facts`: encodeFacts(). */
  activate(candidate: Candidate, facts: string): Promise<Pick<ChangeList, 'counts' | 'files'> | undefined>;
  /** It is. */
  activated(activated: Activated): void;
  /** What is known of sources may be something else. */
  onSettled(): void;
  /** The start waits for this, in one line. */
  waiting(what: string): void;
}
