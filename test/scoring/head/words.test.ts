import { describe, expect, it } from 'vitest';
import { corpusOf, featuresOf, trainWords, WordScorer, wordsOf } from '../../../src/scoring/head/words.js';

const TEXTS = [
  'refund my invoice please',
  'send the invoice again',
  'will it rain tomorrow',
  'rain or sun today',
  'play the next song',
  'play some music',
];
const LABELS = Uint32Array.of(0, 0, 1, 1, 2, 2);
const ROUTES = 3;

/** The same features as texts, without hashes. */
function plainFeatures(text: string): Map<string, number> {
  const words = wordsOf(text);
  const found = [
    ...words.map((word) => `word ${word}`),
    ...words.slice(1).map((word, i) => `pair ${words[i]} ${word}`),
    ...words.flatMap((word) =>
      [2, 3, 4].flatMap((length) =>
        Array.from({ length: Math.max(0, word.length + 3 - length) }, (_, at) =>
          ` ${word} `.substring(at, at + length),
        ),
      ),
    ),
  ];
  const counts = new Map<string, number>();
  for (const one of found) counts.set(one, (counts.get(one) ?? 0) + 1);
  return counts;
}

/** Evidence by the formulas, in double precision. */
function plainEvidence(text: string): number[] {
  const all = TEXTS.map(plainFeatures);
  const frequencyOf = (feature: string): number => all.filter((features) => features.has(feature)).length;
  const weightsOf = (features: Map<string, number>): Map<string, number> => {
    const weights = [...features].map(([feature, count]): [string, number] => {
      return [feature, (1 + Math.log(count)) * (Math.log((1 + all.length) / (1 + frequencyOf(feature))) + 1)];
    });
    const length = Math.hypot(...weights.map(([, weight]) => weight));
    return new Map(weights.map(([feature, weight]) => [feature, weight / length]));
  };
  const vocabulary = new Set(all.flatMap((features) => [...features.keys()]));
  const trained = all.map(weightsOf);
  const asked = weightsOf(plainFeatures(text));
  return Array.from({ length: ROUTES }, (_, route) => {
    const own = trained.filter((_, i) => LABELS[i] === route);
    const mass = own.reduce((sum, weights) => sum + [...weights.values()].reduce((a, b) => a + b, 0), 0);
    let evidence = 0;
    for (const [feature, weight] of asked) {
      if (!vocabulary.has(feature)) continue;
      const count = own.reduce((sum, weights) => sum + (weights.get(feature) ?? 0), 0);
      evidence += weight * (Math.log1p(count / 0.01) - Math.log(mass + 0.01 * (1 + vocabulary.size)));
    }
    return evidence;
  });
}

describe('words beside meaning', () => {
  const model = trainWords(corpusOf(TEXTS.map(featuresOf)), LABELS, ROUTES);
  const scorer = new WordScorer(model);
  const scoresOf = (text: string): Float64Array => {
    const out = new Float64Array(ROUTES).fill(9);
    scorer.score(featuresOf(text), out);
    return out;
  };

  it('are runs of letters and digits without case, accents and invisible characters', () => {
    expect(wordsOf('Où est l’ÉCOLE?  A4-sheet \u200bx\u00adyz')).toEqual([
      'ou',
      'est',
      'l',
      'ecole',
      'a4',
      'sheet',
      'xyz',
    ]);
    expect(wordsOf('日本語 и русский')).toEqual(['日本語', 'и', 'русскии']);
    expect(wordsOf('?!')).toEqual([]);
  });

  it.each([...TEXTS, 'rain on my invoice', 'Invoices!', 'play rain play rain', 'xyzzy rain'])(
    'score as the formulas say: %s',
    (text) => {
      const expected = plainEvidence(text);
      for (const [route, evidence] of scoresOf(text).entries())
        expect(evidence).toBeCloseTo(expected[route] ?? 9, 4);
    },
  );

  it('say nothing about a text that shares none of them', () => {
    expect([...scoresOf('§§§')]).toEqual([0, 0, 0]);
    expect([...scoresOf('zzzz qqqq')]).toEqual([0, 0, 0]);
  });

  it('are explained by parts that add up', () => {
    const text = 'play my refund song';
    const scores = scoresOf(text);
    for (const route of [0, 1, 2]) {
      const others = [0, 1, 2].filter((other) => other !== route);
      const mean = others.reduce((sum, other) => sum + (scores[other] ?? 0), 0) / others.length;
      const parts = scorer.explain(text, route, others);
      const sum = parts.reduce((total, { evidence }) => total + evidence, 0);
      expect(sum).toBeCloseTo((scores[route] ?? 0) - mean, 6);
    }
    const [strongest] = scorer.explain(text, 0, [1, 2]).sort((a, b) => b.evidence - a.evidence);
    expect(strongest?.text).toBe('refund');
  });

  it('can leave texts out', () => {
    const without = trainWords(corpusOf(TEXTS.map(featuresOf)), LABELS, ROUTES, (text) => text !== 0);
    const lead = ([own = 0, second = 0]: Float64Array): number => own - second;
    const out = new Float64Array(ROUTES);
    new WordScorer(without).score(featuresOf('refund'), out);
    expect(lead(out)).toBeLessThan(lead(scoresOf('refund')) - 1);
  });

  it('of a very long text are those of its beginning', () => {
    const long = `refund ${'x'.repeat(100_000)}`;
    expect(featuresOf(long).buckets.length).toBeLessThan(2_000);
    expect(featuresOf(`${long}y`)).toEqual(featuresOf(long));
  });
});
