import { writeFileSync } from 'node:fs';
import { constants, getPriority, setPriority } from 'node:os';

/**
 * Steps of `nice` of a child below the daemon. Measured in a flood of four times what two cores can answer: refusals that took
 * 178 ms (p99, once settled) with 2 take 29, and the rate of answers stays. More gives more away to whatever else runs on the
 * machine.
 */
export const NICENESS = 5;

const LOWEST_PRIORITY = constants.priority.PRIORITY_LOW;

/** Returns the variables of the daemon's environment that a child gets: it needs no keys, tokens or NODE_OPTIONS. */
export function childEnv(): NodeJS.ProcessEnv {
  const { PATH, LD_LIBRARY_PATH, TZ } = process.env;
  return { PATH, LD_LIBRARY_PATH, TZ };
}

/**
 * Makes this process a child of the daemon. The daemon decides when it ends: a terminal's Ctrl-C reaches the whole process
 * group. The daemon goes first: it gets a core as soon as it wants one, which is seldom and short, while a child wants one all
 * the time. When memory runs out, the kernel ends a child, which is replaced.
 */
export function becomeChild(): void {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => {});
  try {
    setPriority(Math.min(LOWEST_PRIORITY, getPriority() + NICENESS));
    writeFileSync('/proc/self/oom_score_adj', '500');
  } catch {
    // Not Linux, or not allowed: then the kernel chooses.
  }
}
