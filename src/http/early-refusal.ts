import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import type Koa from 'koa';
import type { Context } from 'koa';
import type { AppError } from '../shared/errors.js';
import { clientOf } from './client-address.js';
import { errorAnswer, retryAfterOf } from './error-format.js';
import { type GateDeps, keyReaderOf } from './gate.js';
import type { HealthPort } from './health.js';
import type { KeyReader } from './keys.js';
import { LoadShedder, type QueuePort } from './load-shedder.js';
import { type RecordDeps, RequestRecord } from './request-record.js';
import { SECURE_HEADERS, STRICT_TRANSPORT } from './secure-headers.js';

/** What refusing early takes. */
export interface EarlyRefusalDeps extends GateDeps, RecordDeps {
  readonly queue: QueuePort;
  readonly health: Pick<HealthPort, 'draining'>;
  /** Origins of pages that may ask, or `*`; none lets browsers ask from the daemon's own pages only. */
  readonly corsOrigins: readonly string[];
}

/** Paths whose `POST` asks for inference; of others nothing is refused early. */
const INFERENCE_PATHS: ReadonlySet<string> = new Set([
  '/classify',
  '/classify/batch',
  '/v1/embeddings',
  '/embed',
  '/',
]);

/** Answers before the application, with as little work as possible, the requests that a {@link LoadShedder} refuses. */
export class EarlyRefusal {
  readonly #app: Koa;
  readonly #deps: EarlyRefusalDeps;
  readonly #shedder: LoadShedder;
  readonly #keyOf: KeyReader;

  constructor(app: Koa, deps: EarlyRefusalDeps) {
    this.#app = app;
    this.#deps = deps;
    this.#shedder = new LoadShedder(deps.queue);
    this.#keyOf = keyReaderOf(deps);
  }

  /** Learns what the application answered, and whether it was an `overloaded`. */
  answered(context: Context, overloaded: boolean): void {
    if (this.#shedder.calm && !overloaded) return;
    if (this.#concerns(context.req)) this.#shedder.answered(clientOf(context), overloaded);
  }

  /** The application's listener, with this one before it. */
  before(answer: RequestListener): RequestListener {
    return (request, response) => {
      if (this.#shedder.calm || !this.#concerns(request) || !this.#refuse(request, response)) {
        answer(request, response);
      }
    };
  }

  #concerns(request: IncomingMessage): boolean {
    // Where requests are limited, each one counts; and refusing it there costs as little.
    if (this.#deps.rateLimit) return false;
    if (request.method !== 'POST' || !INFERENCE_PATHS.has(pathOf(request))) return false;
    // A browser shows its page only answers with headers that are worked out elsewhere.
    return request.headers.origin === undefined || this.#deps.corsOrigins.length === 0;
  }

  #refuse(request: IncomingMessage, response: ServerResponse): boolean {
    // Its answers end their connections.
    if (this.#deps.health.draining()) return false;
    // Knows whose word counts about the client's address.
    const context = this.#app.createContext(request, response) as unknown as Context;
    context.state.key = this.#keyOf(context);
    if (context.state.key === undefined && this.#deps.apiKeys.length > 0) return false;
    const error = this.#shedder.refuse(clientOf(context));
    if (!error) return false;
    this.#write(context, error);
    return true;
  }

  #write(context: Context, error: AppError): void {
    const record = new RequestRecord(context, this.#deps);
    const { method, path } = context;
    const { request_id: requestId } = record.ids;
    const { status, type, body } = errorAnswer(method, path, error, requestId);
    this.#deps.metrics.failed(error.code);
    // One list: header by header takes Node three times as long.
    context.res.writeHead(status, [
      ...SECURE_HEADERS,
      ...(context.secure ? STRICT_TRANSPORT : []),
      ...['Content-Type', type, 'Content-Length', String(Buffer.byteLength(body))],
      ...['Retry-After', retryAfterOf(error, status) ?? '1'],
      ...['X-Request-Id', requestId, 'Server-Timing', record.stop()],
    ]);
    context.res.end(body);
    record.end(status, pathOf(context.req));
  }
}

/** The path of a request as the router takes it, which makes nothing of case and of a slash at its end. */
function pathOf({ url = '' }: IncomingMessage): string {
  if (INFERENCE_PATHS.has(url)) return url;
  const path = url.replace(/\?.*/s, '').toLowerCase();
  return path.length > 1 && path.endsWith('/') ? path.slice(0, -1) : path;
}
