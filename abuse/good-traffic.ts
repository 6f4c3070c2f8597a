import { setTimeout as sleep } from 'node:timers/promises';
import type { Golden } from '../campaign/load.js';
import { askGolden } from './fuzz.js';
import { Wire } from './wire.js';

/** Well-behaved clients that classify at a steady rate; every answer has to be the golden one. */
export class GoodTraffic {
  readonly #faults: string[] = [];
  readonly #wire: Wire;
  readonly #golden: readonly Golden[];
  readonly #asked: Promise<void>;
  /** How late these clients themselves were in sending, in milliseconds: all latencies include it. */
  readonly late: number[] = [];
  #latencies: number[] = [];
  #going = true;

  /** @param perSecond requests, each sent at its time whether or not the ones before were answered */
  constructor(url: string, golden: readonly Golden[], perSecond: number) {
    this.#wire = new Wire(url);
    this.#golden = golden;
    this.#asked = this.#run(1_000 / perSecond);
  }

  get faults(): readonly string[] {
    return this.#faults;
  }

  /** The latencies since the last call, in milliseconds. */
  take(): number[] {
    const taken = this.#latencies;
    this.#latencies = [];
    return taken;
  }

  async stop(): Promise<void> {
    this.#going = false;
    await this.#asked;
    this.#wire.close();
  }

  async #run(everyMs: number): Promise<void> {
    const under = new Set<Promise<void>>();
    const started = performance.now();
    for (let n = 0; this.#going; n += 1) {
      const due = started + n * everyMs;
      await sleep(Math.max(0, due - performance.now()));
      this.late.push(performance.now() - due);
      const one = this.#ask(n, due).finally(() => under.delete(one));
      under.add(one);
    }
    await Promise.all(under);
  }

  async #ask(n: number, due: number): Promise<void> {
    try {
      await askGolden(this.#wire, this.#golden[n % this.#golden.length], 30_000);
      this.#latencies.push(performance.now() - due);
    } catch (error) {
      this.#faults.push(String(error));
    }
  }
}
