import { Worker } from 'node:worker_threads';
import { AppError, messageOf } from '../../errors.js';
import { throwIfAborted } from '../concurrent.js';
import type { HeadProblem } from './fit-head.js';

/** The compiled `head-worker.js`. */
export const HEAD_WORKER = new URL('./head-worker.js', import.meta.url);

/**
 * Trains a head in a thread of its own, which ends with the work or with `signal`.
 * @returns the encoded head
 * @throws AppError `aborted` when `signal` was; `internal` when training failed
 */
export async function trainHead(
  problem: HeadProblem,
  { signal, workerEntry = HEAD_WORKER }: { readonly signal?: AbortSignal; readonly workerEntry?: URL },
): Promise<Uint8Array> {
  throwIfAborted(signal);
  const worker = new Worker(workerEntry, {
    name: 'head',
    workerData: problem,
    // Command-line flags of the parent (a loader of tests, a profiler) are not for it.
    execArgv: [],
  });
  const failed = (reason: unknown): AppError =>
    new AppError('internal', `the head could not be trained: ${messageOf(reason)}`, { cause: reason });
  let stop: (() => void) | undefined;
  try {
    return await new Promise<Uint8Array>((resolve, reject) => {
      worker.once('message', resolve);
      worker.once('error', (error) => reject(failed(error)));
      worker.once('exit', (code) => reject(failed(new Error(`its thread ended with ${code}`))));
      stop = () => {
        try {
          throwIfAborted(signal);
        } catch (error) {
          reject(error);
        }
      };
      signal?.addEventListener('abort', stop, { once: true });
    });
  } finally {
    if (stop) signal?.removeEventListener('abort', stop);
    await worker.terminate();
  }
}
