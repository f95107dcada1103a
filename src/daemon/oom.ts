/** Who goes when memory runs out: not the process that holds everything together. proc_pid_oom_score_adj(5). */
import { writeFileSync } from 'node:fs';

/** Never: in a small control group less is outweighed by what a process holds, and everything else can be started again. */
const SUPERVISOR = -1000;
/** An unsealer or a trial costs one attempt, an agent nothing that is served; the others are started again. */
export const OOM_SCORES = { server: -800, helper: -800, unsealer: 800, trial: 800, agent: 300 } as const;

/** Where it is not allowed (a container without CAP_SYS_RESOURCE) the kernel's own choice stands. */
export function setOomScore(pid: number | 'self', score: number): void {
  try {
    writeFileSync(`/proc/${pid}/oom_score_adj`, `${score}`);
  } catch {
    // Said above; and a child may be gone already.
  }
}

/** For the supervisor itself; children inherit it until they are given one of their own. */
export function protectFromOom(): void {
  setOomScore('self', SUPERVISOR);
}
