import type { JsonObject } from '../../packages/client/src/index.js';

/** Content of an element; text stays text. */
export type Child = Node | string | number | false | null | undefined;

/** Attributes of an element (`false` and `undefined` leave one out), custom properties, and what a click does. */
export interface Props {
  readonly [attribute: string]: string | number | boolean | undefined | (() => void);
  readonly click?: () => void;
}

/** Makes an element. An attribute whose name starts with `--` becomes a custom property. */
export function el<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  props: Props = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (typeof value === 'function') element.addEventListener('click', value);
    else if (name.startsWith('--')) element.style.setProperty(name, String(value));
    else if (value === true) element.setAttribute(name, '');
    else if (value !== undefined && value !== false) element.setAttribute(name, String(value));
  }
  fill(element, ...children);
  return element;
}

/** Replaces what is in an element. */
export function fill(parent: Element, ...children: Child[]): void {
  parent.replaceChildren(
    ...children.filter((child) => child !== false && child !== null && child !== undefined).map(nodeOf),
  );
}

function nodeOf(child: Child): Node {
  return child instanceof Node ? child : document.createTextNode(String(child));
}

export function byId<T extends HTMLElement = HTMLElement>(id: string): T {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no #${id}`);
  return found as T;
}

/** Sets text only when it differs, so that a screen reader is not told the same again. */
export function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/** Makes a renderer that does nothing while its input stays the same, so that polling does not disturb the focus. */
export function whenChanged<T>(render: (value: T) => void): (value: T) => void {
  let last: string | undefined;
  return (value) => {
    const now = JSON.stringify(value);
    if (now === last) return;
    last = now;
    render(value);
  };
}

/** One line of a list of facts. */
export function fact(name: string, value: Node | string, extent = ''): HTMLElement {
  return el('div', { class: extent }, el('dt', {}, name), el('dd', {}, value));
}

/** The fields of an object as chips, each with its name and value. */
export function chips(values: JsonObject): HTMLElement {
  const text = (value: unknown): string => (typeof value === 'string' ? value : JSON.stringify(value));
  return el(
    'ul',
    { class: 'values' },
    ...Object.entries(values).map(([name, value]) =>
      el('li', {}, el('span', { class: 'quiet' }, name), ' ', text(value)),
    ),
  );
}

/** Marks fields at fault, each with a sentence below it (`#<id>-fault`), and clears the others. @returns the first */
export function markFaults(
  ids: readonly string[],
  faults: ReadonlyMap<string, string>,
): HTMLElement | undefined {
  let first: HTMLElement | undefined;
  for (const id of ids) {
    const field = byId(id);
    const fault = faults.get(id);
    if (fault === undefined) field.removeAttribute('aria-invalid');
    else field.setAttribute('aria-invalid', 'true');
    setText(byId(`${id}-fault`), fault ?? '');
    if (fault !== undefined) first ??= field;
  }
  return first;
}

/** Moves the focus, also to what takes none by itself. */
export function focusOn(element: HTMLElement | null | undefined): void {
  if (!element) return;
  if (element.tabIndex < 0) element.tabIndex = -1;
  element.focus();
}

/**
 * Repeats work while the page is visible.
 * @param work returns the pause until the next run, in milliseconds
 * @returns a function that runs it at once
 */
export function poll(work: () => Promise<number>): () => void {
  let timer = 0;
  let running = false;
  let isWanted = false;
  const run = async (): Promise<void> => {
    isWanted = true;
    if (running || document.hidden) return;
    running = true;
    window.clearTimeout(timer);
    let waitMs = 0;
    // A request during a run may concern news that the run came too early for.
    while (isWanted) {
      isWanted = false;
      waitMs = await work().catch(() => 2_000);
    }
    running = false;
    if (!document.hidden) timer = window.setTimeout(run, waitMs);
  };
  document.addEventListener('visibilitychange', () => {
    window.clearTimeout(timer);
    void run();
  });
  void run();
  return () => void run();
}

const UNITS = ['B', 'kB', 'MB', 'GB', 'TB'];

/** Bytes as people read them: `23.0 MB`. */
export function bytes(count: number): string {
  const unit = count < 1_000 ? 0 : Math.min(UNITS.length - 1, Math.floor(Math.log10(count) / 3));
  const value = count / 1_000 ** unit;
  return `${unit === 0 ? value : value < 100 ? value.toFixed(1) : Math.round(value)} ${UNITS[unit]}`;
}

/** A count with its noun: `1 route`, `1,200 routes`. */
export function plural(count: number, noun: string): string {
  return `${count.toLocaleString('en')} ${noun}${count === 1 ? '' : 's'}`;
}

/** A time span in its one or two largest units. */
export function span(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1_000));
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return minutes % 60 === 0 ? `${hours} h` : `${hours} h ${minutes % 60} min`;
  return `${Math.round(hours / 24)} days`;
}

/** Milliseconds with as many digits as say something. */
export function milliseconds(ms: number): string {
  if (ms >= 1_000) return `${(ms / 1_000).toFixed(ms < 10_000 ? 1 : 0)} s`;
  return `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;
}

/** A rate per second with as many digits as say something. */
export function rate(perSecond: number): string {
  return perSecond === 0 ? '0' : perSecond < 10 ? perSecond.toFixed(1) : String(Math.round(perSecond));
}

/** A share of 1 in percent, rounded as {@link score} is. */
export function percent(share: number, limit = 1): string {
  const text = score(share, limit);
  return `${(Number(text) * 100).toFixed(text.split('.')[1]?.slice(2).length)} %`;
}

/**
 * A score or cosine to two digits, near 1 to three, or to as many as its limit has, up to four: what is below the limit, or
 * below 1, is not rounded up to it.
 */
export function score(value: number, limit = 1): string {
  const least = value > 0.985 && value < 1 ? 3 : 2;
  const digits = Math.max(least, String(Number(limit.toFixed(4))).split('.')[1]?.length ?? 0);
  const units = [limit, 1].reduce(
    (most, bound) => (value < bound ? Math.min(most, Math.round(bound * 10 ** digits) - 1) : most),
    Math.round(value * 10 ** digits),
  );
  return (units / 10 ** digits).toFixed(digits);
}

/** Time of day, in the reader's zone and habit. */
export function clock(iso: string): string {
  return new Date(iso).toLocaleTimeString();
}
