import { type Client, ClientError, createClient } from '../../packages/client/src/index.js';
import { AppError, type ErrorCode, messageOf } from '../shared/errors.js';

/** A running daemon, as commands call it. */
export interface Daemon {
  /** Its address, without credentials and query. */
  readonly name: string;
  /**
   * Makes a call.
   * @throws AppError `source_…` with the name of the daemon and the reason in words
   */
  call<T>(work: (client: Client) => Promise<T>): Promise<T>;
}

/** Options of {@link connectDaemon}. */
export interface DaemonOptions {
  /** One of its `API_KEYS` or `ADMIN_KEYS`. */
  readonly key: string | undefined;
  /** Time for one attempt, in milliseconds. */
  readonly timeoutMs?: number;
  /** Further attempts after a 429, a 503 or a broken connection. */
  readonly retries: number;
}

/** Makes the client of the daemon at a URL. Redirects are not followed, since they might carry the key elsewhere. */
export function connectDaemon(url: string, { key, timeoutMs, retries }: DaemonOptions): Daemon {
  const { origin, pathname } = new URL(url);
  const name = `${origin}${pathname.replace(/\/$/, '')}`;
  const client = createClient({
    url: name,
    retries,
    ...(key ? { apiKey: key } : {}),
    ...(timeoutMs !== undefined && { timeoutMs }),
    fetch: (input, init) => fetch(input, { ...init, redirect: 'error' }),
  });
  return {
    name,
    async call(work) {
      try {
        return await work(client);
      } catch (error) {
        throw error instanceof ClientError ? asAppError(name, error) : error;
      }
    },
  };
}

function asAppError(name: string, cause: ClientError): AppError {
  const { code, status, message } = cause;
  const error = (kind: ErrorCode, words: string): AppError =>
    new AppError(kind, `${name}: ${words}`, { cause });
  if (code === 'connection_failed') return error('source_unreachable', reasonOf(cause));
  if (code === 'no_answer') return error('source_stalled', 'no answer in time');
  if (code === 'unexpected_answer') {
    return error('source_wrong_bytes', `no ai-router answers there (${message})`);
  }
  if (status === 401) {
    return error(
      'source_unauthorized',
      'the daemon needs a key (401): put one of its API_KEYS into AI_ROUTER_KEY',
    );
  }
  return error('source_refused', `answered ${status}: ${message}`);
}

/** The deepest cause of a broken connection. */
function reasonOf(error: Error): string {
  const { cause } = error;
  if (cause instanceof Error) return reasonOf(cause);
  const message = messageOf(error);
  if (/ECONNREFUSED/.test(message)) return 'refuses connections (ECONNREFUSED): is a daemon running there?';
  if (message === 'bad port') return 'takes no HTTP: this port is reserved for something else';
  return /SSL routines|wrong version number/.test(message) ? 'does not speak TLS; try http://' : message;
}
