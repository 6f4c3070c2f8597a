import { randomUUID } from 'node:crypto';
import type { Context } from 'koa';
import type { Log } from '../shared/log.js';
import { brief } from './body.js';
import type { RequestMetrics } from './metrics.js';
import { serverTiming, type Timings } from './timings.js';
import { parseTraceparent } from './trace-context.js';
import type { RequestSpan, TracingPort } from './tracing.js';

/** Where requests are written down. */
export interface RecordDeps {
  readonly log: Log;
  readonly metrics: RequestMetrics;
  /** Where spans go; `undefined` makes none. */
  readonly tracing: TracingPort | undefined;
}

/** What a line of the log says of whose request it is about. */
export interface RequestIds {
  readonly request_id: string;
  readonly trace_id: string | undefined;
  readonly span_id: string | undefined;
}

const REQUEST_ID = /^[\w.:-]{1,128}$/;

/** Paths that monitors and the page ask all the time; they are logged at debug level. */
const QUIET_PATHS = new Set([
  '/livez',
  '/readyz',
  '/health',
  '/metrics',
  '/cache/status',
  '/v2/health/live',
  '/v2/health/ready',
]);

/** Writes one request down, from its coming in to its answer: its ids, its span, its metrics, its line of the log. */
export class RequestRecord {
  readonly ids: RequestIds;
  readonly timings: Timings = {};
  readonly #deps: RecordDeps;
  readonly #method: string;
  readonly #path: string;
  readonly #started = performance.now();
  readonly #span: RequestSpan | undefined;

  constructor(context: Context, deps: RecordDeps) {
    const { method } = context;
    // Of a target that is no URL, Koa knows no path, whatever its type says.
    const path = brief(context.path ?? '');
    const given = context.get('x-request-id');
    const requestId = REQUEST_ID.test(given) ? given : randomUUID();
    const parent = parseTraceparent(context.get('traceparent'));
    this.#deps = deps;
    this.#method = method;
    this.#path = path;
    this.#span = deps.tracing?.begin({
      method,
      path,
      requestId,
      parent,
      tracestate: context.get('tracestate'),
    });
    const place = this.#span ?? parent;
    this.ids = { request_id: requestId, trace_id: place?.traceId, span_id: place?.spanId };
    deps.metrics.began();
  }

  /** Takes the time that the request took. @returns the value of `Server-Timing` */
  stop(): string {
    this.timings.total = performance.now() - this.#started;
    return serverTiming(this.timings);
  }

  /**
   * Writes it down, once it was stopped.
   * @param route the template of its path, if it has one
   */
  end(status: number, route: string | undefined): void {
    const { log, metrics } = this.#deps;
    const { total = 0 } = this.timings;
    metrics.answered(this.#method, route ?? 'unmatched', status, total / 1_000);
    this.#span?.end({ route, status, timings: this.timings });
    // Where this was a spread, it took longer than writing the line does.
    const entry = Object.assign(this.ids, {
      method: this.#method,
      path: this.#path,
      status,
      duration_ms: Math.round(total * 100) / 100,
    });
    if (QUIET_PATHS.has(this.#path)) log.debug(entry, 'request');
    else log.info(entry, 'request');
  }
}
