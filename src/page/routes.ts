import type { Route, RouteSet, RouteSource, RouteVersion } from '../../packages/client/src/index.js';
import { askForKey, daemon, hasKey, onKeyChange, statusOf, withKey, wordsOf } from './api.js';
import { byId, el, fill, plural, score, setText, whenChanged } from './dom.js';
import { openEditor } from './editor.js';

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
  byId('routes-new').addEventListener('click', () => edit(undefined));
  byId('routes-history').addEventListener('click', () => {
    if (served) void openHistory(served);
  });
}

function edit(route: Route | undefined): void {
  if (served) openEditor(served, route, changed);
}

/** Asks for an operator's key, and tells whether it is one. */
export async function signIn(): Promise<void> {
  const said = byId('routes-said');
  try {
    await withKey('admin', (client) => client.routeVersions());
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
      if ((await daemon().routesDigest()) === served.digest) return;
    }
    showSet(await daemon().routes());
  } catch (error) {
    if (served) return;
    const status = statusOf(error);
    byId('routes-key').hidden = status !== 401;
    setText(byId('routes-said'), WHY_NONE.get(status) ?? wordsOf(error));
  }
}

async function changed(message: string): Promise<void> {
  await refreshRoutes();
  setText(byId('routes-said'), message);
}

function showSet(set: RouteSet): void {
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
          click: () => edit(route),
        },
        'Edit',
      ),
    more,
  );
}

const ACTIONS: Readonly<Record<RouteVersion['action'], string>> = {
  file: 'taken from the routes file',
  replace: 'the whole set replaced',
  put: 'changed',
  delete: 'deleted',
  rollback: 'back to version',
};

let isHistoryEnabled = false;

/** Opens the history, which can go back to any version. */
async function openHistory(set: RouteSet): Promise<void> {
  served = set;
  if (!isHistoryEnabled) {
    isHistoryEnabled = true;
    byId('history-close').addEventListener('click', () => byId<HTMLDialogElement>('history').close());
    byId('history-undo').addEventListener('click', () => void rollback(undefined));
  }
  setText(byId('history-said'), '');
  fill(byId('history-list'));
  byId<HTMLDialogElement>('history').showModal();
  await showHistory();
}

async function showHistory(): Promise<void> {
  try {
    const { versions, current } = await withKey('admin', (client) => client.routeVersions());
    byId<HTMLButtonElement>('history-undo').disabled = versions.length === 0;
    if (versions.length === 0) setText(byId('history-said'), 'Nothing was changed over HTTP yet.');
    fill(
      byId('history-list'),
      ...versions.map((version) => versionRow(version, version.version === current)),
    );
  } catch (error) {
    setText(byId('history-said'), wordsOf(error));
  }
}

function versionRow(entry: RouteVersion, isCurrent: boolean): HTMLElement {
  const { version, action, route, restores, at, routes, utterances } = entry;
  const what = [route, ACTIONS[action], restores].filter((each) => each !== undefined).join(' ');
  return el(
    'li',
    {},
    el('span', { class: 'num' }, version),
    el(
      'div',
      {},
      el('p', {}, what),
      el(
        'p',
        { class: 'quiet' },
        `${new Date(at).toLocaleString('en-GB')} · ${plural(routes, 'route')}, ${plural(utterances, 'utterance')}`,
      ),
    ),
    isCurrent
      ? el('span', { class: 'tag', 'data-tone': 'ok' }, 'served')
      : el(
          'button',
          {
            type: 'button',
            class: 'plain',
            'aria-label': `Go back to version ${version}`,
            click: () => void rollback(version),
          },
          'Go back to it',
        ),
  );
}

async function rollback(version: number | undefined): Promise<void> {
  const said = byId('history-said');
  setText(said, 'Going back…');
  try {
    const ifMatch = served?.digest ?? '';
    await withKey('admin', (client) =>
      client.rollbackRoutes({ ifMatch, ...(version !== undefined && { version }) }),
    );
    setText(said, version === undefined ? 'The last change is undone.' : `Version ${version} serves again.`);
  } catch (error) {
    const isConflict = statusOf(error) === 412;
    setText(
      said,
      isConflict
        ? 'The routes were changed by another client meanwhile, so nothing was done. The list below is new: choose again.'
        : wordsOf(error),
    );
  }
  served = await daemon('admin').routes();
  await Promise.all([showHistory(), changed('')]);
}
