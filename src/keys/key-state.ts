/**
 * What KMS refuses for the state that a key is in: https://docs.aws.amazon.com/kms/latest/developerguide/key-state.html. Only what
 * is certain: a key that is to be deleted, and rotations of one that is disabled. The rest is KMS's to say.
 */
import { type KeyCall, keyStateError } from '../aws/key-errors.ts';
import type { KeyFacts } from './key-facts.ts';

export const isPendingDeletion = ({ state }: KeyFacts): boolean => /^Pending.*Deletion$/.test(state);

const OF_ENABLED_KEYS: readonly KeyCall[] = ['EnableKeyRotation', 'DisableKeyRotation', 'RotateKeyOnDemand'];

/** Throws KeyError, in the words that KMS's own refusal is told in. */
export function checkState(key: KeyFacts, call: KeyCall): void {
  if (isPendingDeletion(key)) throw keyStateError(call, key.arn.text, 'pending-deletion');
  if (key.state === 'Disabled' && OF_ENABLED_KEYS.includes(call))
    throw keyStateError(call, key.arn.text, 'disabled');
}
