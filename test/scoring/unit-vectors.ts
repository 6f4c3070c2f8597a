import { Random } from '../support/random.js';

/** The same at length 1. */
export function unit(values: Float32Array): Float32Array {
  const length = Math.hypot(...values);
  return values.map((value) => value / length);
}

const random = new Random(5);

/** Of a random direction, another one with each call. */
export function unitVector(dimension: number): Float32Array {
  return unit(Float32Array.from({ length: dimension }, () => random.next() - 0.5));
}
