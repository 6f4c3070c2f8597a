import type {
  CacheStatus,
  Route,
  RouteDocument,
  RouteSet,
  RouteSource,
  RouteVersion,
} from '../../packages/client/src/index.js';
import { daemon, hasKey, onKeyChange, statusOf, withKey, wordsOf } from './api.js';
import { byId, chips, el, fact, fill, focusOn, plural, score, setText, whenChanged } from './dom.js';
import { changesOf, isSame, textChanges } from './draft.js';
import { openEditor } from './editor.js';

/** More rows than this are found by the filter. */
const ROWS = 50;
const FILTER_FROM = 8;

/** Why there are no routes to show, by the answer's status. */
const WHY_NONE = new Map<number | undefined, string>([
  [503, 'The routes appear as soon as they are embedded.'],
]);

let served: RouteSet | undefined;
let onServed: (set: RouteSet) => void = () => undefined;

/** Makes the list and its buttons work. @param listener called with every set that is served anew */
export function enableRoutes(listener: (set: RouteSet) => void): void {
  onServed = listener;
  byId('filter').addEventListener('input', () => render());
  onKeyChange(() => render());
  byId('routes-edit').addEventListener('click', async () => {
    if (await signIn(byId('routes-said'))) focusOn(byId('routes-new'));
  });
  // A phone has no room for every route before all else.
  byId<HTMLDetailsElement>('routes-fold').open = !window.matchMedia('(max-width: 800px)').matches;
  byId('routes-new').addEventListener('click', () => edit(undefined));
  byId('routes-history').addEventListener('click', () => {
    if (served) void openHistory(served);
  });
}

function edit(route: Route | undefined): void {
  if (served) openEditor(served, route, changed);
}

/** Asks for an operator's key. @param said where it says why there is none @returns whether it is one */
export async function signIn(said: HTMLElement): Promise<boolean> {
  try {
    await withKey('admin', (client) => client.routeVersions());
    setText(said, '');
    return true;
  } catch (error) {
    // A cancelled dialog needs no message.
    setText(said, statusOf(error) === 401 ? '' : wordsOf(error));
    return false;
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
    setText(byId('routes-said'), WHY_NONE.get(statusOf(error)) ?? wordsOf(error));
  }
}

async function changed(message: string, name?: string): Promise<void> {
  await refreshRoutes();
  setText(byId('routes-said'), message);
  if (name === undefined) return;
  byId<HTMLDetailsElement>('routes-fold').open = true;
  const row = [...document.querySelectorAll<HTMLElement>('#route-list button')].find(
    (button) => button.dataset.route === name,
  );
  focusOn(row ?? byId('routes-new'));
}

function showSet(set: RouteSet): void {
  served = set;
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
  setText(byId('routes-count'), plural(served.routes.length, 'route'));
  byId('filter-label').hidden = served.routes.length < FILTER_FROM;
  const wanted = byId<HTMLInputElement>('filter').value.trim().toLowerCase();
  const found = served.routes.filter((route) => wanted === '' || contains(route, wanted));
  const none = (served.none ?? []).filter((text) => text.toLowerCase().includes(wanted));
  renderList({ found: found.slice(0, ROWS), more: found.length - ROWS, none, operator });
}

const renderList = whenChanged(
  ({
    found,
    more,
    none,
    operator,
  }: {
    found: readonly Route[];
    more: number;
    none: readonly string[];
    operator: boolean;
  }) => {
    fill(
      byId('route-list'),
      ...found.map((route) => routeRow(route, operator)),
      found.length === 0 && el('li', { class: 'quiet' }, 'No route contains that.'),
      more > 0 &&
        el('li', { class: 'quiet' }, `${plural(more, 'further route')}: use the filter to find them`),
      none.length > 0 &&
        el(
          'li',
          {},
          el('p', { class: 'name quiet' }, 'no route'),
          textList(`${plural(none.length, 'text')} to be sent nowhere`, none),
        ),
    );
  },
);

function contains({ name, description = '', utterances }: Route, wanted: string): boolean {
  return [name, description, ...utterances].some((text) => text.toLowerCase().includes(wanted));
}

/** The source of a set, in words. */
export function sourceText(source: RouteSource): string {
  const { name } = source.file;
  return source.kind === 'file' ? `from ${name}` : `version ${source.version}, made on top of ${name}`;
}

/** Shows which model and which routes answer. */
export const showServing = whenChanged(
  ({ model, routes }: { model: CacheStatus['manifest'] | undefined; routes: RouteSet | undefined }) => {
    fill(
      byId('serving-facts'),
      ...(model
        ? [
            fact('Model', `${model.id} · ${model.variant}`, 'whole'),
            fact('Revision', el('code', { title: model.revision }, model.revision)),
            fact('Model digest', el('code', { title: model.digest }, model.digest)),
          ]
        : []),
      ...(routes
        ? [
            fact(
              'Routes',
              `${plural(routes.routes.length, 'route')}, ${plural(routes.utterances, 'utterance')}`,
            ),
            fact('Routes digest', el('code', { title: routes.digest }, routes.digest)),
          ]
        : [fact('Routes', 'they appear when they are embedded')]),
    );
  },
);

function routeRow(route: Route, operator: boolean): HTMLElement {
  const { name, description, utterances, score_threshold: threshold, metadata } = route;
  const summary = [description, plural(utterances.length, 'utterance')].filter(Boolean).join(' · ');
  return el(
    'li',
    {},
    el(
      'div',
      { class: 'name' },
      el('p', { class: 'strong' }, name),
      threshold !== undefined && el('p', { class: 'quiet' }, `threshold ${score(threshold, threshold)}`),
      metadata && chips(metadata),
    ),
    operator &&
      el(
        'button',
        {
          type: 'button',
          class: 'plain',
          'aria-label': `Edit ${name}`,
          'data-route': name,
          click: () => edit(route),
        },
        'Edit',
      ),
    textList(summary, utterances),
  );
}

/** A section that lists texts. Thousands of them are made into elements only when it is opened. */
function textList(summary: string, texts: readonly string[]): HTMLElement {
  const more = el('details', {}, el('summary', {}, summary));
  more.addEventListener(
    'toggle',
    () => more.append(el('ul', {}, ...texts.map((text) => el('li', {}, text)))),
    {
      once: true,
    },
  );
  return more;
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
  // Another operator's change since the last look would be marked wrong.
  await refreshRoutes();
  await showHistory();
}

async function showHistory(): Promise<void> {
  try {
    const { versions } = await withKey('admin', (client) => client.routeVersions());
    byId<HTMLButtonElement>('history-undo').disabled = versions.length === 0;
    if (versions.length === 0) setText(byId('history-said'), 'Nothing was changed over HTTP yet.');
    // Routes go by their digest: after a rollback to what the file says, the file serves, and so does that version.
    const current = versions.find(({ digest }) => digest === served?.digest);
    fill(
      byId('history-list'),
      ...versions.map((version, index) => versionRow(version, versions[index + 1], version === current)),
    );
  } catch (error) {
    setText(byId('history-said'), wordsOf(error));
  }
}

function versionRow(entry: RouteVersion, before: RouteVersion | undefined, isCurrent: boolean): HTMLElement {
  const { version, action, route, restores, at, routes, utterances, digest } = entry;
  const what = [route, ACTIONS[action], restores].filter((each) => each !== undefined).join(' ');
  const isServed = isCurrent || digest === served?.digest;
  const counts = `${plural(routes, 'route')}, ${plural(utterances, 'utterance')}`;
  return el(
    'li',
    {},
    el('span', { class: 'num' }, version),
    el(
      'div',
      {},
      el('p', {}, what),
      el('p', { class: 'quiet' }, `${new Date(at).toLocaleString()} · ${counts}`),
    ),
    isServed
      ? el('span', { class: 'tag', 'data-tone': 'ok' }, isCurrent ? 'served' : 'same as served')
      : el(
          'button',
          {
            type: 'button',
            class: 'plain',
            'aria-label': `Go back to it: version ${version}`,
            click: () => void rollback(version),
          },
          'Go back to it',
        ),
    before && comparison(`Changes since version ${before.version}`, () => compare(before.version, entry)),
    !isServed && comparison('Compared with what serves', () => compare(version, served)),
  );
}

/** A section whose content is loaded when it is opened first. */
function comparison(title: string, load: () => Promise<HTMLElement>): HTMLElement {
  const box = el('details', {}, el('summary', {}, title));
  const open = async (): Promise<void> => {
    box.append(
      await load().catch((error: unknown) => el('p', { class: 'bad' }, `Not to be had: ${wordsOf(error)}`)),
    );
  };
  box.addEventListener('toggle', () => void open(), { once: true });
  return box;
}

async function compare(from: number, to: RouteVersion | RouteSet | undefined): Promise<HTMLElement> {
  const client = daemon('admin');
  const [before, now] = await Promise.all([
    client.routeVersion(from),
    to && 'version' in to ? client.routeVersion(to.version) : to,
  ]);
  const lines = now ? differencesOf(before, now) : [];
  return el(
    'ul',
    { class: 'changes' },
    ...lines.map(([tone, text]) => el('li', { 'data-tone': tone }, text)),
    lines.length === 0 && el('li', {}, 'The routes are the same.'),
  );
}

/** Every route that was added, removed or changed between two sets, with a tone. */
function differencesOf(before: RouteDocument, now: RouteDocument | RouteSet): [tone: string, text: string][] {
  const old = new Map(before.routes.map((route) => [route.name, route]));
  const current = new Set(now.routes.map(({ name }) => name));
  const removed = before.routes.filter(({ name }) => !current.has(name));
  const lines: [string, string][] = removed.map(({ name }) => ['bad', `− ${name}`]);
  for (const route of now.routes) {
    const was = old.get(route.name);
    if (!was) lines.push(['ok', `+ ${route.name}: ${plural(route.utterances.length, 'utterance')}`]);
    else if (!isSame(was, route)) lines.push(['busy', `${route.name}: ${changesOf(was, route)}`]);
  }
  if (before.method !== now.method)
    lines.push(['busy', `method ${before.method ?? 'auto'} → ${now.method ?? 'auto'}`]);
  const changes = textChanges(before.none, now.none, 'text');
  if (changes.length > 0) lines.push(['busy', `no route: ${changes.join('; ')}`]);
  return lines;
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
  showSet(await daemon('admin').routes());
  await showHistory();
  // The button that was pressed is gone.
  focusOn(byId('history-undo'));
}
