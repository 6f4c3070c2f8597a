/** The process of a crowd: does what it is told to, says what came of it, and ends with whoever started it. */
import { messageOf } from '../src/errors.js';
import { capacityOf } from './closed-loop.js';
import type { CrowdReport, CrowdTask } from './crowd.js';
import { openLoop } from './open-loop.js';
import { beRude, RUDENESS, type RudeLimits } from './rude-clients.js';

const WORK = {
  capacityOf,
  openLoop,
  beRude: (port: number, kind: string, limits: RudeLimits): Promise<number> => {
    const rudeness = RUDENESS.find((one) => one.kind === kind);
    if (!rudeness) throw new Error(`nobody is rude like that: ${kind}`);
    return beRude(port, rudeness, limits);
  },
};

/** What a crowd can do. */
export type CrowdWork = typeof WORK;

async function report({ id, work, args }: CrowdTask): Promise<CrowdReport> {
  try {
    // The arguments were checked where they were given.
    const does = WORK[work] as (...args: readonly unknown[]) => Promise<unknown>;
    return { id, result: await does(...args) };
  } catch (error) {
    return { id, error: messageOf(error) };
  }
}

process.on('message', (task: CrowdTask) => {
  void report(task).then((done) => process.send?.(done));
});
process.once('disconnect', () => process.exit());
process.send?.('ready');
