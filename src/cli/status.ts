import { ask } from '../control/client.ts';
import type { PartStatus, Status } from '../control/protocol.ts';
import { quote } from '../errors.ts';
import { type Command, optionalTextArg } from './command.ts';
import {
  ABOUT_A_MOUNT,
  controlDirectory,
  type Running,
  resolveInstance,
  runningMounts,
  STATUS_MS_MAX,
} from './targets.ts';
import { formatBytes, plural } from './ui.ts';

const DAY_MS = 24 * 3_600_000;
/** The first to end; --json has all. */
const CERTIFICATES_SHOWN = 5;

export const status: Command = {
  usage: 'status [mount]',
  ...ABOUT_A_MOUNT,
  async run(args, context) {
    const runtimeDir = controlDirectory(context);
    const { mounts, silent, dead } = await lookFor(runtimeDir, optionalTextArg(args, 'mount'));
    if (mounts.length === 0 && silent[0] !== undefined) throw silent[0].error;
    for (const { name, error } of silent) context.ui.warn(`${name}: ${error.message}`);
    for (const name of dead) context.ui.warn(`${name}: it was killed; secretsfs mount clears what it left`);
    if (context.json) return context.ui.printJson(mounts);
    if (mounts.length === 0) return context.ui.print('no mount is running');
    for (const mount of mounts) for (const line of describe(mount)) context.ui.print(line);
  },
};

async function lookFor(runtimeDir: string, wanted: string | undefined): Promise<Running> {
  if (wanted === undefined) return runningMounts(runtimeDir);
  const instance = await resolveInstance(runtimeDir, wanted);
  return { mounts: [await ask(runtimeDir, instance, 'status', STATUS_MS_MAX)], silent: [], dead: [] };
}

/** What a person reads of it. */
export function describe(mount: Status, nowMs = Date.now()): string[] {
  const { live, error, lastCheck } = mount;
  const { parts = [] } = mount;
  const lines = [
    `${mount.instance}: ${mount.state}`,
    `  mountpoint  ${mount.mountpoint}`,
    ...(parts.length === 0 ? [`  bundle      ${mount.bundle} (name ${mount.name})`] : []),
    `  driver      ${mount.driver} (${mount.driverReason})`,
    ...describeServing(mount),
  ];
  if (live !== null) {
    const lock = live.locked ? 'locked in memory' : 'not locked: see --allow-swap in docs/threat-model.md';
    lines.push(
      `  generation  ${live.id}, serial ${live.serial}, active since ${live.activated}`,
      `  content     ${plural(live.files, 'file')}, ${formatBytes(live.bytes)}, ${lock}`,
    );
  }
  for (const { id, bytes, reason, heldSince } of mount.lingering) {
    const since = heldSince === undefined ? '' : ` since ${heldSince}`;
    lines.push(
      `  lingering   generation ${id}, ${formatBytes(bytes)}${since}: ${reason ?? 'open files still hold it'}`,
    );
  }
  lines.push(
    ...describeConfig(mount),
    ...describeMachine(mount),
    ...describeChecks(mount, nowMs),
    ...describeHooks(mount),
  );
  const problem = mount.floor?.problem ?? null;
  if (problem !== null) lines.push(`  warning     the serial is forgotten at the next start: ${problem}`);
  if (lastCheck !== null) lines.push(`  last check  ${lastCheck.at}: ${lastCheck.outcome}`);
  lines.push(...describeNoticing(mount), ...parts.flatMap(describePart));
  // Of several bundles, each has told its own.
  if (error !== null && parts.length === 0) {
    lines.push(`  error       ${error.message} (${error.code})`);
    lines.push(`              since ${error.since}, ${plural(error.attempts, 'attempt')}`);
    if (error.hint !== undefined) lines.push(`  hint        ${error.hint}`);
  }
  return lines;
}

function describePart({ directory, name, bundle, state, live, error, floor, queue }: PartStatus): string[] {
  const serial = live === null ? 'nothing yet' : `serial ${live.serial}, active since ${live.activated}`;
  const lines = [
    `  ${`${directory}/`.padEnd(11)} ${state}: ${serial}`,
    `    bundle    ${bundle} (name ${name})`,
  ];
  if (floor.problem !== null)
    lines.push(`    warning   the serial is forgotten at the next start: ${floor.problem}`);
  if (queue !== null) lines.push(`    queue     ${queue.state}`);
  if (error !== null) {
    lines.push(`    error     ${error.message} (${error.code})`);
    lines.push(`              since ${error.since}, ${plural(error.attempts, 'attempt')}`);
    if (error.hint !== undefined) lines.push(`    hint      ${error.hint}`);
  }
  return lines;
}

function describeConfig({ config }: Status): string[] {
  if (config == null) return [];
  const { path, loadedAt, state, error, restartNeeded } = config;
  const lines = [
    `  config      ${path}, in force since ${loadedAt}${state === 'current' ? '' : `: ${state}`}`,
  ];
  if (error !== null) lines.push(`  config      ${error.message} (${error.code})`);
  if (error?.hint !== undefined) lines.push(`  hint        ${error.hint}`);
  if (restartNeeded.length > 0)
    lines.push(`  config      a restart is needed for: ${restartNeeded.join(', ')}`);
  return lines;
}

function describeNoticing({ sources = [], nextCheck, nextAttempt, queue }: Status): string[] {
  const lines: string[] = [];
  if (nextCheck != null) lines.push(`  next check  ${nextCheck}`);
  if (nextAttempt != null) {
    const why = nextAttempt.limited ? ': as many were opened as --unseal-limit lets' : '';
    lines.push(`  next try    ${nextAttempt.at}${why}`);
  }
  // One alone is the mount's bundle, and its error the mount's.
  for (const { bundle, state, error } of sources.length > 1 ? sources : []) {
    lines.push(
      `  source      ${bundle}: ${state}${error === null ? '' : `: ${error.message} (${error.code})`}`,
    );
  }
  if (queue != null) {
    const said = queue.error === null ? plural(queue.messages, 'message') : queue.error.message;
    lines.push(`  queue       ${queue.state}: ${said}`);
  }
  return lines;
}

function describeServing(mount: Status): string[] {
  const { cache, fastOpen, resend, negotiated, consistency, consistencyWindowMs } = mount;
  if (cache === undefined) return [];
  const parts = [
    cache === 'page' ? 'page cache' : 'no page cache',
    fastOpen === true ? 'the kernel opens by itself' : 'each open asks the server',
  ];
  if (negotiated != null) parts.push(`FUSE ${negotiated.protocol}`, describeLost(resend, negotiated.resend));
  const lines = [`  serving     ${parts.join(', ')}`];
  if (consistency === 'process')
    lines.push(`  consistency process: files opened within ${consistencyWindowMs} ms are of one generation`);
  if (consistency === 'none') lines.push('  consistency none: each file is opened as it is live');
  return lines;
}

/** Where requests come from that a server had taken and not answered when it died. */
function describeLost(wanted: boolean | undefined, agreed: boolean): string {
  if (agreed) return 'the kernel sends lost requests again';
  return `lost requests are taken over (${wanted === true ? 'this kernel cannot send them again' : '--resend off'})`;
}

function describeChecks({ warnings = [], certificates = [], kept = [] }: Status, nowMs: number): string[] {
  const soonest = [...certificates].sort((a, b) => Date.parse(a.notAfter) - Date.parse(b.notAfter));
  const lines = soonest.slice(0, CERTIFICATES_SHOWN).map(({ path, serial, notAfter }) => {
    const days = Math.floor((Date.parse(notAfter) - nowMs) / DAY_MS);
    const left = days < 0 ? 'expired' : `${plural(days, 'day')} left`;
    return `  certificate ${quote(path)}, serial ${serial}, until ${notAfter}: ${left}`;
  });
  const more = certificates.length - lines.length;
  if (more > 0) lines.push(`  certificate and ${more} more: --json has all`);
  for (const path of kept)
    lines.push(`  kept        ${quote(path)}: its live version, the new one is refused`);
  for (const { path, rule, expected, found } of warnings) {
    lines.push(`  warning     ${quote(path)} (${rule}): found ${found}, want ${expected}`);
  }
  return lines;
}

function describeMachine({ memory, processes = [], successorProblem }: Status): string[] {
  const lines: string[] = [];
  if (memory !== undefined) {
    const { storeBytes, maxBytes, availableBytes } = memory;
    const parts = [`store ${formatBytes(storeBytes)}`];
    if (maxBytes != null) parts.push(`at most ${formatBytes(maxBytes)}`);
    if (availableBytes != null) parts.push(`${formatBytes(availableBytes)} available`);
    lines.push(`  memory      ${parts.join(', ')}`);
  }
  for (const { role, pid, user, started, restarts } of processes) {
    const again = restarts === 0 ? '' : `, ${plural(restarts, 'restart')}`;
    lines.push(`  process     ${role} ${pid} as ${user} since ${started}${again}`);
  }
  if (successorProblem != null) {
    lines.push(
      `  warning     no successor is ready: ${successorProblem}`,
      '  hint        install a version of the program that can serve this mount: it is tried again',
    );
  }
  return lines;
}

/** Of those that do what they should, how many; of the others, each. */
function describeHooks({ hooks = [], probes = [] }: Status): string[] {
  const lines: string[] = [];
  const failed = hooks.filter(({ outcome }) => outcome === 'failed');
  const astray = probes.filter(({ verdict }) => verdict === 'wrong' || verdict === 'unreachable');
  if (hooks.length > 0) {
    const served = probes.filter(({ verdict }) => verdict === 'served').length;
    const seen =
      probes.length === 0 ? '' : `, served as it should be at ${served} of ${plural(probes.length, 'place')}`;
    lines.push(`  hooks       ${hooks.length - failed.length} of ${hooks.length} in order${seen}`);
  }
  for (const { name, error } of failed) lines.push(`  hook        ${name} failed: ${error}`);
  for (const { hook, name, verdict, servedSerial, expectedSerial, since, error } of astray) {
    const what =
      verdict === 'wrong'
        ? `serves serial ${servedSerial} since ${since}, want ${expectedSerial}`
        : `can't be reached: ${error}`;
    lines.push(`  probe       ${hook}: the agent says that ${name} ${what}`);
  }
  return lines;
}
