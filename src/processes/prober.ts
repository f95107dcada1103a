/** The prober as a program of its own: dist/prober.mjs. */
import { runProber } from '../daemon/prober.ts';

runProber();
