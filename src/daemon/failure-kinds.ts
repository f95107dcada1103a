/** What a failure of a refresh says about trying again, and about a start that waits. */
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

/** Of the set-up, what comes by itself: a metadata service that answers, a role, a clock that is set. */
const COMING: readonly ErrorCode[] = [
  'region-missing',
  'credentials-missing',
  'credentials-expired',
  'credentials-invalid',
  'clock-skewed',
];
/** Of the mount, what passes: a process of ours ended; memory is short; a program does not like the bundle. */
const PASSING: readonly ErrorCode[] = ['unsealer-failed', 'composer-failed', 'memory-exceeded', 'check-exec'];

/**
 * Whether a start waits for the end of it. `soon`: asking again costs nobody anything. `spread`: it may cost a use of a key, whose
 * quota others share. `never`: it is a mistake here, and stays one until somebody corrects it.
 */
export function startWaits(code: ErrorCode): 'never' | 'soon' | 'spread' {
  switch (classOf(code)) {
    case 'source':
      return code === 'source-invalid' ? 'never' : 'soon';
    case 'config':
      return COMING.includes(code) ? 'soon' : 'never';
    case 'key':
    case 'bundle':
      return 'spread';
    case 'mount':
      if (!PASSING.includes(code)) return 'never';
      return isOwnFailure(code) ? 'soon' : 'spread';
    default:
      return 'never';
  }
}
