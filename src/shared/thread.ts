import { Worker, type WorkerOptions } from 'node:worker_threads';
import { throwIfAborted, unlessAborted } from './concurrent.js';

/** Options of {@link runThread}. */
export interface ThreadOptions extends Pick<WorkerOptions, 'name' | 'workerData' | 'resourceLimits'> {
  readonly signal?: AbortSignal | undefined;
}

/**
 * Runs a module in a thread of its own, which ends with the first message that it posts or with `signal`.
 * @returns that message
 * @throws AppError `aborted` when `signal` was; what the thread died of
 */
export async function runThread<T>(entry: URL, { signal, ...options }: ThreadOptions): Promise<T> {
  throwIfAborted(signal);
  // Command-line flags of the parent (a loader of tests, a profiler) are not for it.
  const worker = new Worker(entry, { ...options, execArgv: [] });
  const message = new Promise<T>((resolve, reject) => {
    worker.once('message', resolve);
    worker.once('error', reject);
    worker.once('exit', (code) => reject(new Error(`its thread ended with ${code}`)));
  });
  try {
    return await unlessAborted(message, signal);
  } finally {
    await worker.terminate();
  }
}
