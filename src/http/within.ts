import type { Context } from 'koa';
import type { Stop } from '../scoring/embed-texts.js';
import { AppError } from '../shared/errors.js';
import { clientOf } from './client-address.js';

/**
 * Runs `work` until it ends, its time is up, or the client goes away; what still waits is then dropped. Node makes a
 * controller's signal when it is asked for, so that work which never waits should not take it.
 */
export async function within<T>(
  context: Context,
  requestTimeoutMs: number,
  work: (stop: Required<Stop>) => Promise<T>,
): Promise<T> {
  // The client may have gone while the body was read.
  if (context.res.destroyed) throw new AppError('aborted', 'the client closed the connection');
  const controller = new AbortController();
  const timer = setTimeout(() => {
    const message = `not answered within ${requestTimeoutMs} ms`;
    controller.abort(new AppError('timeout', message, { retryable: true }));
  }, requestTimeoutMs);
  const onClose = (): void => controller.abort(new AppError('aborted', 'the client closed the connection'));
  context.res.on('close', onClose);
  try {
    return await work({
      client: clientOf(context),
      deadline: performance.now() + requestTimeoutMs,
      get signal() {
        return controller.signal;
      },
    });
  } catch (error) {
    // Whatever form the abort took on its way down, its reason is what happened.
    throw controller.signal.aborted ? controller.signal.reason : error;
  } finally {
    clearTimeout(timer);
    context.res.off('close', onClose);
  }
}
