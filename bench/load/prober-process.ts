import { fork } from 'node:child_process';
import { answerOf } from '../answer-of.js';
import type { OpenLoop } from './open-loop.js';

/** See {@link Prober}. */
export interface ToProber {
  readonly url: string;
  readonly rate: number;
  readonly seconds: number;
}

/** A process that asks a path at a fixed rate. */
export interface Prober {
  probe(url: string, rate: number, seconds: number): Promise<OpenLoop>;
  stop(): void;
}

/** Starts a process that can probe. */
export async function startProber(): Promise<Prober> {
  const child = fork('bench/load/prober.ts', { execArgv: ['--import', 'tsx'], serialization: 'advanced' });
  const answer = () => answerOf(child, 'the prober');
  await answer();
  return {
    async probe(url, rate, seconds) {
      child.send({ url, rate, seconds } satisfies ToProber);
      return (await answer()) as OpenLoop;
    },
    stop: () => child.disconnect(),
  };
}
