import type { Candidate, Decision, Route } from '../../packages/client/src/index.js';
import { withKey, wordsOf } from './api.js';
import { byId, el, fill, milliseconds, percent, plural, score, setText } from './dom.js';

/** Candidates that are shown. */
const SHOWN = 5;
const EXAMPLES = 3;

let running: AbortController | undefined;

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

/** Offers an utterance of some of the routes, to begin with. */
export function showExamples(routes: readonly Route[]): void {
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
  if (text.trim() === '') {
    fill(result, el('p', { class: 'quiet' }, 'Write a text first.'));
    byId('text').focus();
    return;
  }
  running?.abort();
  running = new AbortController();
  const { signal } = running;
  const button = byId('try-button');
  const threshold = byId<HTMLInputElement>('threshold').value;
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
    showDecision(decision, timing);
    onDecision(decision);
  } catch (error) {
    // A newer text took the place of this one.
    if (signal.aborted) return;
    fill(result, el('p', { class: 'verdict' }, 'No answer'), el('p', { class: 'bad' }, wordsOf(error)));
  } finally {
    if (!signal.aborted) {
      button.removeAttribute('aria-busy');
      setText(button, 'Classify');
    }
  }
}

function showDecision(decision: Decision, timing: string): void {
  const { route, candidates, usage, route_metadata: metadata } = decision;
  const [best] = candidates;
  fill(
    byId('result'),
    el('p', { class: 'verdict', 'data-route': route ?? '' }, route ?? 'Sent nowhere'),
    el('p', { class: 'quiet' }, explanationOf(decision)),
    metadata && el('p', { class: 'quiet' }, 'Metadata: ', el('code', {}, JSON.stringify(metadata))),
    usage.truncated_tokens > 0 &&
      el(
        'p',
        { id: 'cut', class: 'bad' },
        `Only the first ${usage.tokens} tokens were read: ${plural(usage.truncated_tokens, 'token')} at the end were cut.`,
      ),
    el('ul', { class: 'candidates' }, ...candidates.map((each) => candidateRow(each, each === best))),
    el('p', { class: 'quiet' }, el('span', { class: 'legend' }, thresholdText(candidates))),
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
  if (route !== null) return `with a score of ${score(reached)}`;
  if (!best) return 'There was no candidate.';
  const needed = best.threshold === undefined ? '' : `, and needs ${score(best.threshold)}`;
  return `No route reached its threshold. The best one, ${best.route}, has ${score(best.score)}${needed}.`;
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
      el('span', {}, score(reached), el('span', { class: 'quiet' }, ` · cosine ${score(similarity)}`)),
    ),
    el(
      'div',
      {
        class: passed ? 'track' : 'track missed',
        role: 'img',
        'aria-label': `${percent(reached)}; threshold ${percent(threshold)}: ${passed ? 'reached' : 'not reached'}`,
        '--share': reached,
      },
      el('i'),
      el('b', { '--at': threshold }),
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

function thresholdText(candidates: readonly Candidate[]): string {
  const [first, ...others] = new Set(candidates.map(({ threshold }) => threshold));
  return first === undefined || others.length > 0 ? 'threshold of each route' : `threshold ${score(first)}`;
}

/** What `Server-Timing` says, in words. */
function timesOf(header: string): string[] {
  const times = new Map(
    [...header.matchAll(/(\w+);dur=([\d.]+)/g)].map(([, name = '', ms]) => [name, Number(ms)]),
  );
  const say = (name: string, words: string): string[] => {
    const ms = times.get(name);
    return ms === undefined ? [] : [`${milliseconds(ms)} ${words}`];
  };
  return [
    ...say('total', 'in the daemon'),
    ...say('queue', 'in the queue'),
    ...say('tokenize', 'tokenizing'),
    ...say('inference', 'in the model'),
  ];
}
