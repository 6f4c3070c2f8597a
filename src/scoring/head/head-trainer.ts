import { AppError, messageOf } from '../../shared/errors.js';
import { runThread } from '../../shared/thread.js';
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
  try {
    return await runThread<Uint8Array>(workerEntry, { name: 'head', workerData: problem, signal });
  } catch (reason) {
    if (reason instanceof AppError) throw reason;
    throw new AppError('internal', `the head could not be trained: ${messageOf(reason)}`, { cause: reason });
  }
}
