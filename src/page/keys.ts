import { byId, setText } from './dom.js';

/** Which key a request carries: that of a caller, or that of an administrator. */
export type KeyKind = 'api' | 'admin';

const WORDS: Readonly<Record<KeyKind, { title: string; help: string }>> = {
  api: {
    title: 'This daemon wants a key',
    help: 'Classification is open to callers with one of its API_KEYS.',
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

/** Forgets every key. */
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

/** Drops a key that was refused. */
export function dropKey(kind: KeyKind): void {
  store(kind, undefined);
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
