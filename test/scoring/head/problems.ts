import type { HeadProblem } from '../../../src/scoring/head/fit.js';
import { Random } from '../../support/random.js';
import { unit } from '../unit-vectors.js';

/** Numbers in -0.5..0.5 that look random and are the same in every run. */
export function noiseNumbers(seed: number): () => number {
  const random = new Random(seed);
  return () => random.next() - 0.5;
}

/** A problem whose routes lie around centres of their own, and more texts of them that it does not hold. */
export interface Clusters {
  readonly problem: HeadProblem;
  /** `each` unseen texts of a route. */
  unseen(route: number, each: number): Float32Array[];
  /** A text of no route. */
  stranger(): Float32Array;
}

/** @param counts utterances of each route */
export function clusters(counts: readonly number[], spread: number, dimension = 32): Clusters {
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
