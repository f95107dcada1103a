/** The frozen files of test/vectors/old. */
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

/** KMS as it was when they were made. */
export const oldKms = () => new StubKms(new Map([[OLD_KEY_ID, oldFile('wrapping-key')]]));

/** What KMS was given as encryption context. */
export const contextOf = ({ context, place }: OldVector): Readonly<Record<string, string>> =>
  place === null ? context : { ...context, Path: place };

/** A vector as the parsers see it. */
export async function recogniseVector({ name, how }: OldVector): Promise<WrappedAndSealed | undefined> {
  return how === 'pair'
    ? joinPair(oldFile(`${name}.kms`), oldFile(`${name}.aes`))
    : recognisePack(oldFile(name));
}
