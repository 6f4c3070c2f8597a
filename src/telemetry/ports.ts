import type { FallbackFailure } from '../api/decisions.js';
import type { ErrorCode, Gate } from '../shared/errors.js';

/** Kind of a decision: among the served routes, or among labels of the request. */
export type DecisionKind = 'routes' | 'labels';

/** Tokens of the texts of a request. */
export interface TextCounts {
  readonly texts: number;
  readonly tokens: number;
  readonly truncatedTexts: number;
  readonly truncatedTokens: number;
}

export interface RequestMetrics {
  /** A request began. Each is followed by one `answered`. */
  began(): void;
  /** A request was answered; `route` is the template of its path. */
  answered(method: string, route: string, status: number, seconds: number): void;
  /** A request failed with this code; `gate` says what was busy, where something was. */
  failed(code: ErrorCode, gate?: Gate): void;
  /** A connection or request was refused at this gate before it was read. */
  refused(gate: Gate): void;
  /** The texts of a request were embedded. */
  read(counts: TextCounts): void;
  /** A text was decided; `null` is an abstention. */
  decided(route: string | null, kind: DecisionKind): void;
  /** The fallback was asked, or would have been. */
  fellBack(result: 'answered' | FallbackFailure): void;
}

/** The source of `/metrics`. */
export interface MetricsPort extends RequestMetrics {
  readonly contentType: string;
  render(): Promise<string>;
}

/** Times of one request in milliseconds, by name. */
export type Timings = Record<string, number>;

/** The caller's place in a distributed trace (W3C Trace Context). */
export interface TraceContext {
  /** 32 hexadecimal digits. */
  readonly traceId: string;
  /** 16 hexadecimal digits: the caller's span. */
  readonly spanId: string;
  /** Whether the caller records its span. */
  readonly sampled: boolean;
}

export interface TracingPort {
  /** Begins the span of a request that has just arrived. */
  begin(request: BegunRequest): RequestSpan;
}

/** A request whose span begins. */
export interface BegunRequest {
  readonly method: string;
  readonly path: string;
  readonly requestId: string;
  /** The caller's span, where the request names one, and the `tracestate` that came with it. */
  readonly parent: TraceContext | undefined;
  readonly tracestate: string;
}

export interface RequestSpan {
  readonly traceId: string;
  readonly spanId: string;
  /** Ends the span. `route` is the template of the path. */
  end(answer: {
    readonly route: string | undefined;
    readonly status: number;
    readonly timings: Timings;
  }): void;
}
