import { writeFileSync } from 'node:fs';
import { constants, getPriority, setPriority } from 'node:os';

const LOWEST_PRIORITY = constants.priority.PRIORITY_LOW;

/**
 * Lets the daemon's own process go first: it gets a core as soon as it wants one, which is seldom and short, while a child
 * wants one all the time. When memory runs out, the kernel ends a child, which is replaced.
 * @param niceness steps below the daemon
 */
export function lowerPriority(niceness: number): void {
  try {
    setPriority(Math.min(LOWEST_PRIORITY, getPriority() + niceness));
    writeFileSync('/proc/self/oom_score_adj', '500');
  } catch {
    // Not Linux, or not allowed: then the kernel chooses.
  }
}
