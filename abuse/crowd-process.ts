/** The process of a crowd: does what it is told to, says what came of it, and ends with whoever started it. */
import type { Golden } from '../campaign/load.js';
import { messageOf } from '../src/shared/errors.js';
import { capacityOf } from './closed-loop.js';
import type { CrowdReport, CrowdTask } from './crowd.js';
import { GoodTraffic } from './good-traffic.js';
import { openLoop } from './open-loop.js';
import { beRudeTogether } from './rude-clients.js';

let good: GoodTraffic | undefined;

const WORK = {
  capacityOf,
  openLoop,
  /** Begins to classify as good clients do, until `endGood`. */
  beginGood: async (url: string, golden: readonly Golden[], perSecond: number): Promise<void> => {
    good = new GoodTraffic(url, golden, perSecond);
  },
  /** Latencies of the good clients since they were taken last, in milliseconds. */
  takeGood: async (): Promise<number[]> => good?.take() ?? [],
  /** What went wrong with the good clients, and how late they themselves were in sending. */
  endGood: async (): Promise<{ readonly faults: readonly string[]; readonly late: readonly number[] }> => {
    await good?.stop();
    return { faults: good?.faults ?? [], late: good?.late ?? [] };
  },
  beRudeTogether,
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
