/**
 * An open loop in a process of its own, so that a few requests beside a load are not delayed by the client that makes
 * the load. Forked by {@link startProber}.
 */
import { type OpenLoop, openLoop } from './open-loop.js';
import type { ToProber } from './prober-process.js';

process.on('message', ({ url, rate, seconds }: ToProber) => {
  void openLoop({ url }, rate, seconds).then((seen: OpenLoop) => process.send?.(seen));
});
process.on('disconnect', () => process.exit(0));
process.send?.('ready');
