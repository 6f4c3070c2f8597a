import { setTimeout as sleep } from 'node:timers/promises';
import type { Goal, Part } from '../bench.js';
import { closedLoop, freshText } from '../closed-loop.js';
import { openLoop } from '../open-loop.js';

/** The admission forgets a refusal after a second. */
const CALM_MS = 1_500;
const SHARES = [50, 80, 100, 120, 200] as const;

export const openGoals: readonly Goal[] = [
  { name: 'open loop, settled p99 at 200 % ÷ at 80 %', atMost: 2 },
  { name: 'open loop at 200 %, refused p99 ms', atMost: 50 },
];

/** A fixed rate of requests, up to twice what the daemon can do. */
export const open: Part = async ({ samples, seconds, daemon }) => {
  const { url } = await daemon();
  const { rate: capacity } = await closedLoop(url, { connections: 32, seconds });
  samples.note('open loop, 100 %, req/s', capacity);
  const ask = { url: `${url}/classify`, body: () => JSON.stringify({ text: freshText() }) };
  const p99 = new Map<number, number>();
  for (const share of SHARES) {
    // A queue takes a while to fill, and to be short again.
    const seen = await openLoop(ask, (capacity * share) / 100, 2 * seconds);
    const name = `open loop at ${share} %`;
    p99.set(share, seen.settledP99);
    samples.note(`${name}, goodput req/s`, seen.goodput);
    samples.note(`${name}, accepted p50 ms`, seen.acceptedP50);
    samples.note(`${name}, accepted p99 ms`, seen.acceptedP99);
    samples.note(`${name}, settled p99 ms`, seen.settledP99);
    samples.note(`${name}, client late p99 ms`, seen.lateP99);
    for (const [status, count] of seen.refusals)
      samples.note(`${name}, answers ${status || 'broken off'}`, count);
    if (seen.refusals.size > 0) samples.note(`${name}, refused p99 ms`, seen.refusedP99);
    // So that the next share finds the admission as a calm daemon has it.
    await sleep(CALM_MS);
  }
  samples.note(
    'open loop, settled p99 at 200 % ÷ at 80 %',
    (p99.get(200) ?? Number.NaN) / (p99.get(80) ?? Number.NaN),
  );
};
