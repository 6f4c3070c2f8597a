import type { Context } from 'koa';
import type { EmbeddingTiming } from '../inference/embedder.js';

/** Times of one request, in milliseconds, as `Server-Timing` shows them. */
export type Timings = Record<string, number>;

/** Lets `Server-Timing` tell where the time of a request's texts went. */
export function noteTimings(context: Context, timing: EmbeddingTiming & { readonly scoreMs?: number }): void {
  const timings: Timings = context.state.timings;
  timings.queue = timing.queueMs;
  timings.tokenize = timing.tokenizeMs;
  timings.inference = timing.inferenceMs;
  if (timing.scoreMs !== undefined) timings.score = timing.scoreMs;
}

/** The value of `Server-Timing`. */
export function serverTiming(timings: Timings): string {
  let value = '';
  for (const name in timings) value += `${value && ', '}${name};dur=${timings[name]?.toFixed(2)}`;
  return value;
}
