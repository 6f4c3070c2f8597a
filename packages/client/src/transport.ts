import type { ErrorCode, FieldIssue, Problem } from './contract.js';

/** The reason of a failure: the daemon's code, or the reason why there is no answer of a daemon. */
export type ClientErrorCode =
  | ErrorCode
  /** No connection: wrong address, broken network, or no program listens. */
  | 'connection_failed'
  /** No answer within `timeoutMs`. */
  | 'no_answer'
  /** An answer that is not a daemon's, such as a proxy's page. */
  | 'unexpected_answer';

/** The details of a failed call. */
export interface ClientErrorFacts {
  readonly status?: number;
  readonly problem?: Problem;
  readonly requestId?: string;
  /** The wait that the daemon asks for, in milliseconds. */
  readonly retryAfterMs?: number;
  readonly cause?: unknown;
}

/** The error class of the client. An abort by the caller's signal throws the signal's own reason instead. */
export class ClientError extends Error {
  override readonly name = 'ClientError';
  readonly code: ClientErrorCode;
  /** The HTTP status, when there was an answer. */
  readonly status: number | undefined;
  /** The daemon's problem document, when it sent one. */
  readonly problem: Problem | undefined;
  /** The id of the request in the daemon's log. */
  readonly requestId: string | undefined;
  readonly retryAfterMs: number | undefined;

  constructor(code: ClientErrorCode, message: string, facts: ClientErrorFacts = {}) {
    super(message, facts.cause === undefined ? undefined : { cause: facts.cause });
    this.code = code;
    this.status = facts.status;
    this.problem = facts.problem;
    this.requestId = facts.requestId;
    this.retryAfterMs = facts.retryAfterMs;
  }

  /** Every wrong field of a request that failed validation. */
  get errors(): readonly FieldIssue[] {
    return this.problem?.errors ?? [];
  }

  /** Whether the same call may succeed later. */
  get retryable(): boolean {
    return this.status === undefined || this.status === 429 || this.status === 503;
  }
}

/** Options of a client. */
export interface ClientOptions {
  /** Address of the daemon, e.g. `https://router.example.org`; its path is kept. */
  readonly url: string;
  /** One of the daemon's `API_KEYS` or `ADMIN_KEYS`. */
  readonly apiKey?: string;
  /** Time for one attempt, in milliseconds. Default: 60,000. */
  readonly timeoutMs?: number;
  /** Further attempts after a 429 or a 503, and after a broken connection (at most 2). Default: 2. */
  readonly retries?: number;
  /** Longest wait before another attempt, in milliseconds; a longer one ends the call. Default: 10,000. */
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
  /** Receives the response before its body is read, for its headers. */
  readonly onResponse?: (response: Response) => void;
}

/** One request. */
export interface Call extends CallOptions {
  readonly method: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'DELETE';
  readonly path: string;
  readonly body?: unknown;
  /** Statuses besides 2xx that are no errors. */
  readonly accept?: readonly number[];
}

/** Sends a request, again after failures that may pass, and returns the body of the response. */
export type Transport = (call: Call) => Promise<string>;

const DEFAULTS = { timeoutMs: 60_000, retries: 2, maxRetryWaitMs: 10_000 } as const;

/** Wait before the second attempt without `Retry-After`, in milliseconds; doubled each time, with jitter. */
const BACKOFF_MS = 250;

/**
 * Makes a transport.
 * @throws TypeError for a key or an address that no request can carry, without quoting it: `fetch` would quote it
 */
export function createTransport(options: ClientOptions): Transport {
  const { url, retries = DEFAULTS.retries } = options;
  const apiKey = options.apiKey?.trim();
  if (apiKey !== undefined && !/^[!-~]*$/.test(apiKey)) {
    throw new TypeError('apiKey must be visible ASCII characters without blanks');
  }
  if (/^[a-z]+:\/\/[^/?#]*@/i.test(url)) {
    throw new TypeError('url must hold no user or password; give the key as apiKey');
  }
  const { maxRetryWaitMs = DEFAULTS.maxRetryWaitMs } = options;
  const base = url.replace(/(?<!\/)\/+$/, '');
  return async (call) => {
    const headers = new Headers({ accept: 'application/json', ...options.headers, ...call.headers });
    if (apiKey !== undefined) headers.set('authorization', `Bearer ${apiKey}`);
    if (call.body !== undefined) headers.set('content-type', 'application/json');
    for (let attempt = 0; ; attempt += 1) {
      const error = await attemptOf(`${base}${call.path}`, call, headers, options);
      if (typeof error === 'string') return error;
      // The change may have been made although its answer was lost; it must not be made twice.
      const unsafe = error.status === undefined && (call.method === 'PUT' || call.method === 'DELETE');
      const waitMs = error.retryAfterMs ?? BACKOFF_MS * 2 ** attempt * (0.5 + Math.random() / 2);
      // A busy daemon gets free; an address that refuses connections is mostly wrong.
      const most = error.status === undefined ? Math.min(retries, DEFAULTS.retries) : retries;
      if (!error.retryable || unsafe || attempt >= most || waitMs > maxRetryWaitMs) throw error;
      await pause(waitMs, call.signal);
    }
  };
}

/** Makes one attempt and returns the body, or the error. @throws the reason of the caller's abort */
async function attemptOf(
  url: string,
  { method, body, signal, accept = [], onResponse }: Call,
  headers: Headers,
  { fetch: send = fetch, timeoutMs = DEFAULTS.timeoutMs }: ClientOptions,
): Promise<string | ClientError> {
  const timeout = AbortSignal.timeout(timeoutMs);
  try {
    const response = await send(url, {
      method,
      headers,
      // A redirect would carry texts, and headers of the caller's own, to a place that the caller did not choose.
      redirect: 'manual',
      signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    onResponse?.(response);
    const text = await response.text();
    return response.ok || accept.includes(response.status) ? text : errorOf(response, text);
  } catch (cause) {
    signal?.throwIfAborted();
    if (timeout.aborted) {
      return new ClientError('no_answer', `no answer from ${url} within ${timeoutMs} ms`, { cause });
    }
    return new ClientError('connection_failed', `cannot reach ${url}`, { cause });
  }
}

function errorOf(response: Response, text: string): ClientError {
  const { status, headers } = response;
  const seconds = Number(headers.get('retry-after') ?? Number.NaN);
  const requestId = headers.get('x-request-id');
  // A browser shows a redirect as status 0.
  const redirected = response.type === 'opaqueredirect' || (status >= 300 && status < 400);
  const facts = {
    status,
    ...(requestId !== null && { requestId }),
    ...(Number.isFinite(seconds) && { retryAfterMs: seconds * 1_000 }),
  };
  if (!headers.get('content-type')?.startsWith('application/problem+json')) {
    const what = redirected ? 'a redirect, which is not followed' : `status ${status}`;
    return new ClientError('unexpected_answer', `${what}, not from an ai-router`, facts);
  }
  const problem = JSON.parse(text) as Problem;
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
