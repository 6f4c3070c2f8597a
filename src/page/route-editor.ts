import { ask, askWithKey, Problem, wordsOf } from './api.js';
import { byId, el, fill, setText } from './dom.js';
import { plural } from './format.js';
import { lintSoon, stopLint } from './lint-view.js';
import {
  DraftFault,
  fieldsText,
  fillFields,
  isBeyondFields,
  isSame,
  readFields,
  withRoute,
} from './route-draft.js';
import type { Route, RouteSet } from './wire.js';

/** What is being edited. */
interface Session {
  /** The set that the edit is made from. */
  set: RouteSet;
  /** The route as it was there; `undefined` for a new one. */
  original: Route | undefined;
  /** The fields as they were, to tell whether anything would be lost. */
  untouched: string;
  /** Whether a click more is needed before something is thrown away. */
  warned: 'discard' | 'delete' | undefined;
  readonly onSaved: (message: string) => unknown;
}

let session: Session | undefined;

/** Opens the editor on a route of a set, or on a new one. */
export function openEditor(
  set: RouteSet,
  route: Route | undefined,
  onSaved: (message: string) => unknown,
): void {
  enable();
  fillFields(route);
  session = { set, original: route, untouched: fieldsText(), warned: undefined, onSaved };
  setText(byId('editor-title'), route ? `Edit ${route.name}` : 'New route');
  byId('edit-delete').hidden = route === undefined;
  setText(byId('edit-delete'), 'Delete route');
  setText(byId('lint-summary'), '');
  fill(byId('lint-findings'));
  fill(byId('editor-said'));
  byId<HTMLButtonElement>('edit-save').disabled = route !== undefined && isBeyondFields(route);
  if (route && isBeyondFields(route))
    say('An utterance holds the sign ↵, which this form cannot keep: edit this route over HTTP.');
  byId<HTMLDialogElement>('editor').showModal();
  byId(route ? 'edit-utterances' : 'edit-name').focus();
  if (route) review();
}

let isEnabled = false;

function enable(): void {
  if (isEnabled) return;
  isEnabled = true;
  byId('editor-form').addEventListener('input', () => {
    if (session) session.warned = undefined;
    setText(byId('edit-delete'), 'Delete route');
    review();
  });
  byId('editor-form').addEventListener('submit', (event) => {
    event.preventDefault();
    void save();
  });
  byId('edit-cancel').addEventListener('click', leave);
  byId('editor').addEventListener('cancel', (event) => {
    event.preventDefault();
    leave();
  });
  byId('editor').addEventListener('close', stopLint);
  byId('edit-delete').addEventListener('click', () => void remove());
}

function review(): void {
  lintSoon(() => {
    if (!session) throw new DraftFault('');
    const route = readFields();
    return { routes: withRoute(session.set, route), name: route.name };
  });
}

function leave(): void {
  if (session && session.warned !== 'discard' && fieldsText() !== session.untouched) {
    session.warned = 'discard';
    say('Your changes are not saved. Cancel once more to discard them.');
    return;
  }
  byId<HTMLDialogElement>('editor').close();
}

async function save(): Promise<void> {
  if (!session) return;
  let route: Route;
  try {
    route = readFields();
  } catch (error) {
    return say(wordsOf(error));
  }
  const { set, original } = session;
  if (!original && set.routes.some(({ name }) => name === route.name)) {
    return say(`There is a route called ${route.name} already: edit that one, or choose another name.`);
  }
  const { name, ...fields } = route;
  await change(
    'PUT',
    name,
    fields,
    original ? `${name} is saved and serves.` : `${name} is there and serves.`,
  );
}

async function remove(): Promise<void> {
  if (!session?.original) return;
  const { name } = session.original;
  if (session.warned !== 'delete') {
    session.warned = 'delete';
    setText(byId('edit-delete'), `Really delete ${name}`);
    return;
  }
  await change('DELETE', name, undefined, `${name} is deleted. The history can bring it back.`);
}

async function change(
  method: 'PUT' | 'DELETE',
  name: string,
  body: object | undefined,
  done: string,
): Promise<void> {
  if (!session) return;
  const { set, onSaved } = session;
  setBusy(true);
  say(el('p', { class: 'quiet' }, 'The new set is embedded, and its head trained…'));
  try {
    await askWithKey(`routes/${encodeURIComponent(name)}`, {
      method,
      key: 'admin',
      ifMatch: `"${set.digest}"`,
      body,
    });
    byId<HTMLDialogElement>('editor').close();
    onSaved(done);
  } catch (error) {
    if (error instanceof Problem && error.status === 412) await explainConflict(name);
    else say(error instanceof Problem && error.issues.length > 0 ? issuesText(error) : wordsOf(error));
  } finally {
    setBusy(false);
  }
}

/** Somebody else changed the set: says what, and lets the edit go on from theirs. */
async function explainConflict(name: string): Promise<void> {
  if (!session) return;
  let theirs: RouteSet;
  try {
    theirs = (await ask<RouteSet>('routes', { key: 'admin' })).body;
  } catch (error) {
    return say(wordsOf(error));
  }
  const before = session.original;
  const now = theirs.routes.find((route) => route.name === name);
  const isUntouched = isSame(before, now);
  // From here on the edit is made from their set, so that saving again writes over what was shown, never unseen.
  session.set = theirs;
  session.original = now;
  say(
    el(
      'div',
      { class: 'conflict', 'data-tone': 'warn' },
      el('p', { class: 'strong' }, 'Somebody else changed the routes since you opened this one.'),
      el(
        'p',
        {},
        isUntouched
          ? 'They changed other routes; this one is as you found it. Your text is kept: save again to add it to theirs.'
          : differenceText(before, now),
      ),
      !isUntouched &&
        now !== undefined &&
        el(
          'button',
          { type: 'button', class: 'plain', click: () => takeTheirs(now) },
          'Take theirs, drop my text',
        ),
    ),
  );
  review();
}

function takeTheirs(route: Route): void {
  if (!session) return;
  fillFields(route);
  session.untouched = fieldsText();
  fill(byId('editor-said'));
  byId('edit-utterances').focus();
  review();
}

function differenceText(before: Route | undefined, now: Route | undefined): string {
  if (!now) return 'They deleted this route. Your text is kept: save again to bring it back with your text.';
  const old = new Set(before?.utterances);
  const current = new Set(now.utterances);
  const added = [...current].filter((text) => !old.has(text));
  const removed = [...old].filter((text) => !current.has(text));
  const list = (texts: string[]): string =>
    texts
      .slice(0, 3)
      .map((text) => `“${text}”`)
      .join(', ') + (texts.length > 3 ? ', …' : '');
  const what = [
    added.length > 0 && `${plural(added.length, 'utterance')} added: ${list(added)}`,
    removed.length > 0 && `${plural(removed.length, 'utterance')} removed: ${list(removed)}`,
  ].filter((each) => typeof each === 'string');
  return `They changed this route too (${what.join('; ') || 'its other fields'}). Your text is kept: save again to write it over theirs.`;
}

function issuesText({ issues }: Problem): string {
  return issues.map(({ path, message }) => `${path}: ${message}`).join('; ');
}

function say(content: string | HTMLElement): void {
  const said = byId('editor-said');
  fill(said, typeof content === 'string' ? el('p', { class: 'bad' }, content) : content);
  said.scrollIntoView({ block: 'nearest' });
}

function setBusy(busy: boolean): void {
  for (const id of ['edit-save', 'edit-delete']) byId<HTMLButtonElement>(id).disabled = busy;
}
