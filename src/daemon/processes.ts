/** Which process is started how: as whom, with which descriptors, with what of root's rights. */

import { closeSync, openSync } from 'node:fs';
import type { FileRule } from '../checks/ownership.ts';
import type { OpensSettings } from '../opens/rules.ts';
import type { ProcessUser, ProcessUsers } from '../system/process-users.ts';
import { type Allowed, AUDIT, ChildLog, ORDINARY } from './child-log.ts';
import { type Child, type ChildOptions, spawnChild } from './children.ts';
import { PARTS_VARIABLE } from './composer-task.ts';
import type { ControlSockets } from './control-sockets.ts';
import type { EnginePorts } from './engine-ports.ts';
import type { Log } from './log.ts';
import { OOM_SCORES, setOomScore } from './oom.ts';
import { IMAGE_VARIABLE, OPENS_VARIABLE, RULES_BEFORE_VARIABLE, RULES_VARIABLE } from './roles.ts';
import { TELLER_CAPABILITIES } from './teller-capabilities.ts';
import type { TrialPorts } from './trial.ts';
import { RUNNER_CAPABILITIES } from './trial-capabilities.ts';
import { FILES_VARIABLE } from './unsealer-channel.ts';

/** One for each log: a process that takes another's place may say what that one left. */
const childLogs = new WeakMap<Log, ChildLog>();

function relayTo(log: Log, says: Allowed = ORDINARY): ChildOptions['hear'] {
  const childLog = childLogs.get(log) ?? new ChildLog(log);
  childLogs.set(log, childLog);
  return (stderr, child) => childLog.relay(stderr, child, says);
}

export interface EngineProcessesOptions {
  /** `files:` of the config, for the server: what it may serve with other owners and modes than root's alone. */
  readonly rules: {
    readonly current: readonly FileRule[];
    readonly before?: readonly FileRule[] | undefined;
  };
  /** Whom the server lets open what, and what it says of that. */
  readonly opens: { readonly current: OpensSettings };
  /** For tests, whose program is another: where the processes' files are. */
  readonly directory?: string | undefined;
}

export function engineProcesses(
  users: ProcessUsers,
  log: Log,
  { rules, opens, directory }: EngineProcessesOptions,
): Pick<EnginePorts, 'spawnServer' | 'spawnProber' | 'spawnTeller' | 'spawnNotifier'> {
  const spawnTeller = (role: 'prober' | 'teller', clone: number) => {
    const child = spawnChild({
      role,
      script: 'teller.mjs',
      directory,
      hear: relayTo(log),
      user: undefined,
      capabilities: TELLER_CAPABILITIES,
      fds: [clone, 'channel'],
      emptyNetwork: true,
    });
    setOomScore(child.pid, OOM_SCORES.helper);
    return child;
  };
  // A shell, until that ends by itself: it says no other way that it can't ask, or that the mount answers with errors.
  let shellDoes = true;
  return {
    spawnServer({ fuse, store, dropPipe }) {
      const child = spawnChild({
        role: 'server',
        script: 'server.mjs',
        directory,
        hear: relayTo(log, opens.current.audit ? AUDIT : ORDINARY),
        user: users.server,
        fds: [fuse, store, 'channel', ...(dropPipe === undefined ? [] : [dropPipe])],
        emptyNetwork: true,
        environment: {
          [RULES_VARIABLE]: JSON.stringify(rules.current),
          [OPENS_VARIABLE]: JSON.stringify(opens.current),
          ...(rules.before && { [RULES_BEFORE_VARIABLE]: JSON.stringify(rules.before) }),
        },
      });
      setOomScore(child.pid, OOM_SCORES.server);
      return child;
    },
    spawnProber({ clone }) {
      if (!shellDoes) return spawnTeller('prober', clone);
      const child = spawnChild({
        role: 'prober',
        script: 'prober.sh',
        directory,
        hear: relayTo(log),
        user: undefined,
        fds: [clone, 'channel'],
        emptyNetwork: true,
      });
      void child.exited.then(({ code }) => {
        if (code !== undefined) shellDoes = false;
      });
      setOomScore(child.pid, OOM_SCORES.helper);
      return child;
    },
    spawnTeller: ({ clone }) => spawnTeller('teller', clone),
    spawnNotifier({ fuse, dropPipe }) {
      const child = spawnChild({
        role: 'notifier',
        script: 'notifier.mjs',
        directory,
        hear: relayTo(log),
        user: users.server,
        fds: [fuse, 'channel', ...(dropPipe === undefined ? [] : [dropPipe])],
        emptyNetwork: true,
      });
      setOomScore(child.pid, OOM_SCORES.helper);
      return child;
    },
  };
}

/** What a trial is made of (trial.ts): the server of any generation, and the runner of the programs that look at it. */
export function trialProcesses(
  users: ProcessUsers,
  log: Log,
  { rules, directory }: Omit<EngineProcessesOptions, 'opens'>,
): Pick<TrialPorts, 'spawnServer' | 'spawnRunner'> {
  return {
    spawnServer({ fuse, store, image }) {
      const child = spawnChild({
        role: 'server',
        script: 'server.mjs',
        directory,
        hear: relayTo(log),
        user: users.server,
        fds: [fuse, store, 'channel', image],
        emptyNetwork: true,
        environment: { [IMAGE_VARIABLE]: '1', [RULES_VARIABLE]: JSON.stringify(rules.current) },
      });
      setOomScore(child.pid, OOM_SCORES.trial);
      return child;
    },
    spawnRunner({ mount }) {
      const child = spawnChild({
        role: 'trial',
        script: 'trial.mjs',
        directory,
        hear: relayTo(log),
        user: undefined,
        capabilities: RUNNER_CAPABILITIES,
        ownNamespaces: true,
        fds: [mount, 'channel'],
      });
      // What it starts has it too.
      setOomScore(child.pid, OOM_SCORES.trial);
      return child;
    },
  };
}

export function spawnAgent(
  user: ProcessUser,
  { controlFd, statusFd, metricsFd }: ControlSockets,
  log: Log,
): Child {
  const devNull = openSync('/dev/null', 'r');
  try {
    const fds = ['channel' as const, controlFd, statusFd ?? devNull, metricsFd];
    const child = spawnChild({ role: 'agent', script: 'agent.mjs', user, fds, hear: relayTo(log) });
    setOomScore(child.pid, OOM_SCORES.agent);
    return child;
  } finally {
    closeSync(devNull);
  }
}

/** Image, changes, previous image. */
const FIXED_FILES = 3;

/** `fds` from descriptor 4 on: the fixed ones, then what the task names. */
export function spawnUnsealer(
  user: ProcessUser,
  fds: readonly number[],
  fileBytesMax: number,
  log: Log,
): Child {
  const how = { role: 'unsealer', script: 'unsealer.mjs', emptyNetwork: false } as const;
  return spawnWriter({ ...how, user, fileBytesMax }, FILES_VARIABLE, fds, log);
}

/** `fds` from descriptor 4 on: the fixed ones, then the images of parts. */
export function spawnComposer(
  user: ProcessUser,
  fds: readonly number[],
  fileBytesMax: number,
  log: Log,
): Child {
  const how = { role: 'composer', script: 'composer.mjs', emptyNetwork: true } as const;
  return spawnWriter({ ...how, user, fileBytesMax }, PARTS_VARIABLE, fds, log);
}

/** Who writes one image. `variable`: says it how many descriptors it has beside the fixed ones. */
function spawnWriter(
  how: Pick<ChildOptions, 'role' | 'script' | 'user' | 'fileBytesMax' | 'emptyNetwork'>,
  variable: string,
  fds: readonly number[],
  log: Log,
): Child {
  const child = spawnChild({
    ...how,
    fds: ['channel', ...fds],
    hear: relayTo(log),
    environment: { [variable]: `${fds.length - FIXED_FILES}` },
  });
  setOomScore(child.pid, OOM_SCORES.unsealer);
  return child;
}

/** Reads files whoever owns them, and writes to a socket whoever owns that; and nothing else of root's, if it is root. */
export function spawnHaproxyUpdater(user: ProcessUser, log: Log): Child {
  const child = spawnChild({
    role: 'haproxy',
    script: 'haproxy.mjs',
    hear: relayTo(log),
    user: user.uid === 0 ? undefined : user,
    capabilities: user.uid === 0 ? ['dac_override', 'dac_read_search'] : [],
    fds: ['channel'],
    // Sockets with a path are reached from every namespace.
    emptyNetwork: true,
  });
  setOomScore(child.pid, OOM_SCORES.helper);
  return child;
}
