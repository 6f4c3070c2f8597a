import { setTimeout as sleep } from 'node:timers/promises';
import { metricOf } from '../../../test/support/metric.js';
import { familyOf, memoryOf } from '../../memory.js';
import type { Goal, Part } from '../bench.js';
import { closedLoop } from '../closed-loop.js';
import { startDaemon } from '../servers.js';

/**
 * From when on memory has to be flat: the cache of embeddings takes what it may have, and then its oldest entries begin to
 * die, for which the heap grows a little once more.
 */
const FLAT = 'memory, last minute ÷ second minute with a full cache of embeddings';

export const memoryGoals: readonly Goal[] = [
  { name: 'memory of all processes (PSS) after a minute of full load, MB', atMost: 350 },
  { name: FLAT, atMost: 1.05 },
];

/** Memory of a daemon of its own under full load, sampled every ten seconds. */
export const memory: Part = async ({ samples, folder, memorySeconds }) => {
  const daemon = await startDaemon(await folder());
  const pss = (): number => memoryOf(familyOf(daemon.pid)).pss;
  samples.note('memory of all processes (PSS), idle after boot, MB', pss());
  const seen: number[] = [];
  /** Samples that were taken before the cache of embeddings had grown for the last time. */
  let filling = 0;
  let cached = 0;
  for (let at = 0; at < memorySeconds; at += 10) {
    await closedLoop(daemon.url, { connections: 32, seconds: Math.min(10, memorySeconds - at) });
    seen.push(pss());
    const bytes = await metricOf(daemon.url, 'ai_router_embedding_cache_bytes');
    if (bytes > cached * 1.001) filling = seen.length;
    cached = bytes;
  }
  // Six samples are a minute.
  const minute = memorySeconds >= 60 ? 'a minute' : `${memorySeconds} s`;
  samples.note(
    `memory of all processes (PSS) after ${minute} of full load, MB`,
    seen[5] ?? seen.at(-1) ?? Number.NaN,
  );
  if (memorySeconds > 120) {
    samples.note(
      `memory of all processes (PSS) after ${memorySeconds / 60} minutes, MB`,
      seen.at(-1) ?? Number.NaN,
    );
    // A cache that never was full shows in a ratio of nothing, which meets no goal.
    const full = seen.slice(filling, -6);
    samples.note(FLAT, mean(seen.slice(-6)) / mean(full.slice(6, 12)));
  }
  await sleep(5_000);
  samples.note('memory of all processes (PSS), 5 s after the load, MB', pss());
  await daemon.stop();
};

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
