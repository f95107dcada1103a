/** A mount in processes of its own, through the kernel driver. */
import path from 'node:path';
import { DEFAULTS, type Settings } from '../daemon/config.ts';
import type { PartOptions, SharedOptions } from '../daemon/mount-options.ts';
import { Supervisor } from '../daemon/supervisor.ts';
import type { SupervisorOptions, SupervisorPorts } from '../daemon/supervisor-options.ts';
import { ConfigError } from '../errors.ts';
import type { Untrusted } from '../system/trusted.ts';
import type { Context } from './command.ts';
import { configSource } from './config-source.ts';
import type { RunningMount } from './mount-settings.ts';

/** What is of a mount, and of each of its bundles. */
type BothOptions = SharedOptions & { readonly parts: readonly PartOptions[] };

/** `optionsOf`: what is of settings of a config that has changed. */
export function kernelMount(
  options: BothOptions,
  context: Context,
  { log, endsByUmount }: Pick<SupervisorPorts, 'log' | 'endsByUmount'>,
  optionsOf: (settings: Settings) => Promise<BothOptions>,
): RunningMount {
  const config = configSource(context.config, context.settings, async (settings) =>
    kernelOptions(await optionsOf(settings), { ...context, settings, untrustedConfig: undefined }),
  );
  return new Supervisor(
    kernelOptions(options, context),
    // A clock that is set must not let what lingers expire, nor keep it.
    { log, nowMs: () => performance.timeOrigin + performance.now(), clockMs: Date.now, config, endsByUmount },
  );
}

/** Throws ConfigError for settings that contradict each other, and for what a config may not say that others can change. */
function kernelOptions(
  options: BothOptions,
  { settings, asWritten, untrustedConfig }: Pick<Context, 'settings' | 'asWritten' | 'untrustedConfig'>,
): SupervisorOptions {
  const { cache, fastOpen, resend, retireAfter, memoryMax, uidBase, maxStale, selinuxContext } = settings;
  if (fastOpen === true && cache === 'none') {
    throw new ConfigError(
      'config-invalid',
      `cannot use ${asWritten('fastOpen')} with ${asWritten('cache')} none: one contradicts the other`,
      {
        hint: 'an open that the kernel answers by itself leaves what was read in its cache: leave out one of them',
      },
    );
  }
  const { access = [], audit } = settings;
  if (fastOpen === true && (access.length > 0 || audit === true)) {
    const what = access.length > 0 ? 'access' : asWritten('audit');
    throw new ConfigError(
      'config-invalid',
      `cannot use ${what} with ${asWritten('fastOpen')}: one contradicts the other`,
      {
        hint: 'an open that the kernel answers by itself is one that nobody here hears of: leave out one of them',
      },
    );
  }
  const consistencyWindowMs = consistencyWindow(settings);
  const { hooks = [], checks } = settings;
  const execChecks = checks?.exec ?? [];
  if (untrustedConfig !== undefined) {
    if (hooks.length > 0) throw untrusted('hooks', untrustedConfig);
    if (execChecks.length > 0) throw untrusted('checks.exec', untrustedConfig);
  }
  return {
    ...options,
    cache: cache ?? 'page',
    fastOpen: fastOpen === true,
    resend: resend !== 'off',
    retireAfterMs: retireAfter ?? DEFAULTS.retireAfterMs,
    consistencyWindowMs,
    memoryMax,
    uidBase,
    cacheDir: cacheDirectory(settings, options.parts),
    maxStaleMs: maxStale,
    selinuxContext,
    hooks,
    execChecks,
  };
}

function cacheDirectory({ cacheDir, maxStale }: Settings, parts: readonly PartOptions[]): string | undefined {
  if (cacheDir === undefined && maxStale !== undefined) {
    throw new ConfigError('config-invalid', 'cannot use maxStale without cacheDir: nothing is kept', {
      hint: 'give --cache-dir DIR, a directory of root',
    });
  }
  if (cacheDir !== undefined && parts.some(({ formats }) => formats.length > 0)) {
    throw new ConfigError(
      'config-invalid',
      'cannot use both formats and cacheDir: what formats names has no serial that says what is newer',
      { hint: 'leave one of them out' },
    );
  }
  return cacheDir === undefined ? undefined : path.resolve(cacheDir);
}

function untrusted(section: string, { problem, hint }: Untrusted): ConfigError {
  return new ConfigError('config-untrusted', `cannot use ${section} of this config: ${problem}`, {
    hint: `${hint}: whoever may write there could run anything as root`,
  });
}

/** 0 for none, which is what fast opens imply: the server that would have to look at each does not hear of them. */
function consistencyWindow({ fastOpen, consistency, consistencyWindow: windowMs }: Settings): number {
  if (fastOpen === true && consistency === 'process') {
    throw new ConfigError(
      'config-invalid',
      'cannot use consistency process with fastOpen: one contradicts the other',
      { hint: 'an open that the kernel answers by itself is of what is live: leave out one of them' },
    );
  }
  const isNone = consistency === 'none' || fastOpen === true;
  if (isNone && windowMs !== undefined) {
    throw new ConfigError('config-invalid', 'cannot use consistencyWindow: consistency is none', {
      hint: `${consistency === 'none' ? 'consistency none' : 'fastOpen'} says so: leave out one of them`,
    });
  }
  return isNone ? 0 : (windowMs ?? DEFAULTS.consistencyWindowMs);
}
