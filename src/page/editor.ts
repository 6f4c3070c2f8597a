import {
  ClientError,
  type DraftLintReport,
  type Finding,
  type JsonObject,
  type Route,
  type RouteInput,
  type RouteSet,
} from '../../packages/client/src/index.js';
import { daemon, statusOf, withKey, wordsOf } from './api.js';
import { byId, el, fill, percent, plural, setText } from './dom.js';

/** Stands for a line break within an utterance, where each line is an utterance. */
const BREAK = '↵';

/** The fields make no route; the message says why. */
class DraftFault extends Error {}

/** Puts a route into the fields. */
function fillFields(route: Route | undefined): void {
  const fields = fieldsOf();
  fields.name.value = route?.name ?? '';
  fields.name.readOnly = route !== undefined;
  fields.description.value = route?.description ?? '';
  fields.utterances.value = (route?.utterances ?? [])
    .map((utterance) => utterance.replace(/\r\n?|\n/g, BREAK))
    .join('\n');
  fields.threshold.value = route?.score_threshold === undefined ? '' : String(route.score_threshold);
  fields.metadata.value = route?.metadata === undefined ? '' : JSON.stringify(route.metadata, null, 2);
}

/**
 * Makes a route of the fields.
 * @throws DraftFault
 */
function readFields(): Route {
  const { name, description, utterances, threshold, metadata } = fieldsOf();
  const lines = utterances.value.split('\n').filter((line) => line.trim() !== '');
  if (name.value.trim() === '') throw new DraftFault('Give the route a name.');
  if (lines.length === 0) throw new DraftFault('Write an utterance or more, one a line.');
  return {
    name: name.value.trim(),
    ...(description.value.trim() !== '' && { description: description.value }),
    utterances: lines.map((line) => line.replaceAll(BREAK, '\n')),
    ...(threshold.value !== '' && { score_threshold: Number(threshold.value) }),
    ...(metadata.value.trim() !== '' && { metadata: readMetadata(metadata.value) }),
  };
}

/** Whether a route says something that the fields cannot say. */
function isBeyondFields({ utterances }: Route): boolean {
  return utterances.some((utterance) => utterance.includes(BREAK));
}

/** The set with this route in it, where the old one was or at the end. */
function withRoute(set: RouteSet, route: Route): readonly Route[] {
  const isThere = set.routes.some(({ name }) => name === route.name);
  return isThere
    ? set.routes.map((each) => (each.name === route.name ? route : each))
    : [...set.routes, route];
}

/** Whether two routes say the same. */
function isSame(a: Route | undefined, b: Route | undefined): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

/** The fields as text, to tell whether anything was written. */
function fieldsText(): string {
  return Object.values(fieldsOf())
    .map(({ value }) => value)
    .join('\0');
}

function readMetadata(text: string): JsonObject {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new DraftFault(`The metadata is not JSON: ${error instanceof Error ? error.message : error}`);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new DraftFault('The metadata must be a JSON object, such as {"model": "small"}.');
  }
  return value as JsonObject;
}

function fieldsOf() {
  return {
    name: byId<HTMLInputElement>('edit-name'),
    description: byId<HTMLInputElement>('edit-description'),
    utterances: byId<HTMLTextAreaElement>('edit-utterances'),
    threshold: byId<HTMLInputElement>('edit-threshold'),
    metadata: byId<HTMLTextAreaElement>('edit-metadata'),
  };
}

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
  await change(name, fields, `${name} is saved and serves.`);
}

async function remove(): Promise<void> {
  if (!session?.original) return;
  const { name } = session.original;
  if (session.warned !== 'delete') {
    session.warned = 'delete';
    setText(byId('edit-delete'), `Really delete ${name}`);
    return;
  }
  await change(name, undefined, `${name} is deleted. The history can bring it back.`);
}

async function change(name: string, fields: RouteInput | undefined, done: string): Promise<void> {
  if (!session) return;
  const { set, onSaved } = session;
  setBusy(true);
  say(el('p', { class: 'quiet' }, 'The new set is embedded, and its head trained…'));
  try {
    const options = { ifMatch: set.digest };
    await withKey('admin', (client) =>
      fields ? client.putRoute(name, fields, options) : client.deleteRoute(name, options),
    );
    byId<HTMLDialogElement>('editor').close();
    onSaved(done);
  } catch (error) {
    if (statusOf(error) === 412) await explainConflict(name);
    else say(error instanceof ClientError && error.errors.length > 0 ? issuesText(error) : wordsOf(error));
  } finally {
    setBusy(false);
  }
}

/** Explains what another client has changed, and lets the edit go on from their set. */
async function explainConflict(name: string): Promise<void> {
  if (!session) return;
  let theirs: RouteSet;
  try {
    theirs = await daemon('admin').routes();
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
      el('p', { class: 'strong' }, 'Another client changed the routes since you opened this one.'),
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

function issuesText({ errors }: ClientError): string {
  return errors.map(({ path, message }) => `${path}: ${message}`).join('; ');
}

function say(content: string | HTMLElement): void {
  const said = byId('editor-said');
  fill(said, typeof content === 'string' ? el('p', { class: 'bad' }, content) : content);
  said.scrollIntoView({ block: 'nearest' });
}

function setBusy(busy: boolean): void {
  for (const id of ['edit-save', 'edit-delete']) byId<HTMLButtonElement>(id).disabled = busy;
}

const TONES = { error: 'bad', warning: 'warn', info: 'busy' } as const;

/** Pause after the last key before a draft is linted. */
const PAUSE_MS = 400;
/** Pause while the daemon is busy with other drafts. */
const BUSY_MS = 1_500;

let timer = 0;
let running: AbortController | undefined;

/** Lints a draft after a pause in typing; a newer call replaces an older one. */
function lintSoon(draft: () => { routes: readonly Route[]; name: string }, waitMs = PAUSE_MS): void {
  stopLint();
  timer = window.setTimeout(() => void lint(draft), waitMs);
}

/** Stops the lint under way. */
function stopLint(): void {
  window.clearTimeout(timer);
  running?.abort();
}

async function lint(draft: Parameters<typeof lintSoon>[0]): Promise<void> {
  running = new AbortController();
  const { signal } = running;
  try {
    const { routes, name } = draft();
    setText(byId('lint-summary'), 'Checking…');
    showFindings(await daemon('admin').lintDraft({ routes }, { signal }), name);
  } catch (error) {
    if (signal.aborted) return;
    if (error instanceof ClientError && error.code === 'overloaded') return lintSoon(draft, BUSY_MS);
    if (error instanceof ClientError && error.errors.length > 0) return showFaults(error.errors);
    setText(byId('lint-summary'), error instanceof DraftFault ? error.message : `No lint: ${wordsOf(error)}`);
    fill(byId('lint-findings'));
  }
}

function showFindings({ findings, accuracy, warnings }: DraftLintReport, name: string): void {
  const here = findings.filter(({ routes }) => routes.includes(name));
  const elsewhere = findings.length - here.length;
  const share = accuracy === null ? '' : ` Of all utterances ${percent(accuracy)} find their way back.`;
  const others = elsewhere === 0 ? '' : ` ${plural(elsewhere, 'finding')} about other routes.`;
  setText(
    byId('lint-summary'),
    `${here.length === 0 ? 'Nothing to improve in this route.' : `${plural(here.length, 'finding')} about this route.`}${share}${others}`,
  );
  fill(
    byId('lint-findings'),
    ...warnings.map(({ message }) => item('warning', message, '')),
    ...here.map(({ severity, message, advice }) => item(severity, message, advice)),
  );
}

function showFaults(issues: ClientError['errors']): void {
  setText(byId('lint-summary'), 'This cannot be saved:');
  fill(
    byId('lint-findings'),
    ...issues.map(({ path, message }) => item('error', `${placeOf(path)}${message}`, '')),
  );
}

/** Where a fault is, in the words of the form: an utterance by its line, else the field. */
function placeOf(path: string): string {
  const [, index] = /utterances\[(\d+)\]$/.exec(path) ?? [];
  if (index !== undefined) return `Line ${Number(index) + 1}: `;
  const field = path.replace(/^routes\[\d+\]\.?/, '');
  return field === '' ? '' : `${field}: `;
}

function item(severity: Finding['severity'], message: string, advice: string): HTMLElement {
  return el(
    'li',
    { 'data-tone': TONES[severity] },
    el('span', { class: 'strong' }, `${severity}: `),
    message,
    ' ',
    el('span', { class: 'quiet' }, advice),
  );
}
