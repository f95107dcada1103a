/** For commands that hold plaintext for a moment. */
import { loadNative } from './native.ts';

/**
 * No core dump of this process, and no other process of this user may look into it. Where the native calls can't be
 * had (macOS, a missing package) the command does its work all the same; a mount insists on them.
 */
export async function avoidDumps(): Promise<void> {
  try {
    (await loadNative()).forbidDumps();
  } catch {
    // Said above.
  }
}
