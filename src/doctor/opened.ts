/** A bundle as doctor sees it: opened the way a mount would, looked at and wiped; only what is no content is kept. */
import { createHash } from 'node:crypto';

import type { AwsAccess } from '../aws/access.ts';
import { type ArchiveEntry, lintArchive, readArchive } from '../bundle/archive.ts';
import { readHeader, unseal } from '../bundle/envelope.ts';
import { recognisePack } from '../bundle/old-format.ts';
import { checkHeader } from '../bundle/policy.ts';
import { checkCandidate } from '../checks/candidate.ts';
import type { Problem } from '../checks/findings.ts';
import { ruledEntries } from '../checks/ownership.ts';
import { isDirectory } from '../daemon/location.ts';
import type { MountSource, PartOptions } from '../daemon/mount-options.ts';
import { createSource } from '../daemon/sources.ts';
import { openUnwrapping } from '../keyring/keyring.ts';
import { bundleBytesMax, TAR_BYTES_MAX } from '../limits.ts';
import { avoidDumps } from '../system/dumps.ts';
import { certificatesOfList, type Listed } from './haproxy-config.ts';
import { ServedTree } from './tree.ts';

/** Thousands of lines. */
const LIST_BYTES_MAX = 1024 * 1024;

/** One name of the tree as it would be mounted. */
export interface Served {
  readonly path: string;
  readonly kind: 'file' | 'directory' | 'symlink';
  readonly uid: number;
  readonly gid: number;
  readonly mode: number;
  readonly target: string | undefined;
}

export interface Opened {
  /** Of the ciphertext. */
  readonly bytes: number;
  /** Undefined: a format of before, or a directory of ciphertexts, which a mount alone opens. */
  readonly content: OpenedContent | undefined;
}

export interface OpenedContent {
  readonly serial: number;
  readonly created: string;
  readonly sha256: string;
  /** Of the tar. */
  readonly plainBytes: number;
  readonly served: readonly Served[];
  /** Of those that were asked for, what is there. */
  readonly lists: readonly CertificateList[];
  /** Why it can't be mounted. */
  readonly problems: readonly string[];
  readonly findings: readonly Problem[];
}

/** A crt-list of haproxy that lies in the bundle: the names of files that it has, which are never shown. */
export interface CertificateList {
  readonly path: string;
  /** Undefined: it is a PEM, or too large, and no list. */
  readonly listed: readonly Listed[] | undefined;
}

/** Throws SecretsfsError as a mount would: of the source, the header against policy, the key, the bundle. */
export async function openSource(
  { bundle }: MountSource,
  part: PartOptions,
  options: {
    /** For the bundle, and for its keys. */
    readonly sourceAws: AwsAccess;
    readonly keyAws: AwsAccess;
    readonly preserve: boolean;
    readonly nowMs: number;
    /** Paths in the bundle of lists of certificates. */
    readonly lists: readonly string[];
  },
): Promise<Opened> {
  if (isDirectory(bundle)) return { bytes: 0, content: undefined };
  await avoidDumps();
  const fetched = await createSource(bundle, options.sourceAws).fetch({
    bytesMax: bundleBytesMax(TAR_BYTES_MAX),
  });
  if (fetched === undefined) throw new Error('a first fetch found nothing new');
  const { bytes } = fetched;
  if (part.formats.length > 0 && (await recognisePack(bytes)) !== undefined)
    return { bytes: bytes.length, content: undefined };
  const { keyring, accepted } = await openUnwrapping(part.acceptedKeys, options.keyAws);
  checkHeader(readHeader(bytes), { accepted, nowMs: options.nowMs, name: part.name, context: part.context });
  const { header, plaintext } = await unseal(bytes, { keyring, plaintextBytesMax: TAR_BYTES_MAX });
  try {
    const content = await contentOf(plaintext, part, options);
    const sha256 = createHash('sha256').update(bytes).digest('hex');
    const { serial, created } = header;
    return {
      bytes: bytes.length,
      content: { serial, created, sha256, plainBytes: plaintext.length, ...content },
    };
  } finally {
    plaintext.fill(0);
  }
}

async function contentOf(
  plaintext: Buffer,
  { filesMax, bytesMax, checks, rules }: PartOptions,
  {
    preserve,
    nowMs,
    lists,
  }: { readonly preserve: boolean; readonly nowMs: number; readonly lists: readonly string[] },
): Promise<Pick<OpenedContent, 'served' | 'lists' | 'problems' | 'findings'>> {
  const limits = { filesMax, bytesMax };
  const problems = await lintArchive(plaintext, limits);
  if (problems.length > 0) return { problems, findings: [], served: [], lists: [] };
  const entries = await readArchive(plaintext, limits);
  const { problems: findings } = await checkCandidate(entries, { checks, nowMs });
  const served = ruledEntries(entries, rules, { preserve, owner: { uid: 0, gid: 0 } }).map(
    (entry): Served => {
      const { path, kind, uid, gid, mode } = entry;
      return { path, kind, uid, gid, mode, target: entry.kind === 'symlink' ? entry.target : undefined };
    },
  );
  return { problems, findings, served, lists: listsIn(entries, served, lists) };
}

function listsIn(
  entries: readonly ArchiveEntry[],
  served: readonly Served[],
  paths: readonly string[],
): CertificateList[] {
  const tree = new ServedTree();
  tree.add(undefined, served);
  return paths.flatMap((path): CertificateList[] => {
    const at = tree.find(path)?.path;
    const entry = entries.find((each) => each.path === at);
    if (entry?.kind !== 'file') return [];
    const { data } = entry;
    const text = data.length > LIST_BYTES_MAX ? undefined : Buffer.from(data).toString('latin1');
    const isList = text?.includes('-----BEGIN') === false;
    return [{ path, listed: isList ? certificatesOfList(text) : undefined }];
  });
}
