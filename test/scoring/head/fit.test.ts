import { describe, expect, it } from 'vitest';
import { calibrate } from '../../../src/scoring/head/calibration.js';
import { fitHead, type Head, type HeadProblem, stratifiedFolds } from '../../../src/scoring/head/fit.js';
import { decodeHead, encodeHead, headDigest } from '../../../src/scoring/head/head-cache.js';
import { HeadScorer } from '../../../src/scoring/head/head-scorer.js';
import { reasonNotTrainable } from '../../../src/scoring/head/head-scoring.js';
import { SoftmaxRegression } from '../../../src/scoring/head/regression.js';
import { TrainingRows } from '../../../src/scoring/head/training-rows.js';
import { RowMatrix } from '../../../src/scoring/row-matrix.js';
import { createRouteScores } from '../../../src/scoring/scorer.js';
import { Random } from '../../support/random.js';
import { unit } from '../unit-vectors.js';

/** Numbers in -0.5..0.5 that look random and are the same in every run. */
function noiseNumbers(seed: number): () => number {
  const random = new Random(seed);
  return () => random.next() - 0.5;
}

/** A problem whose routes lie around centres of their own, and more texts of them that it does not hold. */
interface Clusters {
  readonly problem: HeadProblem;
  /** `each` unseen texts of a route. */
  unseen(route: number, each: number): Float32Array[];
  /** A text of no route. */
  stranger(): Float32Array;
}

/** @param counts utterances of each route */
function clusters(counts: readonly number[], spread: number, dimension = 32): Clusters {
  const random = noiseNumbers(11);
  const noise = (): Float32Array => unit(new Float32Array(dimension).map(random));
  const centres = counts.map(noise);
  const around = (route: number): Float32Array => {
    const off = noise();
    return unit((centres[route] ?? off).map((value, i) => value + spread * (off[i] ?? 0)));
  };
  const join = (rows: readonly Float32Array[]): Float32Array => {
    const all = new Float32Array(rows.length * dimension);
    for (const [index, row] of rows.entries()) all.set(row, index * dimension);
    return all;
  };
  const labels = counts.flatMap((count, route) => new Array<number>(count).fill(route));
  return {
    problem: {
      dimension,
      routes: counts.length,
      none: false,
      texts: new Array<string>(labels.length + counts.length + 60).fill(''),
      utterances: join(labels.map(around)),
      labels: Uint32Array.from(labels),
      names: join(counts.map((_, route) => around(route))),
      nameLabels: Uint32Array.from(counts.keys()),
      background: join(Array.from({ length: 60 }, noise)),
    },
    unseen: (route, each) => Array.from({ length: each }, () => around(route)),
    stranger: noise,
  };
}

/** A scorer of a problem's own utterances. */
function scorerOf(head: Head, { dimension, utterances, labels, routes }: HeadProblem): HeadScorer {
  const matrix = new RowMatrix(labels.length, dimension);
  const offsets = new Uint32Array(routes + 1);
  for (const [row, label] of labels.entries()) {
    matrix.row(row).set(utterances.subarray(row * dimension, (row + 1) * dimension));
    offsets[label + 1] = row + 1;
  }
  const order = Uint32Array.from({ length: routes }, (_, index) => index);
  return new HeadScorer(head, { matrix, offsets, rowOf: new Map() }, order, headDigest(encodeHead(head)));
}

describe('the softmax regression', () => {
  const { problem } = clusters([30, 20, 40, 7], 1);
  const { dimension, routes, labels } = problem;
  const rows = new TrainingRows(problem.utterances, dimension, routes, labels.length);
  const rowWeights = new Float32Array(labels.length).fill(1);
  const regression = new SoftmaxRegression(rows, labels, 10, rowWeights);
  const parameters = new Float64Array(regression.size);
  regression.train(parameters, { cost: 10, rowWeights });

  it('has the gradient of its loss', () => {
    const random = noiseNumbers(3);
    const at = parameters.map((value) => value + random());
    const gradient = new Float64Array(at.length);
    regression.evaluate(at, gradient);
    const scratch = new Float64Array(at.length);
    for (const index of [0, 31, 32, 50, 131]) {
      const h = 1e-2;
      const [up, down] = [h, -h].map((step) => {
        const moved = at.slice();
        moved[index] = (moved[index] ?? 0) + step;
        return regression.evaluate(moved, scratch);
      });
      expect(((up ?? 0) - (down ?? 0)) / (2 * h)).toBeCloseTo(gradient[index] ?? Number.NaN, 2);
    }
  });

  it('ends near the minimum', () => {
    const gradient = new Float64Array(regression.size);
    const value = regression.evaluate(parameters, gradient);
    const better = parameters.slice();
    for (let round = 0; round < 5; round += 1) regression.train(better, { cost: 10, rowWeights });
    expect(value / regression.evaluate(better, gradient)).toBeLessThan(1.02);
  });
});

describe('a calibration', () => {
  const prior = [
    { mean: 1, deviation: 1, least: 0.05 },
    { mean: 1, deviation: 1, least: 0.5 },
    { mean: 0, deviation: 3, least: Number.NEGATIVE_INFINITY },
  ] as const;

  it('never decreases in its evidence, even where the examples say so', () => {
    const examples = Array.from({ length: 200 }, (_, i) => ({
      evidence: [i / 100, i / 200],
      right: i < 100,
      weight: 1,
    }));
    const [a, b] = calibrate(examples, prior);
    expect(a).toBeGreaterThanOrEqual(0.05);
    expect(b).toBeGreaterThanOrEqual(0.5);
  });

  it('stays with what is believed where there is nothing to learn from', () => {
    expect([...calibrate([], prior)]).toEqual([1, 1, 0]);
  });
});

describe('a head', () => {
  it('is the same, byte for byte, for the same problem', () => {
    const bytes = [0, 1].map(() => Buffer.from(encodeHead(fitHead(clusters([12, 9, 15], 1).problem))));
    expect(bytes[0]?.equals(bytes[1] ?? Buffer.alloc(0))).toBe(true);
    const decoded = decodeHead(bytes[0] ?? Buffer.alloc(0), {
      routes: 3,
      dimension: clusters([12, 9, 15], 1).problem.dimension,
      none: false,
    });
    expect(Buffer.from(encodeHead(decoded)).equals(bytes[0] ?? Buffer.alloc(0))).toBe(true);
  });

  it.each([
    [[3, 3], 0.8],
    [[10, 10, 10, 10, 10, 10, 10, 10], 1.2],
    [[100, 3, 3], 0.8],
    [[5, 1, 4], 0.8],
  ])('routes unseen texts of sets with %j utterances, and keeps strangers out', (counts, spread) => {
    const { problem, unseen, stranger } = clusters(counts, spread);
    const head = fitHead(problem);
    const scorer = scorerOf(head, problem);
    const out = createRouteScores(counts.length);
    const own: number[] = [];
    let right = 0;
    for (const route of counts.keys()) {
      for (const text of unseen(route, 40)) {
        scorer.score(text, undefined, out);
        const best = Math.max(...out.score);
        expect(best).toBeLessThanOrEqual(1);
        own.push(best);
        if (out.score[route] === best) right += 1;
      }
    }
    expect(right / own.length).toBeGreaterThan(0.9);
    expect(own.filter((score) => score >= head.threshold).length / own.length).toBeGreaterThan(0.8);
    const strangers = Array.from({ length: 60 }, () => {
      scorer.score(stranger(), undefined, out);
      return Math.max(...out.score);
    });
    const mean = (values: number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
    expect(mean(strangers)).toBeLessThan(mean(own) - 0.2);
  });

  it('gives scores that are as often right as they say, and few to the candidates behind', () => {
    const routes = 12;
    const { problem, unseen } = clusters(new Array(routes).fill(10), 1.5);
    const scorer = scorerOf(fitHead(problem), problem);
    const out = createRouteScores(routes);
    let right = 0;
    let promised = 0;
    let behind = 0;
    for (let route = 0; route < routes; route += 1) {
      for (const text of unseen(route, 60)) {
        scorer.score(text, undefined, out);
        const [best = 0, second = 0] = [...out.score].sort((a, b) => b - a);
        promised += best;
        behind += second;
        if (out.score[route] === best) right += 1;
      }
    }
    const texts = 60 * routes;
    expect(Math.abs(promised - right) / texts).toBeLessThan(0.05);
    expect(behind).toBeLessThan(0.5 * promised);
  });

  it('shares the probability among the candidates, and judges a single one by similarity', () => {
    const { problem, unseen, stranger } = clusters([10, 10, 10], 1);
    const scorer = scorerOf(fitHead(problem), problem);
    const out = createRouteScores(3);
    const [text = stranger()] = unseen(1, 1);
    const sum = (among: readonly number[]): number =>
      among.reduce((total, route) => total + scorer.explain(route, out).probability, 0);
    scorer.score(text, undefined, out);
    const all = scorer.explain(1, out).probability;
    expect(sum([0, 1, 2])).toBeCloseTo(1, 9);
    out.score[2] = -5;
    scorer.score(text, Uint32Array.of(0, 1), out);
    expect(sum([0, 1])).toBeCloseTo(1, 9);
    expect(scorer.explain(1, out).probability).toBeGreaterThanOrEqual(all);
    expect(out.score[2]).toBe(-5);
    scorer.score(text, Uint32Array.of(1), out);
    const near = out.score[1] ?? 0;
    scorer.score(stranger(), Uint32Array.of(1), out);
    expect(out.score[1]).toBeLessThan(near - 0.2);
  });

  it.each([
    [
      'trusts words that tell routes apart where vectors do not',
      3,
      (route: number) => `topic${'abcdefgh'[route]}`,
    ],
    ['does not trust words that tell nothing', 1, (_: number, row: number) => `word${(row * 7919) % 5}`],
  ])('%s', (name, spread, wordOf) => {
    const { problem } = clusters(new Array(8).fill(10), spread);
    const texts = problem.texts.map((_, row) => {
      const route = problem.labels[row] ?? problem.nameLabels[row - problem.labels.length];
      return route === undefined ? 'something else' : `please ${wordOf(route, row)} now`;
    });
    const { blend } = fitHead({ ...problem, texts });
    if (name.startsWith('trusts')) expect(blend.words).toBeGreaterThan(0.1);
    else expect(blend.words).toBeLessThan(0.1);
  });

  it('cannot tell apart routes with the same utterances, and says so', () => {
    const { problem } = clusters([6, 6, 6], 1);
    const { dimension, utterances, names } = problem;
    utterances.copyWithin(6 * dimension, 0, 6 * dimension);
    names.copyWithin(dimension, 0, dimension);
    const scorer = scorerOf(fitHead(problem), problem);
    const out = createRouteScores(3);
    scorer.score(utterances.slice(0, dimension), undefined, out);
    expect(scorer.explain(0, out).probability).toBeCloseTo(0.5, 1);
    expect(scorer.explain(1, out).probability).toBeCloseTo(0.5, 1);
  });
});

describe('the rule for when a head is trained', () => {
  it('wants two routes, and three utterances in at least half of them', () => {
    const why = (sizes: number[]): string | undefined =>
      reasonNotTrainable({
        routes: sizes.map((size) => ({ utterances: new Array<string>(size).fill('') })),
        none: [],
      });
    expect(why([50])).toMatch(/two routes or more; add another one/);
    expect(why([3, 3])).toBeUndefined();
    expect(why([3, 2])).toBeUndefined();
    expect(why([2, 2, 9])).toMatch(/3 utterances or more .* 2 of 3 have fewer; add some/);
    expect(why(new Array(150).fill(100))).toBeUndefined();
    expect(why(new Array(2_000).fill(50))).toMatch(/would take minutes/);
  });

  it('gives every fold its share of every route', () => {
    const labels = Uint32Array.from({ length: 40 }, (_, row) => Math.floor(row / 10));
    const folds = stratifiedFolds(labels, 5);
    for (let route = 0; route < 4; route += 1) {
      for (let fold = 0; fold < 5; fold += 1) {
        expect(labels.filter((label, row) => label === route && folds[row] === fold)).toHaveLength(2);
      }
    }
  });
});
