import { askForKey, dropKey, hasKey, type KeyKind, keyFor } from './keys.js';

/** Why the daemon did not do what it was asked, in words for people. */
export class Problem extends Error {
  /** 0 when there was no answer at all. */
  readonly status: number;
  readonly code: string;
  readonly issues: readonly { readonly path: string; readonly message: string }[];

  constructor(status: number, body: Partial<ProblemBody>) {
    super(body.detail ?? body.title ?? `The daemon answered with ${status}.`);
    this.status = status;
    this.code = body.code ?? 'unknown';
    this.issues = body.errors ?? [];
  }
}

interface ProblemBody {
  readonly title: string;
  readonly detail: string;
  readonly code: string;
  readonly errors: readonly { readonly path: string; readonly message: string }[];
}

/** How to ask. */
export interface Ask {
  readonly method?: string;
  readonly body?: unknown;
  readonly ifMatch?: string;
  readonly key?: KeyKind;
  readonly signal?: AbortSignal;
  /** Statuses whose bodies are answers all the same. */
  readonly accept?: readonly number[];
}

/** An answer. */
export interface Answer<T> {
  readonly body: T;
  readonly headers: Headers;
}

/**
 * Asks the daemon; paths are relative, so that the page works below any prefix.
 * @throws Problem
 */
export async function ask<T>(path: string, options: Ask = {}): Promise<Answer<T>> {
  const { method = 'GET', body, ifMatch, key = 'api', signal, accept = [] } = options;
  const token = keyFor(key);
  let response: Response;
  let text: string;
  try {
    response = await fetch(path, {
      method,
      cache: 'no-store',
      headers: {
        ...(token !== undefined && { Authorization: `Bearer ${token}` }),
        ...(body !== undefined && { 'Content-Type': 'application/json' }),
        ...(ifMatch !== undefined && { 'If-Match': ifMatch }),
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
      ...(signal && { signal }),
    });
    text = await response.text();
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Problem(0, { code: 'unreachable', detail: 'The daemon does not answer.' });
  }
  const isJson = /json/.test(response.headers.get('content-type') ?? '') && text !== '';
  const answer: unknown = isJson ? JSON.parse(text) : text;
  if (!response.ok && !accept.includes(response.status)) {
    throw new Problem(response.status, isJson ? (answer as ProblemBody) : {});
  }
  return { body: answer as T, headers: response.headers };
}

/**
 * Asks on behalf of somebody who is there to enter a key: where one is wanted, it is asked for and the request made
 * again.
 * @throws Problem, also when nobody enters a key
 */
export async function askWithKey<T>(path: string, options: Ask = {}): Promise<Answer<T>> {
  const kind = options.key ?? 'api';
  for (;;) {
    try {
      return await ask<T>(path, options);
    } catch (error) {
      if (!(error instanceof Problem) || error.status !== 401) throw error;
      const had = hasKey(kind);
      dropKey(kind);
      if (!(await askForKey(kind, had ? 'That key was refused. Try another one.' : ''))) throw error;
    }
  }
}

/** Anything thrown, in words for people. */
export function wordsOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
