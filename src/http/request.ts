import { randomUUID } from 'node:crypto';
import { Readable } from 'node:stream';
import { setImmediate as giveWay } from 'node:timers/promises';
import type { Next, ParameterizedContext } from 'koa';
import { AppError } from '../shared/errors.js';
import type { Log } from '../shared/log.js';
import type { RequestMetrics, RequestSpan, Timings, TraceContext, TracingPort } from '../telemetry/ports.js';
import type { Dialect } from './errors.js';

/** State of one request, set before its endpoint runs. */
export interface RequestState {
  /** Id in the log: the request's own `X-Request-Id`, or a new one. */
  requestId: string;
  /** Ids for lines of the log about this request. */
  ids: RequestIds;
  dialect: Dialect;
  /** The key, or the network of the address: clients are counted and take turns by it. */
  client: string;
  timings: Timings;
  /** Takes bytes of the budget for bodies; set by the first that needs some. */
  lease?: (bytes: number) => void;
}

/** A Koa context with the state of this application. */
export type RequestContext = ParameterizedContext<RequestState>;

interface RequestIds {
  readonly request_id: string;
  readonly trace_id: string | undefined;
  readonly span_id: string | undefined;
}

export interface RecordDeps {
  readonly log: Log;
  readonly metrics: RequestMetrics;
  /** `undefined` makes no spans. */
  readonly tracing: TracingPort | undefined;
}

const REQUEST_ID = /^[\w.:-]{1,128}$/;
const TRACEPARENT = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/;

/** Characters of a client's text that are repeated in an answer or in the log. */
const SHOWN_CHARS = 300;

/** Records one request, from its arrival to its answer: ids, span, metrics, and its line of the log. */
export async function recordRequest(
  context: RequestContext,
  next: Next,
  { log, metrics, tracing }: RecordDeps,
  endpoint: { readonly path: string; readonly quiet?: boolean } | undefined,
): Promise<void> {
  const started = performance.now();
  const { method, state } = context;
  // Koa knows no path of a target that is not a URL, whatever its type says.
  const path = truncate(context.path ?? '');
  const given = context.get('x-request-id');
  const requestId = REQUEST_ID.test(given) ? given : randomUUID();
  const parent = parseTraceparent(context.get('traceparent'));
  const tracestate = context.get('tracestate');
  const span: RequestSpan | undefined = tracing?.begin({ method, path, requestId, parent, tracestate });
  const place = span ?? parent;
  const timings: Timings = {};
  const trace_id = place?.traceId;
  const span_id = place?.spanId;
  state.requestId = requestId;
  state.ids = { request_id: requestId, trace_id, span_id };
  state.timings = timings;
  metrics.began();
  context.set('X-Request-Id', requestId);

  await next();

  const total = performance.now() - started;
  timings.total = total;
  context.set('Server-Timing', serverTiming(timings));
  const { status } = context;
  metrics.answered(method, endpoint?.path ?? 'unmatched', status, total / 1_000);
  span?.end({ route: endpoint?.path, status, timings });
  const duration_ms = Math.round(total * 100) / 100;
  const line = { request_id: requestId, trace_id, span_id, method, path, status, duration_ms };
  if (endpoint?.quiet) log.debug(line, 'request');
  else log.info(line, 'request');
}

/** Returns the beginning of what a client sent, for a message to that client or for the log. */
export function truncate(text: string): string {
  return text.length <= SHOWN_CHARS ? text : `${text.slice(0, SHOWN_CHARS)}…`;
}

/** Times of a request's texts, in milliseconds. */
export interface TextTimings {
  readonly queueMs: number;
  readonly tokenizeMs: number;
  readonly inferenceMs: number;
  readonly scoreMs?: number;
}

/** Shows in `Server-Timing` where the time of a request's texts went. */
export function noteTimings({ state }: RequestContext, times: TextTimings): void {
  const { timings } = state;
  timings.queue = times.queueMs;
  timings.tokenize = times.tokenizeMs;
  timings.inference = times.inferenceMs;
  if (times.scoreMs !== undefined) timings.score = times.scoreMs;
}

function serverTiming(timings: Timings): string {
  let header = '';
  for (const name in timings) {
    header += `${header === '' ? '' : ', '}${name};dur=${timings[name]?.toFixed(2)}`;
  }
  return header;
}

/** Reads a `traceparent` header; a broken one counts as none, as the standard says. */
export function parseTraceparent(header: string): TraceContext | undefined {
  if (header === '') return undefined;
  const [, version, traceId, spanId, flags, rest] = TRACEPARENT.exec(header.trim()) ?? [];
  if (version === undefined || traceId === undefined || spanId === undefined || flags === undefined) return;
  // Later versions may append fields; version 00 may not, and ff is invalid.
  if (version === 'ff' || (version === '00' && rest !== undefined)) return;
  if (/^0+$/.test(traceId) || /^0+$/.test(spanId)) return;
  return { traceId, spanId, sampled: (Number.parseInt(flags, 16) & 1) === 1 };
}

/** How long work for a request may take, and for whom it is done. */
export interface CallContext {
  readonly client: string;
  /** On the clock of `performance.now()`. */
  readonly deadline: number;
  /** Aborted at the deadline, and when the connection ends. */
  readonly signal: AbortSignal;
  /** Calls a function when `signal` would be aborted, if the work has not ended by then. */
  onAbort(listener: (reason: unknown) => void): void;
}

/** Work for a request. Most requests need no signal, which takes Node 10 µs to make, to listen to and to leave. */
class Call implements CallContext {
  readonly client: string;
  readonly deadline: number;
  /** Why it was aborted. */
  reason: AppError | undefined;
  over = false;
  #controller: AbortController | undefined;
  readonly #listeners: ((reason: unknown) => void)[] = [];

  constructor(client: string, deadline: number) {
    this.client = client;
    this.deadline = deadline;
  }

  get signal(): AbortSignal {
    this.#controller ??= new AbortController();
    if (this.reason) this.#controller.abort(this.reason);
    return this.#controller.signal;
  }

  onAbort(listener: (reason: unknown) => void): void {
    if (this.reason) listener(this.reason);
    else this.#listeners.push(listener);
  }

  abort(reason: () => AppError): void {
    if (this.over) return;
    this.over = true;
    this.reason = reason();
    this.#controller?.abort(this.reason);
    for (const listener of this.#listeners) listener(this.reason);
  }
}

/**
 * Runs work for a request until it ends, its deadline passes, or its connection ends.
 * @throws AppError `timeout`, `aborted`; what `work` throws
 */
export async function withDeadline<T>(
  { state, res }: RequestContext,
  timeoutMs: number,
  work: (call: CallContext) => Promise<T>,
): Promise<T> {
  // It may have ended while the body was read.
  if (res.destroyed) throw gone();
  const call = new Call(state.client, performance.now() + timeoutMs);
  const timer = setTimeout(() => {
    const message = `not answered within ${timeoutMs} ms (REQUEST_TIMEOUT_MS)`;
    call.abort(() => new AppError('timeout', message, { retryable: true, gate: 'deadline' }));
  }, timeoutMs);
  res.on('close', () => call.abort(gone));
  try {
    return await work(call);
  } catch (error) {
    // Whatever form the abort took on its way down, its reason is what happened.
    throw call.reason ?? error;
  } finally {
    call.over = true;
    clearTimeout(timer);
  }
}

function gone(): AppError {
  return new AppError('aborted', 'the client closed the connection');
}

/** The media type of JSON. */
export const JSON_UTF8 = 'application/json; charset=utf-8';

/** Characters of a large answer that are made at once: about a millisecond of this thread. */
const PIECE_CHARS = 65_536;

/** Answers JSON. Koa's own way asks whether the object is a `Response`, for which Node loads its HTTP client. */
export function sendJson(context: RequestContext, body: object): void {
  sendJsonText(context, JSON.stringify(body));
}

/** Answers what is JSON already. */
export function sendJsonText(context: RequestContext, json: string): void {
  context.set('Content-Type', JSON_UTF8);
  context.body = json;
}

/** Answers JSON whose parts are made one by one while it is sent, so that a large answer gives way to other requests. */
export function sendJsonParts(
  context: RequestContext,
  start: string,
  parts: Iterable<string>,
  end: string,
): void {
  context.set('Content-Type', JSON_UTF8);
  sendStream(context, Readable.from(piecesOf(start, parts, end)));
}

/** Answers a stream, which ends with the connection, whether or not the response ever had one. */
export function sendStream(context: RequestContext, stream: Readable): void {
  const { res } = context;
  if (res.destroyed) stream.destroy();
  else res.once('close', () => stream.destroy());
  context.body = stream;
}

/** Sets the entity tag, and answers 304 where `If-None-Match` names it, whatever `Cache-Control` says. */
export function isFresh(context: RequestContext, etag: string): boolean {
  context.set('ETag', etag);
  const opaque = (tag: string): string => tag.trim().replace(/^W\//, '');
  const known = context.get('if-none-match').split(',').map(opaque);
  if (!known.includes('*') && !known.includes(opaque(etag))) return false;
  context.status = 304;
  return true;
}

async function* piecesOf(start: string, parts: Iterable<string>, end: string): AsyncGenerator<string> {
  let piece = start;
  for (const part of parts) {
    piece += part;
    if (piece.length < PIECE_CHARS) continue;
    yield piece;
    piece = '';
    await giveWay();
  }
  yield piece + end;
}
