import type { ProblemBody } from '../api/problem.js';
import { ClientError } from './client-error.js';

/** How a client reaches its daemon. */
export interface ClientOptions {
  /** Where the daemon is, e.g. `https://router.example.org`; a path in it is kept. */
  readonly url: string;
  /** One of the daemon's `API_KEYS` or `ADMIN_KEYS`. */
  readonly apiKey?: string;
  /** Time for one attempt, in milliseconds. Default: 60,000. */
  readonly timeoutMs?: number;
  /** Further attempts after a 429, a 503 or a broken connection. Default: 2. */
  readonly retries?: number;
  /** Longest wait before another attempt, in milliseconds; who is asked to wait longer gives up. Default: 10,000. */
  readonly maxRetryWaitMs?: number;
  /** Sent with every request, e.g. `traceparent`. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Default: the global one. */
  readonly fetch?: typeof fetch;
}

/** Options of one call. */
export interface CallOptions {
  /** Ends the call, and its waiting between attempts. */
  readonly signal?: AbortSignal;
  readonly headers?: Readonly<Record<string, string>>;
}

/** One request. */
export interface Call extends CallOptions {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  readonly path: string;
  readonly body?: unknown;
  /** Statuses besides 2xx that are answers and no errors. */
  readonly accept?: readonly number[];
}

/** Sends a request until there is an answer that counts. */
export type Transport = (call: Call) => Promise<Response>;

const DEFAULTS = { timeoutMs: 60_000, retries: 2, maxRetryWaitMs: 10_000 } as const;

/** Wait before the first further attempt where nobody says how long, in milliseconds; doubled each time, with jitter. */
const BACKOFF_MS = 250;

/** Makes a transport. @throws ClientError */
export function createTransport(options: ClientOptions): Transport {
  const { url, apiKey, retries = DEFAULTS.retries } = options;
  const { maxRetryWaitMs = DEFAULTS.maxRetryWaitMs } = options;
  const base = url.replace(/(?<!\/)\/+$/, '');
  return async (call) => {
    const headers = new Headers({ accept: 'application/json', ...options.headers, ...call.headers });
    if (apiKey !== undefined) headers.set('authorization', `Bearer ${apiKey}`);
    if (call.body !== undefined) headers.set('content-type', 'application/json');
    for (let attempt = 0; ; attempt += 1) {
      const error = await attemptOf(`${base}${call.path}`, call, headers, options);
      if (error instanceof Response) return error;
      // A change that was made without our hearing of it must not be made on top of itself.
      const unsafe = error.status === undefined && (call.method === 'PUT' || call.method === 'DELETE');
      const waitMs = error.retryAfterMs ?? BACKOFF_MS * 2 ** attempt * (0.5 + Math.random() / 2);
      if (!error.retryable || unsafe || attempt >= retries || waitMs > maxRetryWaitMs) throw error;
      await pause(waitMs, call.signal);
    }
  };
}

/** One attempt: an answer that counts, or the error that it is. @throws the reason of the caller's abort */
async function attemptOf(
  url: string,
  { method, body, signal, accept = [] }: Call,
  headers: Headers,
  { fetch: send = fetch, timeoutMs = DEFAULTS.timeoutMs }: ClientOptions,
): Promise<Response | ClientError> {
  const timeout = AbortSignal.timeout(timeoutMs);
  try {
    const response = await send(url, {
      method,
      headers,
      signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    if (response.ok || accept.includes(response.status)) return response;
    return await errorOf(response);
  } catch (cause) {
    signal?.throwIfAborted();
    if (timeout.aborted) {
      return new ClientError('no_answer', `no answer from ${url} within ${timeoutMs} ms`, { cause });
    }
    return new ClientError('connection_failed', `cannot reach ${url}`, { cause });
  }
}

async function errorOf(response: Response): Promise<ClientError> {
  const { status, headers } = response;
  const seconds = Number(headers.get('retry-after') ?? Number.NaN);
  const requestId = headers.get('x-request-id');
  const facts = {
    status,
    ...(requestId !== null && { requestId }),
    ...(Number.isFinite(seconds) && { retryAfterMs: seconds * 1_000 }),
  };
  const text = await response.text();
  if (!headers.get('content-type')?.startsWith('application/problem+json')) {
    return new ClientError('unexpected_answer', `status ${status}, and not from an ai-router`, facts);
  }
  const problem = JSON.parse(text) as ProblemBody;
  return new ClientError(problem.code, problem.detail, { ...facts, problem });
}

function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const onAbort = (): void => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', onAbort);
      resolve();
    }, ms);
    signal?.addEventListener('abort', onAbort, { once: true });
  });
}
