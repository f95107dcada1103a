/** What a failure of a refresh says about trying again. */
import { classOf, type ErrorCode, type SecretsfsError } from '../errors.ts';

/** Refusals that are not of the class of bundles and still concern the bytes alone. */
const REFUSALS: readonly ErrorCode[] = ['key-not-accepted', 'data-key-refused'];
/** Those of a bundle that time heals. */
const CLOCK: readonly ErrorCode[] = ['bundle-serial-future', 'check-clock'];
/** What one machine fails in by itself: its processes. */
const OWN: readonly ErrorCode[] = ['mount-failed', 'unsealer-failed', 'composer-failed'];

/** Whether the same bytes would be refused again whatever happens in the world. */
export function isRefusal({ code }: SecretsfsError): boolean {
  return (classOf(code) === 'bundle' && !CLOCK.includes(code)) || REFUSALS.includes(code);
}

/** Whether nothing says that other instances fail in it too. */
export function isOwnFailure(code: ErrorCode): boolean {
  return OWN.includes(code);
}
