/** The unsealer as a program of its own: dist/unsealer.mjs. */
import { runUnsealer } from '../daemon/unsealer.ts';

await runUnsealer();
