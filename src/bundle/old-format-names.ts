/** The formats that are not ours, as `formats:` of a config names them. Apart, so that settings can be read without a parser. */

export const OLD_FORMATS = ['sneaker', 'kms-secrets', 'kms'] as const;
export type OldFormat = (typeof OLD_FORMATS)[number];

/** For hints: the flag that takes `format` beside those that are taken already. */
export function flagFor(format: OldFormat, formats: readonly OldFormat[]): string {
  return `--formats ${[...formats, format].join(',')}`;
}
