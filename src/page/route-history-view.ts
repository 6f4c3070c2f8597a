import { ask, askWithKey, Problem, wordsOf } from './api.js';
import { byId, el, fill, setText } from './dom.js';
import { plural } from './format.js';
import type { RouteSet, RouteVersion } from './wire.js';

interface History {
  readonly current: number | null;
  readonly versions: readonly RouteVersion[];
}

const WORDS: Readonly<Record<RouteVersion['action'], string>> = {
  file: 'taken from the routes file',
  replace: 'the whole set replaced',
  put: 'changed',
  delete: 'deleted',
  rollback: 'back to version',
};

let isEnabled = false;
let served: RouteSet;
let onChange: (message: string) => Promise<void>;

/** Opens the history, from which one can go back to any version. */
export async function openHistory(set: RouteSet, changed: (message: string) => Promise<void>): Promise<void> {
  served = set;
  onChange = changed;
  if (!isEnabled) {
    isEnabled = true;
    byId('history-close').addEventListener('click', () => byId<HTMLDialogElement>('history').close());
    byId('history-undo').addEventListener('click', () => void rollback(undefined));
  }
  setText(byId('history-said'), '');
  fill(byId('history-list'));
  byId<HTMLDialogElement>('history').showModal();
  await show();
}

async function show(): Promise<void> {
  try {
    const { body } = await askWithKey<History>('routes/versions', { key: 'admin' });
    const { versions, current } = body;
    byId<HTMLButtonElement>('history-undo').disabled = versions.length === 0;
    if (versions.length === 0) setText(byId('history-said'), 'Nothing was changed over HTTP yet.');
    fill(byId('history-list'), ...versions.map((version) => row(version, version.version === current)));
  } catch (error) {
    setText(byId('history-said'), wordsOf(error));
  }
}

function row(entry: RouteVersion, isCurrent: boolean): HTMLElement {
  const { version, action, route, restores, at, routes, utterances } = entry;
  const what = [route, WORDS[action], restores].filter((each) => each !== undefined).join(' ');
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
    await askWithKey('routes/rollback', {
      method: 'POST',
      key: 'admin',
      ifMatch: `"${served.digest}"`,
      body: version === undefined ? {} : { version },
    });
    setText(said, version === undefined ? 'The last change is undone.' : `Version ${version} serves again.`);
  } catch (error) {
    const isConflict = error instanceof Problem && error.status === 412;
    setText(
      said,
      isConflict
        ? 'Somebody else changed the routes meanwhile, so nothing was done. The list below is new: choose again.'
        : wordsOf(error),
    );
  }
  served = (await ask<RouteSet>('routes', { key: 'admin' })).body;
  await Promise.all([show(), onChange('')]);
}
