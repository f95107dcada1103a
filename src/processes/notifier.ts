/** The notifier as a program of its own: dist/notifier.mjs. */
import { runNotifier } from '../daemon/notifier.ts';

runNotifier();
