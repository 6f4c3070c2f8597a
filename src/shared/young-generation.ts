import { PerformanceObserver } from 'node:perf_hooks';
import { getHeapSpaceStatistics, setFlagsFromString } from 'node:v8';

/**
 * Bytes of the young generation: two halves of 8 MB, twice that where one turn of the event loop has several collections.
 * Of smaller ones the requests that are open, 20 kB each, fill so much that they are taken for old.
 */
const BOUND = 2 * 8 * 2 ** 20;

/**
 * Keeps V8's young generation small, which otherwise grows to 32 MB (128 from Node 24 on) under load and stays there. The
 * flag for its size counts at the start of a process only, and one is started in many ways; that for its growth counts at
 * any time.
 */
export function boundYoungGeneration(): void {
  // What a boot compiles, in one turn, would let it grow to the end.
  setFlagsFromString('--semi-space-growth-factor=1');
  new PerformanceObserver(() => {
    const young = getHeapSpaceStatistics().find(({ space_name }) => space_name === 'new_space');
    const mayGrow = (young?.space_size ?? 0) < BOUND;
    setFlagsFromString(`--semi-space-growth-factor=${mayGrow ? 2 : 1}`);
  }).observe({ entryTypes: ['gc'] });
}
