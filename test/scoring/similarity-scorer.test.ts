import { beforeAll, describe, expect, it } from 'vitest';
import { createRouteSet, type RouteSet } from '../../src/routes/set.js';
import { type RouteVectors, RowMatrix } from '../../src/scoring/row-matrix.js';
import { createRouteScores } from '../../src/scoring/scorer.js';
import {
  SIMILARITY_DEFAULTS,
  SimilarityScorer,
  similarityScoring,
} from '../../src/scoring/similarity-scorer.js';
import { Random } from '../support/random.js';
import { unit } from './unit-vectors.js';

/** Routes whose utterances lie around a centre of their own. */
function clusters(routes: number, each: number, spread: number, dimension = 384): RouteVectors {
  const random = new Random(7);
  const noise = () => Float32Array.from({ length: dimension }, () => random.next() - 0.5);
  const matrix = new RowMatrix(routes * each, dimension);
  for (let route = 0; route < routes; route += 1) {
    const centre = unit(noise());
    for (let i = 0; i < each; i += 1) {
      const around = unit(noise());
      matrix.row(route * each + i).set(unit(centre.map((value, at) => value + spread * (around[at] ?? 0))));
    }
  }
  const offsets = Uint32Array.from({ length: routes + 1 }, (_, route) => route * each);
  return { matrix, offsets, rowOf: new Map() };
}

/** A set whose routes have as many utterances as the vectors say. */
function setFor({ offsets }: RouteVectors): RouteSet {
  const routes = Array.from({ length: offsets.length - 1 }, (_, route) => ({
    name: `route ${route}`,
    description: undefined,
    utterances: Array.from(
      { length: (offsets[route + 1] ?? 0) - (offsets[route] ?? 0) },
      (_, i) => `text ${i}`,
    ),
    scoreThreshold: undefined,
    metadata: undefined,
  }));
  return createRouteSet(routes);
}

describe('the similarity scorer', () => {
  let vectors: RouteVectors;
  beforeAll(() => {
    vectors = clusters(150, 10, 1);
  });

  it('reports the best cosine, and a score that follows the evidence', () => {
    const scorer = new SimilarityScorer(vectors);
    const out = createRouteScores(150);
    const text = vectors.matrix.row(42);
    scorer.score(text, undefined, out);
    expect(out.similarity[4]).toBeCloseTo(1, 6);
    for (let route = 0; route < 150; route += 1) {
      const cosines = Array.from({ length: 10 }, (_, i) =>
        vectors.matrix.row(route * 10 + i).reduce((sum, value, at) => sum + value * (text[at] ?? 0), 0),
      );
      expect(out.similarity[route]).toBeCloseTo(Math.max(...cosines), 5);
      expect(out.score[route]).toBeGreaterThanOrEqual(0);
      expect(out.score[route]).toBeLessThanOrEqual(1);
      if (route !== 4) expect(out.score[route]).toBeLessThan(out.score[4] ?? 0);
    }
  });

  it('lowers every score where a text is like one of those that belong to no route', async () => {
    const matrix = new RowMatrix(41, 384);
    for (let row = 0; row < 40; row += 1) matrix.row(row).set(vectors.matrix.row(row));
    const away = vectors.matrix.row(500);
    const none = unit(vectors.matrix.row(0).map((value, at) => value + 0.5 * (away[at] ?? 0)));
    matrix.row(40).set(none);
    const offsets = Uint32Array.of(0, 10, 20, 30, 40);
    const few = { matrix: new RowMatrix(40, 384), offsets, rowOf: new Map() };
    for (let row = 0; row < 40; row += 1) few.matrix.row(row).set(matrix.row(row));
    const [without, having] = [few, { matrix, offsets, rowOf: new Map() }].map(
      (each) => new SimilarityScorer(each),
    );
    const scores = (scorer: SimilarityScorer | undefined, text: Float32Array, among?: Uint32Array) => {
      const out = createRouteScores(4);
      scorer?.score(text, among, out);
      return out.score[0] ?? Number.NaN;
    };
    expect(scores(having, none)).toBeLessThan(0.5 * scores(without, none));
    expect(scores(having, none, Uint32Array.of(0))).toBeLessThan(
      0.5 * scores(without, none, Uint32Array.of(0)),
    );
    const other = matrix.row(15);
    expect(scores(having, other)).toBeCloseTo(scores(without, other), 2);
  });

  it('scores a subset as if the other routes were not there, and leaves their numbers alone', () => {
    const scorer = new SimilarityScorer(vectors);
    const out = createRouteScores(150);
    scorer.score(vectors.matrix.row(0), undefined, out);
    const among = out.score[0] ?? 0;
    out.score[77] = -5;
    scorer.score(vectors.matrix.row(0), Uint32Array.of(0, 9), out);
    expect(out.score[0]).toBeGreaterThanOrEqual(among);
    expect(out.score[77]).toBe(-5);
    scorer.score(vectors.matrix.row(0), Uint32Array.of(9), out);
    expect(out.score[9]).toBeGreaterThan(0);
  });

  it('takes confidence away where a runner-up is close', () => {
    const twins = new RowMatrix(3, 8);
    twins.row(0).set([1, 0, 0, 0, 0, 0, 0, 0]);
    twins.row(1).set([1, 0, 0, 0, 0, 0, 0, 0]);
    twins.row(2).set([0, 1, 0, 0, 0, 0, 0, 0]);
    const scorer = new SimilarityScorer(
      { matrix: twins, offsets: Uint32Array.of(0, 1, 2, 3), rowOf: new Map() },
      0.5,
    );
    const out = createRouteScores(3);
    const text = Float32Array.of(0.7, 0, 0.7, 0, 0, 0, 0, 0);
    scorer.score(text, undefined, out);
    const shared = out.score[0] ?? 0;
    expect(out.score[1]).toBe(shared);
    scorer.score(text, Uint32Array.of(0, 2), out);
    expect(out.score[0]).toBeGreaterThan(shared);
  });

  it('fits its centre so that the set keeps its own texts, however alike the routes are', async () => {
    for (const spread of [0.5, 1, 2]) {
      const set = clusters(20, 10, spread);
      const scorer = await similarityScoring()(setFor(set), set, {});
      const out = createRouteScores(20);
      let kept = 0;
      for (let row = 0; row < 200; row += 1) {
        scorer.score(set.matrix.row(row), undefined, out);
        if (Math.max(...out.score) >= SIMILARITY_DEFAULTS.threshold) kept += 1;
      }
      expect(kept / 200).toBeGreaterThanOrEqual(SIMILARITY_DEFAULTS.keepInScope);
    }
  });

  it('makes a scorer of any set, down to a single utterance', async () => {
    for (const [routes, each] of [
      [1, 1],
      [2, 1],
      [1, 2],
    ] as const) {
      const set = clusters(routes, each, 1);
      const scorer = await similarityScoring()(setFor(set), set, {});
      const out = createRouteScores(routes);
      scorer.score(set.matrix.row(0), undefined, out);
      expect(out.score[0]).toBeGreaterThan(0.9);
    }
  });

  it('can be aborted while it fits', async () => {
    const stop = new AbortController();
    const set = clusters(150, 40, 1);
    const work = similarityScoring()(setFor(set), set, { signal: stop.signal });
    stop.abort();
    await expect(work).rejects.toMatchObject({ code: 'aborted' });
  });

  it('scores as its formulas say in double precision, to nine digits, whatever the cosines', () => {
    const { poolingTemperature: t, shareTemperature, shareWeight, scale } = SIMILARITY_DEFAULTS;
    const random = new Random(11);
    const shapes: ((row: number) => number)[] = [
      () => 2 * random.next() - 1,
      () => 1,
      () => -1,
      (row) => (row % 2 === 0 ? 1 : -1),
      (row) => (row === 3 ? 1 : -0.99),
      (row) => 0.5 + row * 1e-7,
    ];
    for (const cosineOf of shapes) {
      const offsets = Uint32Array.of(0, 1, 3, 20, 64);
      const matrix = new RowMatrix(64, 2);
      for (let row = 0; row < 64; row += 1) {
        const cosine = cosineOf(row);
        matrix.row(row).set([cosine, Math.sqrt(1 - cosine * cosine)]);
      }
      const out = createRouteScores(4);
      new SimilarityScorer({ matrix, offsets, rowOf: new Map() }).score(
        Float32Array.of(1, 0),
        undefined,
        out,
      );
      const evidence = Array.from({ length: 4 }, (_, route) => {
        const cosines = Array.from(matrix.products.subarray(offsets[route], offsets[route + 1]));
        return t * Math.log(cosines.reduce((sum, cosine) => sum + Math.exp(cosine / t), 0) / cosines.length);
      });
      const total = evidence.reduce((sum, value) => sum + Math.exp(value / shareTemperature), 0);
      for (const [route, value] of evidence.entries()) {
        const share = value / shareTemperature - Math.log(total);
        expect(out.score[route]).toBeCloseTo(1 / (1 + Math.exp(-(value + shareWeight * share) / scale)), 9);
      }
    }
  });
});
