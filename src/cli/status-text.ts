/**
 * A status in words. Each line has what it is about in its first 14 cells; what is too long for the screen goes on below that.
 * Colours say again what words say: red what is wrong, yellow what will be, green a mount that is as it should be.
 */
import type { PartStatus, Status } from '../control/protocol.ts';
import { quote } from '../errors.ts';
import { certificateLines } from './status-certificates.ts';
import { green, type Line, red, textOf, yellow } from './status-line.ts';
import { since, until } from './status-times.ts';
import { formatBytes, plural } from './ui.ts';
import { hang } from './width.ts';

/** As wide as a terminal of `columns`; undefined: as wide as it is. */
export function statusLines(mount: Status, nowMs: number, columns: number | undefined): Line[] {
  return describe(mount, nowMs).flatMap((line) => {
    const text = textOf(line);
    // But for a directory of a part that is longer.
    const lead = text[13] === ' ' ? text.slice(0, 14) : (/^ +\S+ /.exec(text)?.[0] ?? '');
    return hang(lead, text.slice(lead.length), columns).map((each) =>
      typeof line === 'string' ? each : { ...line, text: each },
    );
  });
}

const OF_STATE = { live: green, starting: yellow, failing: red } as const;

function describe(mount: Status, nowMs: number): Line[] {
  const { live, error, lastCheck } = mount;
  const { parts = [] } = mount;
  const isStale = mount.bundleCache?.stale === true;
  const lines: Line[] = [
    (isStale ? yellow : OF_STATE[mount.state])(
      `${mount.instance}: ${mount.state}${isStale ? ', stale' : ''}`,
    ),
    `  running     version ${mount.version}, pid ${mount.pid}, since ${since(mount.started, nowMs)}`,
    `  mountpoint  ${mount.mountpoint}`,
    ...(parts.length === 0 ? [`  bundle      ${mount.bundle} (name ${mount.name})`] : []),
    `  driver      ${mount.driver} (${mount.driverReason})`,
    ...describeServing(mount),
  ];
  if (live !== null) {
    const lock = live.locked ? 'locked in memory' : 'not locked: see --allow-swap in docs/threat-model.md';
    lines.push(
      `  generation  ${live.id}, serial ${live.serial}, active since ${since(live.activated, nowMs)}`,
      `  sealed      ${since(live.created, nowMs)}`,
      `  revision    ${live.revision}`,
      `  content     ${plural(live.files, 'file')}, ${formatBytes(live.bytes)}, ${lock}`,
    );
  }
  for (const { id, bytes, reason, heldSince } of mount.lingering) {
    const held = heldSince === undefined ? '' : ` since ${since(heldSince, nowMs)}`;
    lines.push(
      `  lingering   generation ${id}, ${formatBytes(bytes)}${held}: ${reason ?? 'open files still hold it'}`,
    );
  }
  lines.push(
    ...describeConfig(mount),
    ...describeMachine(mount),
    ...describeChecks(mount, nowMs),
    ...describeHooks(mount),
  );
  const problem = mount.floor?.problem ?? null;
  if (problem !== null)
    lines.push(yellow(`  warning     the serial is forgotten at the next start: ${problem}`));
  lines.push(...describeCache(mount, '  ', nowMs));
  if (lastCheck !== null) lines.push(`  last check  ${since(lastCheck.at, nowMs)}: ${lastCheck.outcome}`);
  lines.push(...describeNoticing(mount, nowMs), ...parts.flatMap((part) => describePart(part, nowMs)));
  // Of several bundles, each has told its own.
  if (error !== null && parts.length === 0) {
    lines.push(red(`  error       ${error.message} (${error.code})`));
    lines.push(`              since ${since(error.since, nowMs)}, ${plural(error.attempts, 'attempt')}`);
    if (error.hint !== undefined) lines.push(`  hint        ${error.hint}`);
  }
  return lines;
}

function describeCache(
  { bundleCache }: Pick<PartStatus, 'bundleCache'>,
  indent: string,
  nowMs: number,
): Line[] {
  if (bundleCache == null) return [];
  const { stale, file, confirmed, problem } = bundleCache;
  const line = (what: string, text: string) => `${(indent + what).padEnd(14)}${text}`;
  const last = confirmed === null ? '' : `, which a source had last ${since(confirmed, nowMs)}`;
  return [
    ...(stale ? [yellow(line('stale', `what is live is from ${file}${last}`))] : []),
    ...(problem !== null ? [yellow(line('warning', `${file}: ${problem}`))] : []),
  ];
}

function describePart(part: PartStatus, nowMs: number): Line[] {
  const { directory, name, bundle, state, live, error, floor, queue } = part;
  const serial =
    live === null ? 'nothing yet' : `serial ${live.serial}, active since ${since(live.activated, nowMs)}`;
  const lines: Line[] = [
    OF_STATE[state](`  ${`${directory}/`.padEnd(11)} ${state}: ${serial}`),
    `    bundle    ${bundle} (name ${name})`,
  ];
  if (floor.problem !== null)
    lines.push(yellow(`    warning   the serial is forgotten at the next start: ${floor.problem}`));
  lines.push(...describeCache(part, '    ', nowMs));
  if (queue !== null) lines.push(`    queue     ${queue.state}`);
  if (error !== null) {
    lines.push(red(`    error     ${error.message} (${error.code})`));
    lines.push(`              since ${since(error.since, nowMs)}, ${plural(error.attempts, 'attempt')}`);
    if (error.hint !== undefined) lines.push(`    hint      ${error.hint}`);
  }
  return lines;
}

function describeConfig({ config }: Status): Line[] {
  if (config == null) return [];
  const { path, loadedAt, state, error, restartNeeded } = config;
  const lines: Line[] = [
    `  config      ${path}, in force since ${loadedAt}${state === 'current' ? '' : `: ${state}`}`,
  ];
  if (error !== null) lines.push(red(`  config      ${error.message} (${error.code})`));
  if (error?.hint !== undefined) lines.push(`  hint        ${error.hint}`);
  if (restartNeeded.length > 0)
    lines.push(yellow(`  config      a restart is needed for: ${restartNeeded.join(', ')}`));
  return lines;
}

function describeNoticing({ sources = [], nextCheck, nextAttempt, queue }: Status, nowMs: number): Line[] {
  const lines: Line[] = [];
  if (nextCheck != null) lines.push(`  next check  ${until(nextCheck, nowMs)}`);
  if (nextAttempt != null) {
    const why = nextAttempt.limited ? ': as many were opened as --unseal-limit lets' : '';
    lines.push(`  next try    ${until(nextAttempt.at, nowMs)}${why}`);
  }
  // One alone is the mount's bundle, and its error the mount's.
  for (const { bundle, state, error } of sources.length > 1 ? sources : []) {
    const text = `  source      ${bundle}: ${state}${error === null ? '' : `: ${error.message} (${error.code})`}`;
    lines.push(error === null ? text : yellow(text));
  }
  if (queue != null) {
    const said = queue.error === null ? plural(queue.messages, 'message') : queue.error.message;
    const text = `  queue       ${queue.state}: ${said}`;
    lines.push(queue.error === null ? text : yellow(text));
  }
  return lines;
}

function describeServing(mount: Status): Line[] {
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

function describeChecks(mount: Status, nowMs: number): Line[] {
  const { warnings = [], kept = [] } = mount;
  const lines = certificateLines(mount, nowMs);
  for (const path of kept)
    lines.push(yellow(`  kept        ${quote(path)}: its live version, the new one is refused`));
  for (const { path, rule, expected, found } of warnings)
    lines.push(yellow(`  warning     ${quote(path)} (${rule}): found ${found}, want ${expected}`));
  return lines;
}

function describeMachine({ memory, processes = [], successorProblem }: Status): Line[] {
  const lines: Line[] = [];
  if (memory !== undefined) {
    const { storeBytes, maxBytes, availableBytes } = memory;
    const parts = [`store ${formatBytes(storeBytes)}`];
    if (maxBytes != null) parts.push(`at most ${formatBytes(maxBytes)}`);
    if (availableBytes != null) parts.push(`${formatBytes(availableBytes)} available`);
    const own = processes
      .map(({ anonymousBytes }) => anonymousBytes ?? 0)
      .reduce((sum, each) => sum + each, 0);
    if (own > 0) parts.push(`processes ${formatBytes(own)}`);
    lines.push(`  memory      ${parts.join(', ')}`);
  }
  for (const { role, pid, user, started, restarts, anonymousBytes } of processes) {
    const again = restarts === 0 ? '' : `, ${plural(restarts, 'restart')}`;
    const own = anonymousBytes == null ? '' : `, ${formatBytes(anonymousBytes)}`;
    lines.push(`  process     ${role} ${pid} as ${user} since ${started}${own}${again}`);
  }
  if (successorProblem != null) {
    lines.push(
      yellow(`  warning     no successor is ready: ${successorProblem}`),
      '  hint        install a version of the program that can serve this mount: it is tried again',
    );
  }
  return lines;
}

/** Of those that do what they should, how many; of the others, each. */
function describeHooks({ hooks = [], probes = [] }: Status): Line[] {
  const lines: Line[] = [];
  const failed = hooks.filter(({ outcome }) => outcome === 'failed');
  const astray = probes.filter(({ verdict }) => verdict === 'wrong' || verdict === 'unreachable');
  if (hooks.length > 0) {
    const served = probes.filter(({ verdict }) => verdict === 'served').length;
    const seen =
      probes.length === 0 ? '' : `, served as it should be at ${served} of ${plural(probes.length, 'place')}`;
    lines.push(`  hooks       ${hooks.length - failed.length} of ${hooks.length} in order${seen}`);
  }
  for (const { name, error } of failed) lines.push(red(`  hook        ${name} failed: ${error}`));
  for (const { hook, name, verdict, servedSerial, expectedSerial, since, error } of astray) {
    const what =
      verdict === 'wrong'
        ? `serves serial ${servedSerial} since ${since}, want ${expectedSerial}`
        : `can't be reached: ${error}`;
    lines.push(red(`  probe       ${hook}: the agent says that ${name} ${what}`));
  }
  return lines;
}
