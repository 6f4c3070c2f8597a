import { rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { kill, pidOf } from '../../campaign/sandbox.js';
import { MODEL_DIGEST } from '../../faults/pinned.js';
import { flipBit } from '../../faults/rot.js';
import type { TestDaemon } from '../../test/support/daemon-process.js';
import type { Origin } from '../../test/support/origin.js';
import { childrenOf } from '../process-size.js';

/** What disasters happen to. */
export interface Scene {
  readonly daemon: TestDaemon;
  readonly volume: string;
  readonly origin: Origin;
  readonly routesFile: string;
  /** Sets of routes between which the file changes. */
  readonly routes: readonly string[];
}

/** Something that goes wrong again and again. */
export interface Disaster {
  readonly kind: string;
  readonly everyMs: number;
  strike(scene: Scene, n: number): Promise<void>;
}

/** Disasters for a soak of so many minutes. Corruption stays rarer than what is taken for a dying disk. */
export function disastersFor(minutes: number): readonly Disaster[] {
  return [
    {
      kind: 'blob spoilt',
      everyMs: minutes < 5 ? 30_000 : 180_000,
      strike: async ({ volume, origin }, n) => {
        // Every other repair meets a source that falls silent in the middle.
        if (n % 2 === 1) origin.fault('*', { kind: 'stall', afterBytes: 1_000_000 });
        await flipBit(join(volume, 'blobs/sha256', MODEL_DIGEST), 1_000 + n);
      },
    },
    {
      kind: 'routes edited',
      everyMs: 15_000,
      strike: async ({ routesFile, routes }, n) => {
        await writeFile(`${routesFile}.new`, routes[(n + 1) % routes.length] ?? '');
        await rename(`${routesFile}.new`, routesFile);
      },
    },
    {
      kind: 'worker killed',
      everyMs: 20_000,
      strike: async ({ daemon }, n) => {
        const workers = childrenOf(pidOf(daemon));
        const victim = workers[n % Math.max(1, workers.length)];
        if (victim !== undefined) kill(victim, 'SIGKILL');
      },
    },
  ];
}

/** Lets the disasters strike until `signal`. @returns how often each did */
export async function strikeAll(
  disasters: readonly Disaster[],
  scene: Scene,
  signal: AbortSignal,
): Promise<ReadonlyMap<string, number>> {
  const counts = new Map<string, number>();
  await Promise.all(
    disasters.map(async ({ kind, everyMs, strike }) => {
      for (let n = 0; !signal.aborted; n += 1) {
        await sleep(everyMs, undefined, { signal }).catch(() => undefined);
        if (signal.aborted) return;
        await strike(scene, n);
        counts.set(kind, n + 1);
      }
    }),
  );
  return counts;
}
