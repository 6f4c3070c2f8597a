import { type Client, ClientError, createClient } from '../../packages/client/src/index.js';
import { byId, setText } from './dom.js';

/** The daemon that serves this page; paths are relative, so that the page works below any prefix. */
export function daemon(key: KeyKind = 'api', timeoutMs = 60_000): Client {
  const apiKey = keyFor(key);
  return createClient({
    url: new URL('.', document.baseURI).href,
    retries: 0,
    timeoutMs,
    ...(apiKey !== undefined && { apiKey }),
    fetch: (input, init) => fetch(input, { ...init, cache: 'no-store' }),
  });
}

/**
 * Makes a call for the reader, who is asked for a key where one is needed, and again where it is refused.
 * @throws ClientError, also when the reader enters no key
 */
export async function withKey<T>(kind: KeyKind, call: (client: Client) => Promise<T>): Promise<T> {
  for (;;) {
    try {
      const answer = await call(daemon(kind));
      // A key that opens an operator's endpoint is an operator's, wherever it was entered.
      if (kind === 'admin' && !hasKey(kind)) store(kind, keyFor(kind));
      return answer;
    } catch (error) {
      if (statusOf(error) !== 401 && !isCallersKey(error)) throw error;
      const had = hasKey(kind);
      store(kind, undefined);
      if (!(await askForKey(kind, had ? 'That key was refused. Try another one.' : ''))) throw error;
    }
  }
}

/** The HTTP status of a failed call; `undefined` without an answer. */
export function statusOf(error: unknown): number | undefined {
  return error instanceof ClientError ? error.status : undefined;
}

/** Whether an operator's call was sent with a key that is good for classifying alone. */
function isCallersKey(error: unknown): boolean {
  return statusOf(error) === 403 && hasKey('api') && /one of API_KEYS/.test(String(error));
}

/** Any error in words for people. */
export function wordsOf(error: unknown): string {
  if (statusOf(error) === 403 && /set ADMIN_KEYS/.test(String(error))) return NO_OPERATORS;
  if (error instanceof ClientError && error.status === undefined) return 'The daemon does not answer.';
  return error instanceof Error ? error.message : String(error);
}

const NO_OPERATORS =
  'This daemon has no ADMIN_KEYS. Start it with ADMIN_KEYS=<16 characters or more> to verify and to edit routes here.';

/** The key of a request: one of `API_KEYS`, or one of `ADMIN_KEYS`. */
export type KeyKind = 'api' | 'admin';

const WORDS: Readonly<Record<KeyKind, { title: string; help: string }>> = {
  api: {
    title: 'This daemon requires a key',
    help: 'It answers callers with one of its API_KEYS.',
  },
  admin: {
    title: 'Operator key',
    help: 'One of the daemon’s ADMIN_KEYS lets you verify the cache and edit routes.',
  },
};

const changed = new EventTarget();

/** The key to send; one kind stands in for the other. */
export function keyFor(kind: KeyKind): string | undefined {
  return stored(kind) ?? stored(kind === 'api' ? 'admin' : 'api');
}

/** Whether a key of this very kind was entered. */
export function hasKey(kind: KeyKind): boolean {
  return stored(kind) !== undefined;
}

export function forgetKeys(): void {
  for (const kind of ['api', 'admin'] as const) store(kind, undefined);
}

/** Calls back when keys come or go. */
export function onKeyChange(listener: () => void): void {
  changed.addEventListener('change', listener);
}

/**
 * Asks for a key. It is kept for this tab alone, and goes with it.
 * @param refused why it is asked again
 * @returns whether one was entered
 */
export function askForKey(kind: KeyKind, refused = ''): Promise<boolean> {
  const dialog = byId<HTMLDialogElement>('key-dialog');
  const input = byId<HTMLInputElement>('key-input');
  setText(byId('key-title'), WORDS[kind].title);
  setText(byId('key-help'), WORDS[kind].help);
  setText(byId('key-refused'), refused);
  input.value = '';
  if (!dialog.open) dialog.showModal();
  input.focus();
  return new Promise((resolve) => {
    const done = new AbortController();
    const { signal } = done;
    const end = (entered: boolean): void => {
      done.abort();
      dialog.close();
      input.value = '';
      resolve(entered);
    };
    byId('key-form').addEventListener(
      'submit',
      (event) => {
        event.preventDefault();
        const key = input.value.trim();
        if (key === '') return;
        store(kind, key);
        end(true);
      },
      { signal },
    );
    byId('key-cancel').addEventListener('click', () => end(false), { signal });
    dialog.addEventListener('close', () => end(false), { signal });
  });
}

function stored(kind: KeyKind): string | undefined {
  try {
    return sessionStorage.getItem(`ai-router ${kind} key`) ?? undefined;
  } catch {
    return undefined;
  }
}

function store(kind: KeyKind, key: string | undefined): void {
  try {
    if (key === undefined) sessionStorage.removeItem(`ai-router ${kind} key`);
    else sessionStorage.setItem(`ai-router ${kind} key`, key);
  } catch {
    // A browser that keeps nothing asks each time.
  }
  changed.dispatchEvent(new Event('change'));
}
