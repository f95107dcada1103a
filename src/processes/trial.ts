/** The trial runner as a program of its own: dist/trial.mjs. */
import { runTrialRunner } from '../daemon/trial-runner.ts';

await runTrialRunner();
