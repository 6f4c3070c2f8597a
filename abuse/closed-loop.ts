import { setTimeout as sleep } from 'node:timers/promises';
import { type Answers, Asker, type Client } from './asker.js';

/** Who asks in a {@link ClosedLoop}. */
export interface ClosedLoopOptions {
  /** Requests at a time. */
  readonly clients: number;
  readonly as?: Client;
  /** How long each of them rests after an answer, in milliseconds; default: not at all. */
  readonly restMs?: number;
}

/** Clients that ask again when they have an answer, whatever it was. */
export class ClosedLoop {
  readonly #asker: Asker;
  readonly #done: Promise<unknown>;
  #going = true;

  constructor(url: string, { clients, as, restMs }: ClosedLoopOptions) {
    this.#asker = new Asker(url, as);
    this.#done = Promise.all(Array.from({ length: clients }, () => this.#run(restMs)));
  }

  /** What they were answered so far. */
  get answers(): Answers {
    return this.#asker;
  }

  /** Lets them ask no more, and waits for what is under way. */
  async stop(): Promise<Answers> {
    this.#going = false;
    await this.#done;
    return this.#asker.end();
  }

  async #run(restMs: number | undefined): Promise<void> {
    while (this.#going) {
      await this.#asker.ask();
      if (restMs !== undefined) await sleep(restMs);
    }
  }
}

/** Sends requests as fast as some clients get answers: what the daemon can do. @returns answers per second */
export async function capacityOf(
  url: string,
  clients: number,
  seconds: number,
  as: Client = {},
): Promise<number> {
  const loop = new ClosedLoop(url, { clients, as });
  const started = performance.now();
  await sleep(seconds * 1_000);
  const perSecond = (loop.answers.accepted.length * 1_000) / (performance.now() - started);
  const { refused, odd } = await loop.stop();
  if (refused.length + odd.length > 0) {
    throw new Error(`no capacity to measure: ${refused.length} refused, ${odd[0] ?? ''}`);
  }
  return perSecond;
}

/** Sends that many requests, each when the one before it was answered. */
export async function oneByOne(url: string, requests: number, as: Client): Promise<Answers> {
  const asker = new Asker(url, as);
  while (asker.sent < requests) await asker.ask();
  return asker.end();
}
