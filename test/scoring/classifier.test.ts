import { describe, expect, it } from 'vitest';
import { parseRouteSet } from '../../src/routes/parse.js';
import { Classifier, type ClassifierOptions } from '../../src/scoring/classifier.js';
import type { Scorer } from '../../src/scoring/scorer.js';
import { AppError } from '../../src/shared/errors.js';
import { ENDLESS_MS, eventually } from '../support/eventually.js';
import { forwardPass, MODEL, NO_BACKGROUND, WordEmbedder } from './word-embedder.js';

const SET = parseRouteSet(
  `
- name: billing
  utterances: [refund my last invoice, why was my card charged twice, send me the invoice again]
  metadata: { queue: finance }
- name: weather
  utterances: [will it rain tomorrow, is it sunny today, how cold is it outside]
- name: music
  utterances: [play some jazz music, next song please, turn the music up]
`,
  { origin: 'routes.yaml' },
);

async function ready(
  set = SET,
  options: ClassifierOptions = {},
): Promise<{ classifier: Classifier; embedder: WordEmbedder }> {
  const embedder = new WordEmbedder();
  const classifier = new Classifier({
    encoder: { embedder, model: MODEL, background: NO_BACKGROUND },
    ...options,
  });
  await classifier.load(set);
  return { classifier, embedder };
}

/** A scorer that gives each route the score that the test says. */
const fixed =
  (scores: readonly number[], defaultThreshold = 0.5) =>
  async (): Promise<Scorer> => ({
    identity: { method: 'nearest', version: 1 },
    defaultThreshold,
    // Scores are as the test says, however little alike the vectors are.
    floor: { at: -10, width: 0.02 },
    score(_vector, candidates, out) {
      for (const route of candidates ?? scores.keys()) {
        out.score[route] = scores[route] ?? 0;
        out.similarity[route] = 0.5 + (scores[route] ?? 0) / 2;
      }
    },
  });

const code = async (work: Promise<unknown>): Promise<AppError> => {
  const error: unknown = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof AppError)) throw new Error(`expected an AppError, got ${String(error)}`);
  return error;
};

describe('a classification', () => {
  it('has exactly the documented shape', async () => {
    const { classifier } = await ready();
    const { decision, timing } = await classifier.classify({ text: 'my card was charged twice', top_k: 2 });
    expect(decision).toEqual({
      route: 'billing',
      score: expect.any(Number),
      similarity: expect.any(Number),
      candidates: [
        { route: 'billing', score: decision.score, similarity: decision.similarity },
        { route: expect.any(String), score: expect.any(Number), similarity: expect.any(Number) },
      ],
      usage: { tokens: 7, truncated_tokens: 0 },
      model: MODEL,
      routes_digest: SET.digest,
      scorer: { method: 'nearest', version: 2 },
      route_metadata: { queue: 'finance' },
    });
    expect(decision.score).toBeGreaterThan(0.5);
    expect(timing).toEqual({ queueMs: 1, tokenizeMs: 2, inferenceMs: 3, scoreMs: expect.any(Number) });
    const weather = await classifier.classify({ text: 'will it rain' });
    expect(weather.decision).not.toHaveProperty('route_metadata');
    expect(weather.decision.candidates).toHaveLength(3);
  });

  it('abstains where nothing reaches the threshold, and says what came nearest', async () => {
    const { classifier } = await ready(SET, { defaultThreshold: 0.9 });
    const { decision } = await classifier.classify({ text: 'zebras graze quietly' });
    expect(decision.route).toBeNull();
    expect(decision).not.toHaveProperty('route_metadata');
    expect(decision.score).toBe(decision.candidates[0]?.score);
    const forced = await classifier.classify({ text: 'zebras graze quietly', threshold: 0 });
    expect(forced.decision.route).toBe(decision.candidates[0]?.route);
  });

  it('takes the threshold of the request before that of the route before the default; 0 is one', async () => {
    const text = `
- { name: strict, utterances: [a], score_threshold: 0.9 }
- { name: open, utterances: [b], score_threshold: 0 }
- { name: plain, utterances: [c] }
`;
    const set = parseRouteSet(text, { origin: 'r.yaml' });
    const route = async (scores: number[], threshold?: number, defaultThreshold?: number) => {
      const classifier = new Classifier({
        encoder: { embedder: new WordEmbedder(), model: MODEL, background: NO_BACKGROUND },
        createScorer: fixed(scores),
        ...(defaultThreshold !== undefined && { defaultThreshold }),
      });
      await classifier.load(set);
      const { decision } = await classifier.classify({
        text: 'x',
        ...(threshold !== undefined && { threshold }),
      });
      return decision.route;
    };
    expect(await route([0.95, 0.1, 0.1])).toBe('strict');
    expect(await route([0.8, 0, 0.4])).toBe('open');
    expect(await route([0.8, 0, 0.6])).toBe('plain');
    expect(await route([0.8, 0, 0.6], 0.7)).toBe('strict');
    expect(await route([0.1, 0, 0.05], 0)).toBe('strict');
    expect(await route([0.8, 0.1, 0.2], undefined, 0)).toBe('plain');
    expect(await route([0.8, 0.9, 0.2], 1)).toBeNull();
    expect(await route([1, 0.9, 0.2], 1)).toBe('strict');
  });

  it('never scores a text high that is like no utterance or that the model cannot read', async () => {
    const { classifier, embedder } = await ready();
    const scores = async (text: string, options = {}): Promise<number> =>
      (await classifier.classify({ text, ...options })).decision.score;
    const own = await scores('my card was charged twice');
    expect(own).toBeGreaterThan(0.5);
    expect(await scores('zebras graze quietly')).toBeLessThan(0.1);
    expect(await scores('zebras graze quietly', { labels: ['weather', 'billing'] })).toBeLessThan(0.3);
    embedder.legibilityOf = () => 'illegible';
    const { decision } = await classifier.classify({ text: 'my card was charged twice', explain: true });
    expect(decision).toMatchObject({ route: null, legible: false });
    expect(decision.score).toBeLessThanOrEqual(0.05);
    expect(decision.candidates[0]?.familiarity).toBe(0.05);
  });

  it('refuses a text without tokens, with its place', async () => {
    const { classifier, embedder } = await ready();
    embedder.legibilityOf = (text) => (text === '\u200b' ? 'empty' : 'legible');
    await expect(classifier.classify({ text: '\u200b' })).rejects.toMatchObject({
      code: 'validation_failed',
      issues: [{ path: 'text', message: 'holds no characters that the model can read' }],
    });
    await expect(classifier.classifyBatch(['will it rain', '\u200b'])).rejects.toMatchObject({
      code: 'validation_failed',
      issues: [{ path: 'texts[1]' }],
    });
  });

  it('orders equal scores by name, whatever the order in the file', async () => {
    for (const names of [
      ['b', 'a', 'c'],
      ['c', 'b', 'a'],
    ]) {
      const set = parseRouteSet(JSON.stringify(names.map((name) => ({ name, utterances: ['same words'] }))), {
        origin: 'r.json',
      });
      const { classifier } = await ready(set);
      const { decision } = await classifier.classify({ text: 'same words', threshold: 0 });
      expect(decision.candidates.map(({ route }) => route)).toEqual(['a', 'b', 'c']);
      expect(decision.route).toBe('a');
    }
  });

  it('scores alike whatever the order of routes and utterances, as the digest promises', async () => {
    const words = 'red green blue north south east west up down left right one two three four five'.split(
      ' ',
    );
    const routes = words.map((name, r) => ({
      name,
      utterances: Array.from(
        { length: 25 },
        (_, u) => `${name} ${words[(r + u) % 16]} ${words[(u * 7) % 16]} ${u % 5}`,
      ),
    }));
    const reversed = routes
      .toReversed()
      .map((route) => ({ ...route, utterances: route.utterances.toReversed() }));
    const answers = [];
    for (const list of [routes, reversed]) {
      const { classifier } = await ready(parseRouteSet(JSON.stringify(list), { origin: 'r.json' }));
      const { decisions } = await classifier.classifyBatch(['red west', 'five down', 'nothing'], {
        explain: true,
      });
      answers.push(decisions);
    }
    expect(answers[1]).toEqual(answers[0]);
  });

  it('considers only the routes that were named', async () => {
    const { classifier } = await ready();
    const { decision } = await classifier.classify({
      text: 'play jazz',
      routes: ['weather', 'billing', 'weather'],
    });
    expect(decision.candidates.map(({ route }) => route).toSorted()).toEqual(['billing', 'weather']);
    const error = await code(classifier.classify({ text: 'x', routes: ['billling', 'weather', 'toString'] }));
    expect(error.code).toBe('unknown_route');
    expect(error.issues).toEqual([
      { path: 'routes[0]', message: 'there is no route "billling"; did you mean "billing"?' },
      { path: 'routes[2]', message: 'there is no route "toString"' },
    ]);
  });

  it('explains candidates by their nearest utterances', async () => {
    const { classifier } = await ready();
    const { decision } = await classifier.classify({ text: 'play some jazz music', top_k: 1, explain: true });
    expect(decision.candidates[0]?.nearest).toHaveLength(3);
    expect(decision.candidates[0]?.nearest?.[0]).toEqual({
      utterance: 'play some jazz music',
      similarity: 1,
    });
    expect(decision.similarity).toBe(1);
  });

  it('explains with which score each candidate would be chosen', async () => {
    const { classifier } = await ready();
    const { defaultThreshold } = classifier.active ?? {};
    const explained = async (threshold?: number) => {
      const request = {
        text: 'play jazz',
        top_k: 9,
        explain: true,
        ...(threshold !== undefined && { threshold }),
      };
      const { candidates } = (await classifier.classify(request)).decision;
      return candidates.map((each) => [each.route, each.threshold]);
    };
    const own = classifier.active?.set.routes.map(({ name, scoreThreshold = defaultThreshold }) => [
      name,
      scoreThreshold,
    ]);
    expect(new Map((await explained()) as [])).toEqual(new Map(own as []));
    expect((await explained(0)).map(([, threshold]) => threshold)).toEqual(own?.map(() => 0));
  });

  it('is not ready without a set', async () => {
    expect((await code(new Classifier().classify({ text: 'x' }))).code).toBe('not_ready');
  });
});

describe('a batch', () => {
  it('gives each text what it gets alone, in order, while texts overtake each other', async () => {
    const { classifier, embedder } = await ready();
    const texts = ['play jazz', 'refund', 'zzz', 'is it cold', 'refund', 'song'];
    embedder.before = (text, signal) => forwardPass(texts.length - texts.indexOf(text), signal);
    const { decisions } = await classifier.classifyBatch(texts, { top_k: 3, explain: true });
    for (const [index, text] of texts.entries()) {
      expect(decisions[index]).toEqual(
        (await classifier.classify({ text, top_k: 3, explain: true })).decision,
      );
    }
    expect(embedder.mostUnderway).toBeGreaterThan(1);
    embedder.legibilityOf = (text) => (text === '' ? 'empty' : 'legible');
    expect((await code(classifier.classifyBatch(['a', '']))).issues[0]?.path).toBe('texts[1]');
    expect((await classifier.classifyBatch([])).decisions).toEqual([]);
  });

  it('fails as a whole and leaves nothing running', async () => {
    const { classifier, embedder } = await ready();
    embedder.before = async (text, signal) => {
      if (text === 'bad') throw new AppError('worker_failed', 'died');
      await forwardPass(ENDLESS_MS, signal);
    };
    expect((await code(classifier.classifyBatch(['good', 'bad', 'good too']))).code).toBe('worker_failed');
    expect(embedder.underway).toBe(0);
  });
});

describe('labels', () => {
  it('take the place of the routes, with names, descriptions or utterances', async () => {
    const { classifier } = await ready();
    const labels = [
      'sports_news',
      { name: 'cooking', utterances: ['fry the onions in butter'] },
      { name: 'law', description: 'courts and contracts' },
    ];
    const at = async (text: string) => (await classifier.classify({ text, labels, threshold: 0 })).decision;
    const cooking = await at('fry onions');
    expect(cooking.route).toBe('cooking');
    expect(cooking.routes_digest).not.toBe(SET.digest);
    expect((await at('news of sports')).route).toBe('sports_news');
    expect((await at('contracts')).route).toBe('law');
  });

  it('are embedded once for any number of requests, also at the same time', async () => {
    const { classifier, embedder } = await ready();
    embedder.asked.length = 0;
    embedder.before = (_text, signal) => forwardPass(3, signal);
    const request = { text: 'x', labels: ['a', 'b'] };
    const signal = new AbortController().signal;
    await Promise.all([1, 2, 3].map(() => classifier.classify(request, { signal })));
    await classifier.classify({ text: 'x', labels: ['b', 'a'] });
    expect(embedder.asked.filter((text) => text !== 'x').toSorted()).toEqual([
      'I want help with a',
      'I want help with b',
      'a',
      'b',
    ]);
  });

  it('are embedded for who asks for them', async () => {
    const { classifier, embedder } = await ready();
    embedder.clients.clear();
    await classifier.classify({ text: 'x', labels: ['a', 'b'] }, { client: 'a client' });
    expect([...embedder.clients]).toEqual(['a client']);
  });

  it('are given up only when the last caller has', async () => {
    const { classifier, embedder } = await ready();
    embedder.before = (_text, signal) => forwardPass(40, signal);
    const [first, second, third] = [new AbortController(), new AbortController(), new AbortController()];
    const request = { text: 'x', labels: ['a'] };
    const one = code(classifier.classify(request, { signal: first.signal }));
    const two = classifier.classify(request, { signal: second.signal });
    first.abort();
    expect((await one).code).toBe('aborted');
    expect((await two).decision.candidates[0]?.route).toBe('a');
    const alone = code(classifier.classify({ text: 'x', labels: ['c'] }, { signal: third.signal }));
    third.abort();
    expect((await alone).code).toBe('aborted');
    await eventually(() => expect(embedder.underway).toBe(0));
    await expect(classifier.classify({ text: 'x', labels: ['c'] })).resolves.toBeDefined();
  });

  it('are refused when two have one name, or when they have too many utterances together', async () => {
    const { classifier } = await ready();
    const utterances = (from: number) => Array.from({ length: 100 }, (_, index) => `text ${from + index}`);
    const many = Array.from({ length: 11 }, (_, at) => ({
      name: `l${at}`,
      utterances: utterances(100 * at),
    }));
    for (const [labels, path] of [
      [['a', ' a '], 'labels[1]'],
      [many, 'labels'],
    ] as const) {
      const error = await code(classifier.classify({ text: 'x', labels: labels as unknown as string[] }));
      expect([error.code, error.issues[0]?.path]).toEqual(['validation_failed', path]);
    }
  });

  it('do not mistake a name for the same text as an example', async () => {
    const { classifier } = await ready();
    const digest = async (labels: object[]) =>
      (await classifier.classify({ text: 'x', labels: labels as { name: string }[] })).decision.routes_digest;
    expect(await digest([{ name: 'a' }])).not.toBe(
      await digest([{ name: 'a', utterances: ['a', 'I want help with a'] }]),
    );
  });
});

describe('loading another set', () => {
  const OTHER = parseRouteSet('- { name: other, utterances: [refund my last invoice, something new] }', {
    origin: 'r',
  });

  it('embeds only what is new, and requests that began before are answered by the old set', async () => {
    const { classifier, embedder } = await ready();
    embedder.asked.length = 0;
    embedder.before = (text, signal) => forwardPass(text === 'slow' ? 30 : 0, signal);
    const before = classifier.classifyBatch(['slow', 'fast']);
    const report = await classifier.load(OTHER);
    expect(report).toMatchObject({ digest: OTHER.digest, routes: 1, utterances: 2, embedded: 1, reused: 1 });
    expect(new Set((await before).decisions.map((decision) => decision.routes_digest))).toEqual(
      new Set([SET.digest]),
    );
    expect((await classifier.classify({ text: 'x' })).decision.routes_digest).toBe(OTHER.digest);
  });

  it('aborts an older load, and a failed one leaves the old set and the old model', async () => {
    const { classifier, embedder } = await ready();
    embedder.before = (_text, signal) => forwardPass(20, signal);
    const older = code(classifier.load(OTHER));
    const newer = classifier.load(parseRouteSet('- { name: third, utterances: [t] }', { origin: 'r' }));
    expect((await older).code).toBe('aborted');
    await newer;
    expect(classifier.active?.set.routes[0]?.name).toBe('third');

    const broken = new WordEmbedder();
    broken.before = () => {
      throw new AppError('worker_failed', 'died');
    };
    const encoder = { embedder: broken, model: { ...MODEL, revision: 'r2' } };
    expect((await code(classifier.load(OTHER, { encoder }))).code).toBe('worker_failed');
    const { decision } = await classifier.classify({ text: 't' });
    expect([decision.route, decision.model.revision]).toEqual(['third', 'r1']);
  });

  it('with another model embeds everything anew and answers with that model', async () => {
    const { classifier, embedder } = await ready();
    const next = new WordEmbedder(16);
    await classifier.load(SET, {
      encoder: { embedder: next, model: { ...MODEL, revision: 'r2' }, background: NO_BACKGROUND },
    });
    expect(next.asked).toHaveLength(9);
    const asked = embedder.asked.length;
    expect((await classifier.classify({ text: 'play jazz' })).decision.model.revision).toBe('r2');
    expect(embedder.asked).toHaveLength(asked);
  });

  it('ends when the classifier is closed', async () => {
    const { classifier, embedder } = await ready();
    embedder.before = (_text, signal) => forwardPass(1_000, signal);
    const load = code(classifier.load(OTHER));
    classifier.close();
    expect((await load).code).toBe('draining');
    expect((await code(classifier.load(OTHER))).code).toBe('draining');
  });
});
