import { setTimeout as sleep } from 'node:timers/promises';
import { familyOf, memoryOf } from '../../memory.js';
import type { Goal, Part } from '../bench.js';
import { closedLoop } from '../closed-loop.js';
import { startDaemon } from '../servers.js';

export const memoryGoals: readonly Goal[] = [
  { name: 'memory of all processes (PSS) after a minute of full load, MB', atMost: 350 },
  { name: 'memory, last minute ÷ second minute', atMost: 1.05 },
];

/** Memory of a daemon of its own under full load, sampled every ten seconds. */
export const memory: Part = async ({ samples, folder, memorySeconds }) => {
  const daemon = await startDaemon(await folder());
  const pss = (): number => memoryOf(familyOf(daemon.pid)).pss;
  samples.note('memory of all processes (PSS), idle after boot, MB', pss());
  const seen: number[] = [];
  for (let at = 0; at < memorySeconds; at += 10) {
    await closedLoop(daemon.url, { connections: 32, seconds: Math.min(10, memorySeconds - at) });
    seen.push(pss());
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
    samples.note('memory, last minute ÷ second minute', mean(seen.slice(-6)) / mean(seen.slice(6, 12)));
  }
  await sleep(5_000);
  samples.note('memory of all processes (PSS), 5 s after the load, MB', pss());
  await daemon.stop();
};

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
