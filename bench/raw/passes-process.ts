import { fork } from 'node:child_process';
import { once } from 'node:events';
import { answerOf } from '../answer-of.js';
import type { Row } from './runtime.js';

/** What a process of forward passes runs. */
export interface PassesOptions {
  /** Path of the graph. */
  readonly model: string;
  readonly threads: number;
  /** Folder where another version of the runtime is installed. */
  readonly runtime?: string;
  /** Whether idle threads spin; needs a version of the runtime that lets one choose. */
  readonly spinning?: boolean;
}

/** See {@link Passes}. */
export type ToPasses =
  | { readonly kind: 'run'; readonly batches: readonly (readonly Row[])[]; readonly seconds: number }
  | { readonly kind: 'open'; readonly threads: number; readonly row: Row }
  | { readonly kind: 'memory' };

/** See {@link Passes}. */
export type FromPasses =
  | { readonly kind: 'ran'; readonly rate: number; readonly p50: number }
  | { readonly kind: 'memory'; readonly pss: number; readonly own: number };

/** A process with a session. */
export interface Passes {
  /**
   * Runs these batches again and again.
   * @returns `rate` in texts per second, and the median time of a pass in milliseconds
   */
  run(batches: readonly (readonly Row[])[], seconds: number): Promise<{ rate: number; p50: number }>;
  /** Memory in MB: proportional set size, and the pages that nobody shares. */
  memory(): Promise<{ pss: number; own: number }>;
  /** Opens one session more, lets it run once and leaves it idle; answers like `memory`. */
  open(threads: number, row: Row): Promise<{ pss: number; own: number }>;
  stop(): Promise<void>;
}

/** Starts a process and resolves when its session is loaded. */
export async function startPasses(options: PassesOptions): Promise<Passes> {
  const child = fork('bench/raw/passes.ts', [JSON.stringify(options)], {
    execArgv: ['--import', 'tsx', '--expose-gc'],
    serialization: 'advanced',
  });
  await answerOf(child, 'the process of forward passes');
  const ask = async <Kind extends FromPasses['kind']>(message: ToPasses) => {
    child.send(message);
    return (await answerOf(child, 'the process of forward passes')) as Extract<FromPasses, { kind: Kind }>;
  };
  return {
    run: (batches, seconds) => ask<'ran'>({ kind: 'run', batches, seconds }),
    memory: () => ask<'memory'>({ kind: 'memory' }),
    open: (threads, row) => ask<'memory'>({ kind: 'open', threads, row }),
    async stop() {
      const ended = once(child, 'exit');
      child.disconnect();
      await ended;
    },
  };
}

/** The rate of several processes that run at the same time, and their median pass. */
export async function runTogether(
  all: readonly Passes[],
  batches: readonly (readonly Row[])[],
  seconds: number,
): Promise<{ rate: number; p50: number }> {
  const answers = await Promise.all(all.map((passes) => passes.run(batches, seconds)));
  return {
    rate: answers.reduce((sum, { rate }) => sum + rate, 0),
    p50: Math.max(...answers.map(({ p50 }) => p50)),
  };
}
