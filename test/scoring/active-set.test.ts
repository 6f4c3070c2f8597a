import { beforeAll, describe, expect, it } from 'vitest';
import { createRouteSet, type RouteSet } from '../../src/routes/route-set.js';
import { ActiveSet, type Verdict } from '../../src/scoring/active-set.js';
import type { Candidate, ClassifyOptions } from '../../src/scoring/decision.js';
import type { Encoder } from '../../src/scoring/encoder.js';
import { SIMILARITY_DEFAULTS } from '../../src/scoring/evidence.js';
import { QuantizedRows } from '../../src/scoring/quantized-rows.js';
import { RowMatrix } from '../../src/scoring/row-matrix.js';
import { createRouteScores, type RouteScores } from '../../src/scoring/scorer.js';
import {
  ESTIMATE_DEFAULTS,
  SimilarityScorer,
  similarityScoring,
} from '../../src/scoring/similarity-scorer.js';
import type { RouteVectors } from '../../src/scoring/vectors.js';
import { unit, unitVector } from './unit-vectors.js';

const DIMENSION = 44;
const ROUTES = 240;
const UTTERANCES = 50;
/** By how much the share of what is not shown may move a score; similarities must be the same. */
const TOLERANCE = 5e-4;

// Texts are embedded before they come here.
const encoder = {} as Encoder;

/** A vector somewhere around a centre. */
function around(centre: Float32Array, distance: number): Float32Array {
  const away = unitVector(DIMENSION);
  return unit(centre.map((value, at) => value + distance * (away[at] ?? 0)));
}

function setWith(scoreThreshold: (route: number) => number | undefined): RouteSet {
  return createRouteSet(
    Array.from({ length: ROUTES }, (_, route) => ({
      name: `route ${route}`,
      description: undefined,
      utterances: Array.from({ length: UTTERANCES }, (_, n) => `text ${n}`),
      scoreThreshold: scoreThreshold(route),
      metadata: undefined,
    })),
  );
}

const PLAIN = setWith(() => undefined);
/** One route in 37 is taken whatever its score, the others never. */
const UNEVEN = setWith((route) => (route % 37 === 5 ? 0 : 1));

type Shown = Pick<Candidate, 'route' | 'score' | 'similarity'>;

/** The same routes in the same order, each with its exact similarity and nearly its exact score. */
function expectAlike(
  shown: readonly Shown[],
  due: readonly Shown[],
  exactOf: ReadonlyMap<string, Shown>,
): void {
  expect(shown).toHaveLength(due.length);
  for (const [at, { route, score, similarity }] of shown.entries()) {
    const right = exactOf.get(route);
    if (!right) throw new Error(`${route} is no candidate`);
    expect(similarity).toBe(right.similarity);
    expect(Math.abs(score - right.score)).toBeLessThan(TOLERANCE);
    // Scores that differ in the seventh digit only may be rounded alike, and then other things order them.
    expect(Math.abs(right.score - (due[at]?.score ?? 9))).toBeLessThanOrEqual(1.5e-6);
  }
}

/** What the verdict itself tells: of the route that was chosen, or of the best one where none was. */
function choiceOf({ route, score, similarity, candidates }: Verdict): Shown {
  return { route: route ?? candidates[0]?.route ?? '', score, similarity };
}

describe('a set so large that scores are estimated first', () => {
  let vectors: RouteVectors;
  let estimating: SimilarityScorer;
  let exact: SimilarityScorer;
  const centres = Array.from({ length: ROUTES }, () => unitVector(DIMENSION));

  beforeAll(async () => {
    const matrix = new RowMatrix(ROUTES * UTTERANCES, DIMENSION);
    for (const [route, centre] of centres.entries()) {
      for (let n = 0; n < UTTERANCES; n += 1) {
        const row = matrix.row(route * UTTERANCES + n);
        row.set(around(centre, 1));
        // Near ties: forty routes that differ from the first by much less than an estimate is off.
        if (route < 40 && route > 0) row.set(around(matrix.row(n), route * 3e-5));
        // Estimates of these are as bad as can be.
        if (route >= 220) row.set(unit(row.fill(5, route % DIMENSION, (route % DIMENSION) + 1)));
      }
    }
    const offsets = Uint32Array.from({ length: ROUTES + 1 }, (_, route) => route * UTTERANCES);
    vectors = { matrix, offsets, rowOf: new Map() };
    const quantized = await QuantizedRows.of(matrix, SIMILARITY_DEFAULTS.poolingTemperature);
    estimating = new SimilarityScorer(vectors, 0.2, quantized);
    exact = new SimilarityScorer(vectors, 0.2);
  });

  const texts: Record<string, () => Float32Array> = {
    'an utterance of it': () => vectors.matrix.row(7_700).slice(),
    'an utterance of many ties': () => vectors.matrix.row(130).slice(),
    'a text near a route': () => around(centres[180] as Float32Array, 1.5),
    'a text between two routes': () => around(around(centres[101] as Float32Array, 0), 0.2),
    'a stray text': () => unitVector(DIMENSION),
    'a text with one huge element': () => unit(unitVector(DIMENSION).fill(4, 8, 9)),
  };

  /** The same verdict by both scorers, and exact numbers in what the estimating one shows. */
  function expectSame(
    vector: Float32Array,
    options: ClassifyOptions,
    candidates?: Uint32Array,
    set: RouteSet = PLAIN,
  ): Verdict {
    const judged = new ActiveSet(encoder, set, vectors, estimating).judge(vector, candidates, options);
    const reference = new ActiveSet(encoder, set, vectors, exact);
    const expected = reference.judge(vector, candidates, options);
    const { candidates: all } = reference.judge(vector, candidates, { ...options, top_k: ROUTES });
    const exactOf = new Map(all.map((candidate) => [candidate.route, candidate]));
    expectAlike(judged.candidates, expected.candidates, exactOf);
    expectAlike(judged.routes ?? [], expected.routes ?? [], exactOf);
    expect(judged.route === null).toBe(expected.route === null);
    expectAlike([choiceOf(judged)], [choiceOf(expected)], exactOf);
    for (const { route, nearest } of judged.candidates) expect(nearest).toEqual(exactOf.get(route)?.nearest);
    return judged;
  }

  for (const [name, textOf] of Object.entries(texts)) {
    describe(`decides on ${name} as exact scores do`, () => {
      it.each([
        ['by default', {}],
        ['with an explanation', { explain: true }],
        ['with one candidate', { top_k: 1 }],
        ['with a hundred candidates', { top_k: 100 }],
        ['with all candidates', { top_k: 1_000 }],
        ['with several routes', { multi: true, threshold: 0.01 }],
        ['with every route', { multi: true, threshold: 0 }],
        ['with an unreachable threshold', { threshold: 1 }],
      ] satisfies [string, ClassifyOptions][])('%s', (_name, options) => {
        expectSame(textOf(), options);
      });

      it('among some of the routes', () => {
        const some = Uint32Array.from({ length: 210 }, (_, index) => index + 20);
        expectSame(textOf(), { top_k: 5 }, some);
        expectSame(textOf(), { top_k: 5 }, Uint32Array.of(3, 30, 230));
      });

      it('where a route far down is the first that reaches its own threshold', () => {
        const verdict = expectSame(textOf(), {}, undefined, UNEVEN);
        expect(verdict.route).not.toBeNull();
      });
    });
  }

  /** Which routes' similarities are exact. */
  function exactOnes(written: RouteScores, vector: Float32Array): number[] {
    const all = createRouteScores(ROUTES);
    exact.score(vector, undefined, all);
    return [...all.similarity.keys()].filter((route) => written.similarity[route] === all.similarity[route]);
  }

  it('makes few routes exact, the same numbers each time, and what settling writes depends on nothing else', () => {
    const vector = around(centres[180] as Float32Array, 1.5);
    const out = createRouteScores(ROUTES);
    estimating.score(vector, undefined, out);
    const first = { similarity: out.similarity.slice(), score: out.score.slice() };
    const some = exactOnes(first, vector);
    expect(some).toContain(180);
    expect(some.length).toBeLessThan(ROUTES / 10);
    estimating.score(unitVector(DIMENSION), undefined, out);
    estimating.score(
      vector,
      Uint32Array.from({ length: ROUTES }, (_, route) => route),
      out,
    );
    expect(out).toEqual(first);
    for (let route = 0; route < ROUTES; route += 1) {
      expect(estimating.scoreAtMost(route, out)).toBeGreaterThanOrEqual(out.score[route] ?? 0);
      estimating.settle(route, out);
    }
    expect(exactOnes(out, vector)).toHaveLength(ROUTES);
    estimating.score(vector, undefined, out);
    estimating.settle(150, out);
    const alone = out.score[150];
    estimating.score(vector, undefined, out);
    for (let route = ROUTES - 1; route >= 0; route -= 1) estimating.settle(route, out);
    expect(out.score[150]).toBe(alone);
  });

  it('knows how far its estimates can be off', () => {
    const out = createRouteScores(ROUTES);
    for (const textOf of Object.values(texts)) {
      const vector = textOf();
      estimating.score(vector, undefined, out);
      const most = Array.from({ length: ROUTES }, (_, route) => [
        estimating.scoreAtMost(route, out),
        estimating.similarityAtMost(route, out),
      ]);
      for (const [route, [score = 0, similarity = 0]] of most.entries()) {
        estimating.settle(route, out);
        expect(out.score[route]).toBeLessThanOrEqual(score);
        expect(out.similarity[route]).toBeLessThanOrEqual(similarity);
      }
    }
  });

  it('estimates from a number of rows on, and then only where the candidates have as many', async () => {
    const { rows } = vectors.matrix;
    expect(rows).toBeGreaterThan(ESTIMATE_DEFAULTS.rows);
    const scorer = await similarityScoring()(PLAIN, vectors, {});
    expect(scorer.estimates).toBeDefined();
    const out = createRouteScores(ROUTES);
    const vector = around(centres[180] as Float32Array, 1.5);
    const few = Uint32Array.from({ length: ESTIMATE_DEFAULTS.rows / UTTERANCES - 1 }, (_, i) => i);
    scorer.score(vector, few, out);
    expect(exactOnes(out, vector)).toEqual(expect.arrayContaining([...few]));
    scorer.score(vector, undefined, out);
    expect(exactOnes(out, vector).length).toBeLessThan(ROUTES / 2);
  });
});
