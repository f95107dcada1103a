/** The teller as a program of its own: dist/teller.mjs. */
import { runTeller } from '../daemon/teller.ts';

runTeller();
