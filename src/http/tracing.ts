import type { Timings } from './timings.js';
import type { TraceContext } from './trace-context.js';

/** Where the spans of requests go. */
export interface TracingPort {
  /** Begins the span of a request that has just come in. */
  begin(request: BegunRequest): RequestSpan;
}

/** What is known of a request when it comes in. */
export interface BegunRequest {
  readonly method: string;
  readonly path: string;
  readonly requestId: string;
  /** The caller's span, if it told, and the `tracestate` that came with it. */
  readonly parent: TraceContext | undefined;
  readonly tracestate: string;
}

/** The span of one request. */
export interface RequestSpan {
  readonly traceId: string;
  readonly spanId: string;
  /** The request was answered. `route` is the template of its path. */
  end(answer: {
    readonly route: string | undefined;
    readonly status: number;
    readonly timings: Timings;
  }): void;
}
