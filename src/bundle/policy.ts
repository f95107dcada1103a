/**
 * What a mount demands of a bundle's header before it asks any key to unwrap anything. It is demanded once, of a header
 * that nothing vouches for yet: unseal() then authenticates the same bytes, or nothing of them is used. Time comes from
 * the caller.
 */
import { BundleError, KeyError, quote } from '../errors.ts';
import { SERIAL_AHEAD_MS_MAX } from '../limits.ts';
import type { AcceptedKey, BundleHeader } from './header.ts';
import type { Kind } from './kind.ts';

/** The lowest acceptable serial: of the newest bundle that was ever accepted, or what a setting demands. */
export interface SerialFloor {
  readonly serial: number;
  /** SHA-256 of that bundle's bytes, in hex. Without it any bundle may have this very serial. */
  readonly sha256?: string | undefined;
  /** For the hint: a setting, what the mount serves, or the record that an earlier mount left in a file. */
  readonly from?: 'setting' | 'live' | { readonly file: string } | undefined;
}

export interface Policy {
  readonly name?: string | undefined;
  /** At least one of these must be among the keys that the bundle is wrapped under. */
  readonly accepted?: readonly AcceptedKey[] | undefined;
  /** Pairs that the author's own context must have. */
  readonly context?: Readonly<Record<string, string>> | undefined;
  readonly floor?: SerialFloor | undefined;
  readonly nowMs: number;
  /** SHA-256 of this bundle's bytes, in hex. Without it a serial equal to the floor's passes. */
  readonly sha256?: string | undefined;
}

/** Throws the first reason to refuse: bundle-name, key-not-accepted, bundle-context, bundle-serial-*. */
export function checkHeader(header: BundleHeader, policy: Policy): void {
  checkName(header, policy.name);
  checkKeys('bundle', header, policy.accepted);
  checkContext('bundle', header, policy.context ?? {});
  checkSerial(header, policy);
}

function checkName(header: BundleHeader, name: string | undefined): void {
  if (name === undefined || header.name === name) return;
  throw new BundleError(
    'bundle-name',
    `cannot accept bundle: its name is ${quote(header.name)}, want ${quote(name)}`,
    {
      hint: `if it is the right bundle, expect its name: --name ${header.name}, or name: in a config`,
    },
  );
}

/** Throws key-not-accepted where none of `accepted` is among the keys of `header`; undefined accepts all. */
export function checkKeys(
  noun: Kind['noun'],
  header: Pick<BundleHeader, 'encryptedDataKeys'>,
  accepted: readonly AcceptedKey[] | undefined,
): void {
  if (accepted === undefined) return;
  if (header.encryptedDataKeys.some((key) => accepted.some((reader) => reader.accepts(key)))) return;
  const wrapped = header.encryptedDataKeys.map((key) => `${key.providerId} ${quote(key.keyName)}`).join(', ');
  const wanted = accepted.map((key) => quote(key.description)).join(' or ') || 'none (no key is accepted)';
  throw new KeyError(
    'key-not-accepted',
    `cannot accept ${noun}: it is wrapped under ${wrapped}, want ${wanted}`,
    {
      hint: 'accept one of its keys with --accept-key (acceptKey: in a config), or have its author add --key for one that you accept',
    },
  );
}

/** Throws bundle-context where `header` has not all pairs of `required`. */
export function checkContext(
  noun: Kind['noun'],
  header: Pick<BundleHeader, 'context'>,
  required: Readonly<Record<string, string>>,
): void {
  for (const [key, value] of Object.entries(required)) {
    const found = Object.hasOwn(header.context, key) ? header.context[key] : undefined;
    if (found === value) continue;
    const observed = found === undefined ? `it has no ${quote(key)}` : `${quote(key)} is ${quote(found)}`;
    throw new BundleError(
      'bundle-context',
      `cannot accept ${noun}: in its context ${observed}, want ${quote(value)}`,
      { hint: `have its author seal it with --context ${key}=${value}, or do not require that pair` },
    );
  }
}

function checkSerial(header: BundleHeader, { floor, nowMs, sha256 }: Policy): void {
  const { serial } = header;
  if (floor !== undefined && serial < floor.serial) {
    throw new BundleError(
      'bundle-serial-low',
      `cannot accept bundle: its serial is ${serial}, want at least ${floor.serial}`,
      { hint: `${hintAbove(floor)}secretsfs reseal gives older content a new serial` },
    );
  }
  const differs = sha256 !== undefined && floor?.sha256 !== undefined && sha256 !== floor.sha256;
  if (serial === floor?.serial && differs) {
    throw new BundleError(
      'bundle-serial-reused',
      `cannot accept bundle: its serial is ${serial}, which another bundle had already`,
      { hint: 'two authors sealed at once, or --serial was repeated: seal it again with a higher serial' },
    );
  }
  if (serial > nowMs + SERIAL_AHEAD_MS_MAX) {
    throw new BundleError(
      'bundle-serial-future',
      `cannot accept bundle: its serial is ${serial}, want at most an hour ahead of the clock`,
      { hint: 'a serial is milliseconds since 1970: check the clock here, and the one where it was sealed' },
    );
  }
}

/** What else there is to do than to seal it again. */
function hintAbove({ from }: SerialFloor): string {
  if (from === undefined) return '';
  if (from === 'setting') return 'minSerial demands it, --allow-rollback or not: set it lower, or ';
  if (from === 'live') return 'a newer one is live: remount --allow-rollback takes this one; ';
  return `a newer one was live before: remove its record, ${quote(from.file)}, to start with this one; `;
}
