/** The agent as a program of its own: dist/agent.mjs. */
import { runAgent } from '../daemon/agent.ts';

await runAgent();
