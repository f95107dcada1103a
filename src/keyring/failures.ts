/** Of several failed ways to a data key, the one that a person should hear about. */
import { ConfigError, type ErrorCode, KeyError, SecretsfsError } from '../errors.ts';

/** First those that will not pass by themselves and name their remedy. */
const TELLING: readonly ErrorCode[] = [
  'data-key-refused',
  'key-denied',
  'key-pending-deletion',
  'key-disabled',
  'key-state',
  'key-not-found',
  'key-invalid',
  'clock-skewed',
  'credentials-expired',
  'credentials-invalid',
  'credentials-missing',
  'region-missing',
  'key-throttled',
  'key-unreachable',
];

function rank(error: SecretsfsError): number {
  const place = TELLING.indexOf(error.code);
  return place === -1 ? TELLING.length : place;
}

/** The most telling of `errors` (not empty); it says how many others there were, and of which kind. */
export function mostTelling(errors: readonly SecretsfsError[]): SecretsfsError {
  const sorted = [...errors].sort((a, b) => rank(a) - rank(b));
  const [first, ...rest] = sorted;
  if (first === undefined) throw new Error('mostTelling() of nothing');
  if (rest.length === 0) return first;
  const others = rest.map((e) => e.code).join(', ');
  const message = `${first.message} (and ${rest.length} more: ${others})`;
  const details = { hint: first.hint, cause: first };
  if (first instanceof KeyError) return new KeyError(first.code, message, details);
  if (first instanceof ConfigError) return new ConfigError(first.code, message, details);
  return new SecretsfsError(first.code, message, details);
}
