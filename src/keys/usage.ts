/**
 * What is still wrapped by a key, wherever it was looked: one object at a time is judged, and what could not be seen is kept beside
 * what was. A deletion goes by both.
 */
import { KeyError, SecretsfsError } from '../errors.ts';
import { isSameKey, type KmsSpec, parseKeyArn } from '../keyring/spec.ts';
import type { KeyFacts } from './key-facts.ts';
import { HEAD_BYTES, secondMember, type What, type Wrapping, wrappingOf } from './wrapped-by.ts';

/** One version of one object, or a file. */
export interface Candidate {
  /** s3://bucket/key or a path. */
  readonly location: string;
  /** Where versions are kept. */
  readonly version: string | undefined;
  readonly current: boolean;
  readonly size: number;
  /** Throws SecretsfsError. `s3Key`: with which key S3 itself encrypted it. */
  read(
    offset: number,
    bytes: number,
  ): Promise<{ readonly bytes: Buffer; readonly s3Key: string | undefined }>;
}

export interface OtherKey {
  readonly key: string;
  /** As KMS says it; `missing`, `unknown` (not allowed to look), or `file` for a key file. */
  readonly state: string;
}

export interface Use {
  readonly location: string;
  readonly version: string | null;
  readonly current: boolean;
  /** What it is; `sse`: S3's own layer of encryption; `grant` and `bucket`: not an object. */
  readonly what: What | 'sse' | 'grant' | 'bucket';
  /** Of a bundle. */
  readonly name: string | null;
  /** What else wraps it. */
  readonly others: readonly OtherKey[];
  /** Nothing else can open it; null where that can't be told. */
  readonly only: boolean | null;
}

export interface Unseen {
  readonly location: string;
  readonly version: string | null;
  readonly why: string;
  /** What to do about it. */
  readonly hint: string | null;
}

export interface Usage {
  readonly uses: Use[];
  readonly unseen: Unseen[];
  /** How many objects and versions were looked at. */
  looked: number;
}

/** What is asked of KMS about other keys, and about what names none. */
export interface UsagePorts {
  describe(keyId: string): Promise<KeyFacts>;
  /** Wipes what it opened; throws KeyError. Tries each of the contexts that an object at this location may have. */
  opens(blob: Buffer, key: KmsSpec, what: What, location: string): Promise<'yes' | 'no' | 'unknown'>;
}

/** Of the state of another key: KMS will never open with it again. */
export function canOpenNoMore(state: string): boolean {
  return GONE.has(state);
}

const GONE = new Set(['missing', 'PendingDeletion', 'PendingReplicaDeletion']);

export class UsageAudit {
  readonly usage: Usage = { uses: [], unseen: [], looked: 0 };
  readonly #key: KeyFacts;
  readonly #ports: UsagePorts;
  readonly #states = new Map<string, Promise<string>>();

  constructor(key: KeyFacts, ports: UsagePorts) {
    this.#key = key;
    this.#ports = ports;
  }

  /** Takes note of one object. Throws for what is not about this object alone: credentials, region, bugs. */
  async look(candidate: Candidate): Promise<void> {
    this.usage.looked++;
    try {
      const { wrapping, s3Key } = await readWrapping(candidate);
      if (s3Key !== undefined && this.names(s3Key)) this.#use(candidate, 'sse', null, []);
      await this.#judge(candidate, wrapping);
    } catch (error) {
      if (!(error instanceof SecretsfsError) || error.exitCode === 3) throw error;
      this.unseen(candidate.location, candidate.version, error);
    }
  }

  unseen(location: string, version: string | undefined, why: SecretsfsError | string): void {
    const told = typeof why === 'string' ? { why, hint: null } : { why: why.message, hint: why.hint ?? null };
    this.usage.unseen.push({ location, version: version ?? null, ...told });
  }

  /** What uses the key and is no object: a grant, or a bucket that encrypts what comes. */
  usedBy(location: string, what: 'grant' | 'bucket', name: string | null): void {
    const whole = { location, version: null, current: true, size: 0 };
    this.usage.uses.push({ ...useOf({ ...whole, version: undefined }, what, name), others: [], only: null });
  }

  /** Whether a key's ARN or id, as somebody wrote it down, is this key's. */
  names(text: string): boolean {
    return isNameOf(this.#key, text);
  }

  /** Whether a bucket's default encryption, which may name an alias, is by this key. */
  async isNamedBy(text: string, location: string): Promise<boolean> {
    if (parseKeyArn(text)?.kind !== 'alias' && !text.startsWith('alias/')) return this.names(text);
    try {
      return this.names((await this.#ports.describe(text)).arn.text);
    } catch (error) {
      if (!(error instanceof KeyError)) throw error;
      if (error.code !== 'key-not-found') this.unseen(location, undefined, error);
      return false;
    }
  }

  async #judge(candidate: Candidate, wrapping: Wrapping): Promise<void> {
    switch (wrapping.kind) {
      case 'named': {
        const { keys, what, name = null } = wrapping;
        const others = keys.filter(({ keyName }) => !this.names(keyName));
        if (others.length === keys.length) return;
        const states = others.map(async ({ providerId, keyName }): Promise<OtherKey> => {
          return { key: keyName, state: await this.#stateOf(providerId, keyName) };
        });
        return this.#use(candidate, what, name, await Promise.all(states));
      }
      case 'ask': {
        const { what, blob } = wrapping;
        const spec: KmsSpec = { kind: 'kms', keyId: this.#key.arn.text, arn: this.#key.arn };
        const answer = await this.#ports.opens(blob, spec, what, candidate.location);
        if (answer === 'yes') this.#use(candidate, what, null, []);
        if (answer === 'unknown') {
          const why = `KMS can not tell which key encrypted it (${what}): its encryption context may be missing, --context`;
          this.unseen(candidate.location, candidate.version, why);
        }
        return;
      }
      case 'damaged':
      case 'more':
        return this.unseen(
          candidate.location,
          candidate.version,
          'it is a message whose header is cut short',
        );
      case 'none':
        return undefined;
    }
  }

  #use(candidate: Candidate, what: Use['what'], name: string | null, others: readonly OtherKey[]): void {
    const open = others.filter(({ state }) => !canOpenNoMore(state));
    const only = open.length === 0 ? true : open.every(({ state }) => state === 'unknown') ? null : false;
    this.usage.uses.push({ ...useOf(candidate, what, name), others, only });
  }

  /** Each key is looked at once. */
  #stateOf(providerId: string, keyName: string): Promise<string> {
    if (providerId !== 'aws-kms') return Promise.resolve('file');
    const known = this.#states.get(keyName);
    if (known !== undefined) return known;
    const state = this.#ports.describe(keyName).then(
      (facts) => facts.state,
      (error: unknown) => {
        if (!(error instanceof SecretsfsError)) throw error;
        return error instanceof KeyError && error.code === 'key-not-found' ? 'missing' : 'unknown';
      },
    );
    this.#states.set(keyName, state);
    return state;
  }
}

/** Whether a key's ARN or id, as somebody wrote it down, is that of this key. */
export function isNameOf({ arn, replicas }: KeyFacts, text: string): boolean {
  const other = parseKeyArn(text);
  if (other === undefined) return text === arn.id;
  // Where there are other replicas, each answers for what names it.
  return replicas.length > 1 ? other.text === arn.text : isSameKey(other, arn);
}

function useOf(
  { location, version, current }: Omit<Candidate, 'read'>,
  what: Use['what'],
  name: string | null,
) {
  return { location, version: version ?? null, current, what, name };
}

async function readWrapping(
  candidate: Candidate,
): Promise<{ wrapping: Wrapping; s3Key: string | undefined }> {
  const { bytes: head, s3Key } = await candidate.read(0, HEAD_BYTES);
  const wrapping = wrappingOf(head, candidate.size);
  if (wrapping.kind !== 'more') return { wrapping, s3Key };
  const { offset, bytes } = wrapping;
  if (offset >= candidate.size) return { wrapping: { kind: 'damaged' }, s3Key };
  const more = await candidate.read(offset, bytes);
  return {
    wrapping: offset === 0 ? wrappingOf(more.bytes, candidate.size) : secondMember(more.bytes),
    s3Key,
  };
}

/** Whether a deletion may go ahead. */
export function isUnused({ uses, unseen }: Usage): boolean {
  return uses.length === 0 && unseen.length === 0;
}
