/**
 * A process that runs cycles in threads, as a daemon with worker threads would: it lives on while threads come and
 * go, until a crash in one of them ends it. Its main thread never loads the runtime.
 */
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import type { CycleTask } from './cycle.js';
import type { Outcome } from './lives.js';

const cycle = new URL('./cycle.js', import.meta.url);
let stays: Worker | undefined;

process.on('message', async ({ tasks, stay }: { tasks: readonly CycleTask[]; stay: boolean }) => {
  if (stay && !stays) {
    stays = new Worker(cycle, { workerData: { ...tasks[0], stay } });
    await once(stays, 'message');
  }
  process.send?.(await Promise.all(tasks.map(inThread)));
});
process.on('disconnect', () => process.exit(0));

async function inThread(task: CycleTask): Promise<Outcome> {
  const worker = new Worker(cycle, { workerData: task });
  const ended = once(worker, 'exit');
  try {
    const [answer] = (await Promise.race([once(worker, 'message'), ended])) as [Outcome | number];
    await worker.terminate();
    return typeof answer === 'number' ? { error: `thread ended with ${answer}` } : answer;
  } catch (error) {
    await worker.terminate();
    return { error: String(error) };
  }
}
