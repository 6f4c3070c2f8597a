import type { Candidate, Decision, RouteSet } from '../../packages/client/src/index.js';
import { withKey, wordsOf } from './api.js';
import { byId, chips, el, fill, markFaults, milliseconds, percent, plural, score, setText } from './dom.js';

const SHOWN = 5;
const EXAMPLES = 3;

const FIELDS = ['text', 'threshold'];
/** Characters of a text that stand above its result. */
const QUOTED = 120;

let running: AbortController | undefined;
let waiting: string | undefined;

/** Takes texts or says why not yet. @param why what the daemon waits for; `undefined`: it answers */
export function showReadiness(why: string | undefined): void {
  waiting = why;
  byId<HTMLButtonElement>('try-button').disabled = why !== undefined;
  setText(byId('waiting'), why === undefined ? '' : `Classifying begins when this is over: ${why}.`);
}

/** Makes the form classify. */
export function enableTry(onDecision: (decision: Decision) => void): void {
  const form = byId<HTMLFormElement>('try-form');
  const text = byId<HTMLTextAreaElement>('text');
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    void classify(text.value, onDecision);
  });
  text.addEventListener('keydown', (event) => {
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    form.requestSubmit();
  });
}

/** Shows the default threshold, and offers an utterance of some of the routes, to begin with. */
export function showExamples({ routes, default_threshold: threshold }: RouteSet): void {
  byId<HTMLInputElement>('threshold').placeholder = `${score(threshold, threshold)} (default)`;
  const box = byId('examples');
  const step = Math.max(1, Math.floor(routes.length / EXAMPLES));
  const texts = routes
    .filter((_, index) => index % step === 0)
    .slice(0, EXAMPLES)
    .flatMap(({ utterances }) => utterances[0] ?? []);
  box.hidden = texts.length === 0;
  fill(
    box,
    ...texts.map((example) =>
      el(
        'button',
        {
          type: 'button',
          class: 'plain',
          click: () => {
            byId<HTMLTextAreaElement>('text').value = example;
            byId<HTMLFormElement>('try-form').requestSubmit();
          },
        },
        example,
      ),
    ),
  );
}

async function classify(text: string, onDecision: (decision: Decision) => void): Promise<void> {
  const result = byId('result');
  const limit = byId<HTMLInputElement>('threshold');
  const faults = new Map<string, string>();
  if (text.trim() === '') faults.set('text', 'Write a text first.');
  if (limit.validity.badInput || Number(limit.value) < 0 || Number(limit.value) > 1)
    faults.set('threshold', 'The threshold is a number from 0 to 1, or empty for the default.');
  const fault = markFaults(FIELDS, faults);
  if (fault) {
    fill(result);
    return fault.focus();
  }
  if (waiting !== undefined)
    return fill(result, el('p', { class: 'verdict' }, 'No answer yet'), el('p', {}, waiting));
  running?.abort();
  running = new AbortController();
  const { signal } = running;
  const button = byId('try-button');
  const threshold = limit.value;
  button.setAttribute('aria-busy', 'true');
  setText(button, 'Classifying…');
  try {
    let timing = '';
    const request = {
      text,
      top_k: SHOWN,
      explain: true,
      ...(threshold !== '' && { threshold: Number(threshold) }),
    };
    const decision = await withKey('api', (client) =>
      client.classify(request, {
        signal,
        onResponse: ({ headers }) => {
          timing = headers.get('server-timing') ?? '';
        },
      }),
    );
    showDecision(text, decision, timing);
    onDecision(decision);
  } catch (error) {
    // A newer text took the place of this one.
    if (signal.aborted) return;
    fill(
      result,
      quoted(text),
      el('p', { class: 'verdict' }, 'No answer'),
      el('p', { class: 'bad' }, wordsOf(error)),
    );
  } finally {
    if (!signal.aborted) {
      button.removeAttribute('aria-busy');
      setText(button, 'Classify');
    }
  }
}

function quoted(text: string): HTMLElement {
  return el('p', { class: 'quiet for' }, text.length > QUOTED ? `“${text.slice(0, QUOTED)}…”` : `“${text}”`);
}

function showDecision(text: string, decision: Decision, timing: string): void {
  const { route, candidates, usage, route_metadata: metadata } = decision;
  const [best] = candidates;
  fill(
    byId('result'),
    quoted(text),
    el('p', { class: 'verdict', 'data-route': route ?? '' }, route ?? 'Sent nowhere'),
    el('p', { class: 'quiet' }, explanationOf(decision)),
    decision.legible === false &&
      el(
        'p',
        { id: 'illegible', class: 'bad' },
        'The model can hardly read this text: it was trained on English, and most of this is unknown to it. That lowers the scores, whatever the routes are.',
      ),
    metadata && chips(metadata),
    usage.truncated_tokens > 0 &&
      el(
        'p',
        { id: 'cut', class: 'bad' },
        `Only the first ${usage.tokens} tokens were read: ${plural(usage.truncated_tokens, 'token')} at the end were cut.`,
      ),
    el('ul', { class: 'candidates' }, ...candidates.map((each) => candidateRow(each, each === best))),
    el(
      'p',
      { class: 'quiet' },
      'The percentage is how sure the routes are that the text belongs there, the line its threshold. Cosine: how alike the text and the nearest utterances are, 1 is the same.',
    ),
    el('p', { class: 'quiet' }, [plural(usage.tokens, 'token'), ...timesOf(timing)].join(' · ')),
    el(
      'details',
      {},
      el('summary', {}, 'The answer as JSON'),
      el('pre', { tabindex: 0 }, JSON.stringify(decision, null, 2)),
    ),
  );
}

function explanationOf({ route, score: reached, candidates: [best] }: Decision): string {
  if (route !== null) return `${percent(reached)} sure (score ${score(reached)})`;
  if (!best) return 'There was no candidate.';
  const { threshold } = best;
  const needed = threshold === undefined ? '' : `, and needs ${percent(threshold, threshold)}`;
  return `No route reached its threshold. The best one, ${best.route}, has ${percent(best.score, threshold)}${needed}.`;
}

function candidateRow(candidate: Candidate, isBest: boolean): HTMLElement {
  const { route, score: reached, similarity, threshold = 0, nearest = [] } = candidate;
  const passed = reached >= threshold;
  return el(
    'li',
    {},
    el(
      'div',
      { class: 'candidate-head' },
      el('span', { class: passed ? 'strong' : '' }, route),
      el(
        'span',
        {},
        percent(reached, threshold),
        el('span', { class: 'quiet' }, ` · cosine ${score(similarity)}`),
      ),
    ),
    el(
      'div',
      {
        class: passed ? 'track' : 'track missed',
        role: 'img',
        'aria-label': `${percent(reached, threshold)}; threshold ${percent(threshold, threshold)}: ${passed ? 'reached' : 'not reached'}`,
        '--share': reached,
      },
      el('i'),
      el(
        'b',
        { '--at': threshold, class: threshold > 0.8 ? 'left' : '' },
        el('span', {}, score(threshold, threshold)),
      ),
    ),
    nearest.length > 0 &&
      el(
        'details',
        { open: isBest },
        el('summary', {}, 'Nearest utterances'),
        el(
          'ul',
          { class: 'nearest' },
          ...nearest.map((each) =>
            el('li', {}, el('span', {}, score(each.similarity)), el('span', {}, each.utterance)),
          ),
        ),
      ),
  );
}

/** Describes `Server-Timing` in words. */
function timesOf(header: string): string[] {
  const times = new Map(
    [...header.matchAll(/(\w+);dur=([\d.]+)/g)].map(([, name = '', ms]) => [name, Number(ms)]),
  );
  const say = (name: string, words: string): string[] => {
    const ms = times.get(name);
    return ms === undefined ? [] : [`${milliseconds(ms)} ${words}`];
  };
  const isCached = ['queue', 'tokenize', 'inference'].every((name) => times.get(name) === 0);
  if (isCached) return [...say('total', 'in the daemon'), 'embedded before'];
  return [
    ...say('total', 'in the daemon'),
    ...say('queue', 'in the queue'),
    ...say('tokenize', 'tokenizing'),
    ...say('inference', 'in the model'),
  ];
}
