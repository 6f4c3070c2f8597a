import type { Log } from '../shared/log.js';
import type { RequestMetrics } from './metrics.js';
import type { ServerEvents } from './server.js';

/** A full server says so at most this often, in milliseconds. */
const FULL_EVERY_MS = 10_000;

/** Counts and logs what never came to be a request of the application. */
export function connectionEvents(metrics: RequestMetrics, log: Log): ServerEvents {
  let dropped = 0;
  let saidAt = Number.NEGATIVE_INFINITY;
  return {
    onRefusal({ requestId, status, code, reason }) {
      metrics.began();
      metrics.answered('-', 'unreadable', status, 0);
      log.info({ request_id: requestId, status, code, reason }, 'request refused');
    },
    onFull() {
      dropped += 1;
      if (performance.now() - saidAt < FULL_EVERY_MS) return;
      saidAt = performance.now();
      log.warn({ dropped }, 'as many connections as MAX_CONNECTIONS allows: new ones were closed');
      dropped = 0;
    },
  };
}
