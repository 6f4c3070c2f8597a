import type { Context } from 'koa';
import { AppError } from '../errors.js';

/** Runs `work` until it ends, its time is up, or the client goes away; what still waits is then dropped. */
export async function within<T>(
  context: Context,
  requestTimeoutMs: number,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const controller = new AbortController();
  const stop = (error: AppError): void => controller.abort(error);
  const timer = setTimeout(
    () => stop(new AppError('timeout', `not answered within ${requestTimeoutMs} ms`, { retryable: true })),
    requestTimeoutMs,
  );
  const onClose = (): void => stop(new AppError('aborted', 'the client went away'));
  context.res.once('close', onClose);
  try {
    return await work(controller.signal);
  } catch (error) {
    // Whatever form the abort took on its way down, its reason is what happened.
    throw controller.signal.aborted ? controller.signal.reason : error;
  } finally {
    clearTimeout(timer);
    context.res.off('close', onClose);
  }
}
