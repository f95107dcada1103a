/** What ciphertexts of KMS begin with, for guesses: nobody promises it. PURE. */
import { Buffer } from 'node:buffer';

/** The last was until 2016. */
export const KMS_BEGINNINGS: readonly Buffer[] = [
  Buffer.from([0x01, 0x02]),
  Buffer.from([0x01, 0x01]),
  Buffer.from([0x0a, 0x20]),
];

export function beginsLikeKms(blob: Uint8Array): boolean {
  return KMS_BEGINNINGS.some((beginning) => beginning.equals(blob.subarray(0, beginning.length)));
}
