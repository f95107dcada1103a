/** The frozen files of test/vectors/old. */
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { joinPair, recognisePack, type WrappedAndSealed } from '../../src/bundle/old-format.ts';
import { VECTORS } from './paths.ts';
import { StubKms } from './stub-kms.ts';

export interface OldVector {
  readonly name: string;
  readonly how: 'pair' | 'tar' | 'object';
  readonly era: 'A' | 'B' | 'C';
  readonly context: Readonly<Record<string, string>>;
  /** Of a stored secret since 4 February 2015. */
  readonly place: string | null;
  readonly opensTo: string;
}

export const oldFile = (name: string) => readFileSync(path.join(VECTORS, 'old', name));

const index = JSON.parse(oldFile('index.json').toString()) as {
  readonly keyId: string;
  readonly vectors: readonly OldVector[];
};
export const OLD_KEY_ID = index.keyId;
export const OLD_VECTORS = index.vectors;
export const OLD_CONTEXT = { team: 'infra', Zone: 'north' };

/** A key that KMS has too, and that nothing of them is under. */
export const OLD_OTHER_KEY_ID = `${OLD_KEY_ID.slice(0, -1)}e`;
/** KMS as it was when they were made. */
export const oldKms = () => {
  const keys = [OLD_OTHER_KEY_ID, OLD_KEY_ID] as const;
  return new StubKms(
    new Map(keys.map((id) => [id, id === OLD_KEY_ID ? oldFile('wrapping-key') : randomBytes(32)])),
  );
};

/** What KMS was given as encryption context. */
export const contextOf = ({ context, place }: OldVector): Readonly<Record<string, string>> =>
  place === null ? context : { ...context, Path: place };

/** A vector as the parsers see it. */
export async function recogniseVector({ name, how }: OldVector): Promise<WrappedAndSealed | undefined> {
  return how === 'pair'
    ? joinPair(oldFile(`${name}.kms`), oldFile(`${name}.aes`))
    : recognisePack(oldFile(name));
}
