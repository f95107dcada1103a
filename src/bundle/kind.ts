/**
 * What a sealed message holds. Bundles and single secrets are the same format but for the pairs of their context, so
 * `secretsfs-format` keeps them apart: neither is ever opened as the other.
 */

export interface Kind {
  /** For messages. */
  readonly noun: 'bundle' | 'secret' | 'file';
  /** Of `secretsfs-format`. */
  readonly format: string;
  /** The command that makes one. */
  readonly maker: string;
  /** What to do where somebody expected the other kind. */
  readonly opener: string;
}

/** The version of what is in docs/format.md: of the pairs, and of the plaintext being a tar. */
export const BUNDLE: Kind = {
  noun: 'bundle',
  format: '1',
  maker: 'secretsfs pack',
  opener: 'secretsfs unpack opens a bundle, secretsfs mount serves it',
};

/** The version of the pairs of a single secret; its plaintext is anybody's. */
export const SECRET: Kind = {
  noun: 'secret',
  format: 'secret-1',
  maker: 'secretsfs upload',
  opener: 'secretsfs get and download open a single secret of a store; pack makes a bundle of many',
};

/** A file of anybody's, bound to no place. */
export const FILE: Kind = {
  noun: 'file',
  format: 'file-1',
  maker: 'secretsfs encrypt',
  opener: 'secretsfs decrypt opens it',
};

export const KINDS: readonly Kind[] = [BUNDLE, SECRET, FILE];
