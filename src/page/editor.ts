import {
  ClientError,
  type DraftLintReport,
  type Finding,
  type Route,
  type RouteInput,
  type RouteSet,
} from '../../packages/client/src/index.js';
import { daemon, statusOf, withKey, wordsOf } from './api.js';
import { byId, el, fill, markFaults, percent, plural, score, setText } from './dom.js';
import {
  changesOf,
  DraftFault,
  FIELDS,
  fieldsText,
  fillFields,
  isBeyondFields,
  isSame,
  readFields,
  withRoute,
} from './draft.js';

interface Session {
  /** The set that the edit is made from. */
  set: RouteSet;
  /** The route as it was there; `undefined` for a new one. */
  original: Route | undefined;
  /** The fields as they were, to tell whether anything would be lost. */
  untouched: string;
  /** Whether a click more is needed before something is thrown away. */
  warned: 'discard' | 'delete' | 'contradiction' | undefined;
  /** Findings before anything was typed. */
  before: ReadonlySet<string> | undefined;
  /** The last findings, and the fields that they are about. */
  reviewed: { readonly fields: string; readonly report: DraftLintReport } | undefined;
  readonly onSaved: OnSaved;
}

/** Called with a report of the change, and the route to go on with. */
type OnSaved = (message: string, name: string) => unknown;

let session: Session | undefined;

/** Opens the editor on a route of a set, or on a new one. */
export function openEditor(set: RouteSet, route: Route | undefined, onSaved: OnSaved): void {
  enable();
  fillFields(route);
  session = {
    set,
    original: route,
    untouched: fieldsText(),
    warned: undefined,
    before: undefined,
    reviewed: undefined,
    onSaved,
  };
  markFaults(FIELDS, new Map());
  setText(byId('editor-title'), route ? `Edit ${route.name}` : 'New route');
  byId('edit-delete').hidden = route === undefined;
  resetButtons();
  setText(byId('lint-summary'), route ? '' : 'Findings appear here while you type.');
  fill(byId('lint-findings'));
  fill(byId('editor-said'));
  byId<HTMLButtonElement>('edit-save').disabled = route !== undefined && isBeyondFields(route);
  if (route && isBeyondFields(route))
    say('An utterance holds the sign ↵, which this form cannot keep: edit this route over HTTP.');
  byId<HTMLInputElement>('edit-threshold').placeholder =
    `${score(set.default_threshold, set.default_threshold)} (default)`;
  byId<HTMLDialogElement>('editor').showModal();
  byId(route ? 'edit-utterances' : 'edit-name').focus();
  if (route) review();
}

let isEnabled = false;

function enable(): void {
  if (isEnabled) return;
  isEnabled = true;
  // It scrolls, so the keyboard must reach it.
  byId('review').tabIndex = 0;
  byId('editor-form').addEventListener('input', () => {
    if (session) session.warned = undefined;
    resetButtons();
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

function resetButtons(): void {
  setText(byId('edit-delete'), 'Delete');
  setText(byId('edit-save'), 'Save');
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
    route = draftOf(session);
    markFaults(FIELDS, new Map());
  } catch (error) {
    return refuse(error);
  }
  const { name, ...fields } = route;
  if (session.warned !== 'contradiction') {
    setBusy(true);
    await reviewNow();
    setBusy(false);
    if (!session) return;
    const { reviewed } = session;
    // Where the daemon had no time to look, findings are of an earlier text.
    const findings = reviewed?.fields === fieldsText() ? reviewed.report.findings : [];
    const errors = findings.filter(({ severity, routes }) => severity === 'error' && routes.includes(name));
    if (errors.length > 0) {
      session.warned = 'contradiction';
      setText(byId('edit-save'), 'Save anyway');
      byId('edit-save').focus();
      return say(
        `The set contradicts itself: ${plural(errors.length, 'error')} among the findings. Save anyway?`,
      );
    }
  }
  await change(name, fields, `${name} is saved and serves.`);
}

/** @throws DraftFault */
function draftOf({ set, original }: Session): Route {
  return readFields(original ? [] : set.routes.map(({ name }) => name));
}

/** Marks the field at fault and goes there. */
function refuse(error: unknown): void {
  fill(byId('editor-said'));
  if (error instanceof DraftFault) markFaults(FIELDS, error.faults)?.focus();
  else say(wordsOf(error));
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
    onSaved(done, name);
  } catch (error) {
    if (statusOf(error) === 412) await explainConflict(name);
    else if (error instanceof ClientError && error.errors.length > 0) {
      fill(byId('editor-said'));
      showFaults(error.errors)?.focus();
    } else say(wordsOf(error));
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
  session.reviewed = undefined;
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
          : now
            ? `They changed this route too (${changesOf(before, now)}). Your text is kept: save again to write it over theirs.`
            : 'They deleted this route. Your text is kept: save again to bring it back with your text.',
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

function say(content: string | HTMLElement): void {
  fill(byId('editor-said'), typeof content === 'string' ? el('p', { class: 'bad' }, content) : content);
}

function setBusy(busy: boolean): void {
  for (const id of ['edit-save', 'edit-delete']) byId<HTMLButtonElement>(id).disabled = busy;
}

const TONES = { error: 'bad', warning: 'warn', info: 'busy' } as const;
const SEVERITIES: readonly Finding['severity'][] = ['error', 'warning', 'info'];

/** Pause after the last key before a draft is linted. */
const PAUSE_MS = 400;
/** Pause while the daemon is busy with other drafts. */
const BUSY_MS = 1_500;

let timer = 0;
let running: AbortController | undefined;

/** Lints the fields after a pause in typing; a newer look replaces an older one. */
function review(waitMs = PAUSE_MS): void {
  window.clearTimeout(timer);
  timer = window.setTimeout(() => void reviewNow(), waitMs);
}

function stopLint(): void {
  window.clearTimeout(timer);
  running?.abort();
}

async function reviewNow(): Promise<void> {
  if (!session) return;
  const fields = fieldsText();
  if (session.reviewed?.fields === fields) return;
  // The first look is the measure of what is new, so it may finish.
  if (session.before || !session.original) stopLint();
  const current = new AbortController();
  running = current;
  const { signal } = current;
  const of = session;
  try {
    const route = draftOf(of);
    markFaults(FIELDS, new Map());
    setText(byId('lint-summary'), 'Checking…');
    const { method, none } = of.set;
    const draft = { ...(method && { method }), routes: withRoute(of.set, route), ...(none && { none }) };
    const report = await daemon('admin').lintDraft(draft, { signal });
    if (of !== session) return;
    if (of.original && fields === of.untouched) of.before = new Set(report.findings.map(keyOf));
    if (running !== current) return;
    of.reviewed = { fields, report };
    showFindings(report, route.name);
  } catch (error) {
    if (signal.aborted || of !== session) return;
    if (error instanceof DraftFault) return void showFault(error);
    if (error instanceof ClientError && error.code === 'overloaded') return review(BUSY_MS);
    if (error instanceof ClientError && error.errors.length > 0) return void showFaults(error.errors);
    setText(byId('lint-summary'), `Not checked: ${wordsOf(error)}`);
    fill(byId('lint-findings'));
  }
}

/** Returns a key for the subject of a finding, regardless of its figures. */
function keyOf({ kind, routes, utterances }: Finding): string {
  return JSON.stringify([kind, [...routes].sort(), utterances.map(({ utterance }) => utterance).sort()]);
}

/** Shows the findings about this route: new ones first, then the severe ones, then those of its own utterances. */
function showFindings({ findings, accuracy, warnings }: DraftLintReport, name: string): void {
  const before = session?.before;
  const here = findings
    .filter((finding) => finding.routes.includes(name) && !isRepetition(finding))
    .map((finding) => ({
      finding,
      isNew: before !== undefined && !before.has(keyOf(finding)),
      isOwn: (finding.utterances[0]?.route ?? name) === name,
    }))
    .sort(
      (a, b) =>
        Number(b.isNew) - Number(a.isNew) ||
        SEVERITIES.indexOf(a.finding.severity) - SEVERITIES.indexOf(b.finding.severity) ||
        Number(b.isOwn) - Number(a.isOwn),
    );
  const fresh = here.filter(({ isNew }) => isNew).length;
  const elsewhere = findings.length - here.length;
  const parts = [
    here.length === 0
      ? 'Nothing to improve in this route.'
      : `${plural(here.length, 'finding')} about this route`,
    here.length > 0 && before && (fresh === 0 ? ', none of them new.' : `, ${fresh} new.`),
    here.length > 0 && !before && '.',
    accuracy !== null && ` Left out in turn, ${percent(accuracy)} of all utterances are sent to their route.`,
    elsewhere > 0 && ` ${plural(elsewhere, 'finding')} about other routes.`,
  ];
  setText(byId('lint-summary'), parts.filter(Boolean).join(''));
  fill(
    byId('lint-findings'),
    ...warnings
      .filter(({ message }) => !message.includes('is also an utterance of'))
      .map(({ message }) => item('warning', message, '')),
    ...here.map(({ finding, isNew }) =>
      item(finding.severity, messageFor(finding, name), finding.advice, isNew),
    ),
  );
}

/** Of two equal utterances the error says it already. */
function isRepetition({ kind, utterances: [one, two] }: Finding): boolean {
  return kind === 'nearer_elsewhere' && one?.utterance === two?.utterance;
}

/** A finding as the editor of this route reads it: the other route is named, once. */
function messageFor({ kind, routes, utterances, message }: Finding, name: string): string {
  const here = utterances.find(({ route }) => route === name);
  const there = utterances.find(({ route }) => route !== name);
  if (!here || !there) return message;
  const own = `“${here.utterance}”`;
  const other = `“${there.utterance}” in ${there.route}`;
  if (kind === 'duplicate_across')
    return `${own} is also an utterance of ${routes.filter((route) => route !== name).join(', ')}`;
  if (kind === 'near_duplicate_across') return `${own} is nearly the same to the model as ${other}`;
  if (kind !== 'nearer_elsewhere') return message;
  return utterances[0] === here
    ? `${own} is nearer to ${other} than to the rest of this route`
    : `${other} is nearer to ${own} than to the rest of ${there.route}`;
}

function showFault({ faults }: DraftFault): void {
  markFaults(FIELDS, faults);
  setText(byId('lint-summary'), 'This cannot be saved yet.');
  fill(byId('lint-findings'));
}

/** Shows what the daemon refuses, at its field where it is in one. @returns the first of these fields */
function showFaults(issues: ClientError['errors']): HTMLElement | undefined {
  setText(byId('lint-summary'), 'This cannot be saved:');
  const faults = new Map<string, string>();
  for (const { path, message } of issues) {
    const [, index] = /utterances\[(\d+)\]$/.exec(path) ?? [];
    const field = FIELDS.find((id) => path.includes(id.replace('edit-', '')));
    if (field) faults.set(field, index === undefined ? message : `Line ${Number(index) + 1}: ${message}`);
  }
  fill(
    byId('lint-findings'),
    ...issues.map(({ path, message }) => item('error', `${placeOf(path)}${message}`, '')),
  );
  return markFaults(FIELDS, faults);
}

/** Where a fault is, in the words of the form: an utterance by its line, else the field. */
function placeOf(path: string): string {
  const [, index] = /utterances\[(\d+)\]$/.exec(path) ?? [];
  if (index !== undefined) return `Line ${Number(index) + 1}: `;
  const field = path.replace(/^routes\[\d+\]\.?/, '');
  return field === '' ? '' : `${field}: `;
}

function item(severity: Finding['severity'], message: string, advice: string, isNew = false): HTMLElement {
  return el(
    'li',
    { 'data-tone': TONES[severity] },
    el('span', { class: 'strong' }, `${isNew ? 'new ' : ''}${severity}: `),
    message,
    '. ',
    el('span', { class: 'quiet' }, advice),
  );
}
