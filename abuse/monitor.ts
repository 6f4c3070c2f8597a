import { setTimeout as sleep } from 'node:timers/promises';
import { requestOf } from './inputs/input.js';
import { Wire } from './wire.js';

/** Asks the paths that monitors ask, all the time. */
export class Monitor {
  readonly #wire: Wire;
  readonly #done: Promise<void>;
  #going = true;
  readonly latencies: number[] = [];
  /** How late the monitor itself was after a pause, in milliseconds: as late it may be in seeing an answer. */
  readonly late: number[] = [];
  readonly faults: string[] = [];

  constructor(url: string, everyMs = 50) {
    this.#wire = new Wire(url);
    this.#done = this.#run(everyMs);
  }

  async stop(): Promise<void> {
    this.#going = false;
    await this.#done;
    this.#wire.close();
  }

  async #run(everyMs: number): Promise<void> {
    while (this.#going) {
      for (const path of ['/livez', '/health']) {
        const since = performance.now();
        const { bytes } = requestOf({ what: path, method: 'GET', path, statuses: [200] });
        try {
          const answer = await this.#wire.ask(bytes, { timeoutMs: 60_000 });
          this.latencies.push(performance.now() - since);
          if (answer?.status !== 200) this.faults.push(`${path}: ${answer?.status}`);
        } catch (error) {
          this.faults.push(`${path}: ${error}`);
        }
      }
      const since = performance.now();
      await sleep(everyMs);
      this.late.push(performance.now() - since - everyMs);
    }
  }
}
