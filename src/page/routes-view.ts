import { ask, askWithKey, Problem, wordsOf } from './api.js';
import { byId, el, fill, setText, whenChanged } from './dom.js';
import { plural, score } from './format.js';
import { askForKey, hasKey, onKeyChange } from './keys.js';
import type { Route, RouteSet, RouteSource } from './wire.js';

/** More rows than this are found by the filter. */
const ROWS = 50;
const FILTER_FROM = 8;

/** Why there are no routes to show, by the answer's status. */
const WHY_NONE = new Map<number | undefined, string>([
  [401, 'This daemon shows its routes to callers with a key.'],
  [503, 'The routes appear as soon as they are embedded.'],
]);

let served: RouteSet | undefined;
let onServed: (set: RouteSet) => void = () => undefined;

/** Makes the list and its buttons work. @param listener is told of every set that is served anew */
export function enableRoutes(listener: (set: RouteSet) => void): void {
  onServed = listener;
  byId('filter').addEventListener('input', () => render());
  onKeyChange(() => render());
  byId('routes-key').addEventListener('click', () => void askForKey('api'));
  byId('routes-edit').addEventListener('click', signIn);
  byId('routes-new').addEventListener('click', () => void edit(undefined));
  byId('routes-history').addEventListener('click', async () => {
    const { openHistory } = await import('./route-history-view.js');
    if (served) await openHistory(served, changed);
  });
}

/** What only operators need is loaded when one needs it. */
async function edit(route: Route | undefined): Promise<void> {
  const { openEditor } = await import('./route-editor.js');
  if (served) openEditor(served, route, changed);
}

/** Asks for an operator's key, and tells whether it is one. */
export async function signIn(): Promise<void> {
  const said = byId('routes-said');
  try {
    await askWithKey('routes/versions', { key: 'admin' });
    setText(said, '');
  } catch (error) {
    setText(said, wordsOf(error));
  }
}

/** Gets the routes if they are not those that are shown. @param digest what an answer said is served */
export async function refreshRoutes(digest?: string): Promise<void> {
  if (served && digest === served.digest) return;
  try {
    if (served && digest === undefined) {
      const { headers } = await ask('routes', { method: 'HEAD' });
      if (headers.get('etag') === `"${served.digest}"`) return;
    }
    show((await ask<RouteSet>('routes')).body);
  } catch (error) {
    if (served) return;
    const status = error instanceof Problem ? error.status : undefined;
    byId('routes-key').hidden = status !== 401;
    setText(byId('routes-said'), WHY_NONE.get(status) ?? wordsOf(error));
  }
}

async function changed(message: string): Promise<void> {
  await refreshRoutes();
  setText(byId('routes-said'), message);
}

function show(set: RouteSet): void {
  served = set;
  byId('routes-key').hidden = true;
  setText(byId('routes-said'), set.problem ?? '');
  render();
  onServed(set);
}

function render(): void {
  if (!served) return;
  const operator = hasKey('admin');
  byId('routes-edit').hidden = operator;
  for (const id of ['routes-new', 'routes-history']) byId(id).hidden = !operator;
  setText(byId('routes-source'), sourceText(served.source));
  byId('filter-label').hidden = served.routes.length < FILTER_FROM;
  const wanted = byId<HTMLInputElement>('filter').value.trim().toLowerCase();
  const found = served.routes.filter((route) => wanted === '' || contains(route, wanted));
  renderList({ found: found.slice(0, ROWS), more: found.length - ROWS, operator });
}

const renderList = whenChanged(
  ({ found, more, operator }: { found: readonly Route[]; more: number; operator: boolean }) => {
    fill(
      byId('route-list'),
      ...found.map((route) => routeRow(route, operator)),
      found.length === 0 && el('li', { class: 'quiet' }, 'No route contains that.'),
      more > 0 &&
        el('li', { class: 'quiet' }, `${plural(more, 'further route')}: use the filter to find them`),
    );
  },
);

function contains({ name, description = '', utterances }: Route, wanted: string): boolean {
  return [name, description, ...utterances].some((text) => text.toLowerCase().includes(wanted));
}

/** Whence a set comes, in words. */
export function sourceText(source: RouteSource): string {
  const { name } = source.file;
  return source.kind === 'file' ? `from ${name}` : `version ${source.version}, made on top of ${name}`;
}

function routeRow(route: Route, operator: boolean): HTMLElement {
  const { name, description, utterances, score_threshold: threshold, metadata } = route;
  const more = el('details', {}, el('summary', {}, plural(utterances.length, 'utterance')));
  // Thousands of utterances are made into elements only when somebody looks.
  more.addEventListener(
    'toggle',
    () => more.append(el('ul', {}, ...utterances.map((utterance) => el('li', {}, utterance)))),
    { once: true },
  );
  return el(
    'li',
    {},
    el(
      'div',
      {},
      el('p', { class: 'strong' }, name),
      el('p', {}, description),
      el(
        'p',
        { class: 'meta quiet' },
        threshold !== undefined && el('span', {}, `threshold ${score(threshold)}`),
        metadata && el('code', {}, JSON.stringify(metadata)),
      ),
    ),
    operator &&
      el(
        'button',
        {
          type: 'button',
          class: 'plain',
          'aria-label': `Edit ${name}`,
          click: () => void edit(route),
        },
        'Edit',
      ),
    more,
  );
}
