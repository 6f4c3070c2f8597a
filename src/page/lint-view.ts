import { ask, Problem, wordsOf } from './api.js';
import { byId, el, fill, setText } from './dom.js';
import { percent, plural } from './format.js';
import { DraftFault } from './route-draft.js';
import type { DraftReport, Finding, Route } from './wire.js';

const TONES = { error: 'bad', warning: 'warn', info: 'busy' } as const;

/** Quiet time after the last key before a draft is looked over. */
const PAUSE_MS = 400;
/** When the daemon looks over others' drafts. */
const BUSY_MS = 1_500;

let timer = 0;
let running: AbortController | undefined;

/** Looks a draft over once nothing was typed for a moment; a newer call takes the place of an older one. */
export function lintSoon(draft: () => { routes: readonly Route[]; name: string }, waitMs = PAUSE_MS): void {
  stopLint();
  timer = window.setTimeout(() => void lint(draft), waitMs);
}

/** Gives up what is under way. */
export function stopLint(): void {
  window.clearTimeout(timer);
  running?.abort();
}

async function lint(draft: Parameters<typeof lintSoon>[0]): Promise<void> {
  running = new AbortController();
  const { signal } = running;
  try {
    const { routes, name } = draft();
    setText(byId('lint-summary'), 'Looking it over…');
    const { body } = await ask<DraftReport>('routes/lint', {
      method: 'POST',
      key: 'admin',
      body: { routes },
      signal,
    });
    show(body, name);
  } catch (error) {
    if (signal.aborted) return;
    if (error instanceof Problem && error.code === 'overloaded') return lintSoon(draft, BUSY_MS);
    if (error instanceof Problem && error.issues.length > 0) return showFaults(error.issues);
    setText(byId('lint-summary'), error instanceof DraftFault ? error.message : `No lint: ${wordsOf(error)}`);
    fill(byId('lint-findings'));
  }
}

function show({ findings, accuracy, warnings }: DraftReport, name: string): void {
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

function showFaults(issues: Problem['issues']): void {
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
