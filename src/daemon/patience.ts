/** Asking helpers that may end over a question: what is asked of them can be asked twice. */
import { MountError } from '../errors.ts';
import { NoAnswer } from './helper.ts';

/** At what a helper may end over, or a server hang in. */
const ATTEMPTS = 5;

/** Does it until it does not throw NoAnswer. Throws MountError mount-failed after ATTEMPTS, and whatever else `act` throws. */
export async function patiently<T>(act: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await act();
    } catch (error) {
      if (!(error instanceof NoAnswer)) throw error;
      if (attempt < ATTEMPTS) continue;
      throw new MountError('mount-failed', 'cannot activate: the mount does not answer', {
        hint: 'it is tried again; the log says what happens to the server',
        cause: error,
      });
    }
  }
}
