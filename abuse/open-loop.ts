import { setTimeout as sleep } from 'node:timers/promises';
import { textOf } from '../bench/load/texts.js';
import { JSON_TYPE, requestOf } from './inputs/input.js';
import { type Answer, Wire } from './wire.js';

/** What came of a load. */
export interface LoadResult {
  readonly sent: number;
  /** Answered with 200 within the load's time, each second. */
  readonly goodput: number;
  /** Latencies from when a request was due, in milliseconds. */
  readonly accepted: readonly number[];
  /** Of refusals that are as they should be: 429 or 503, with `Retry-After`. */
  readonly refused: readonly number[];
  /** Everything else, in words. */
  readonly odd: readonly string[];
}

let nextText = 0;

/** Whom the daemon takes a load for; by default nobody in particular. */
export interface Client {
  readonly key?: string;
  /** The address of this machine that it asks from. */
  readonly localAddress?: string;
  /** Whether each of its requests claims another address. */
  readonly forged?: boolean;
}

function nextRequest({ key, forged = false }: Client = {}): Buffer {
  nextText += 1;
  const address = `198.51.${(nextText >> 8) & 255}.${nextText & 255}`;
  const more: (readonly [string, string])[] = [
    ...(key === undefined ? [] : [['Authorization', `Bearer ${key}`] as const]),
    ...(forged ? [['X-Forwarded-For', address] as const, ['X-Real-IP', address] as const] : []),
  ];
  return requestOf({
    what: 'a text that nobody has seen yet',
    path: '/classify',
    headers: [JSON_TYPE, ...more],
    body: JSON.stringify({ text: textOf(nextText) }),
    statuses: [],
  }).bytes;
}

class Tally {
  readonly accepted: number[] = [];
  readonly refused: number[] = [];
  readonly odd: string[] = [];
  sent = 0;
  inTime = 0;

  note(answer: Answer | undefined, ms: number, inTime: boolean): void {
    if (answer?.status === 200) {
      this.accepted.push(ms);
      if (inTime) this.inTime += 1;
    } else if (
      (answer?.status === 503 || answer?.status === 429) &&
      Number(answer.headers.get('retry-after')) >= 1
    ) {
      this.refused.push(ms);
    } else this.odd.push(`${answer?.status} ${answer?.body.toString('utf8', 0, 200)}`);
  }

  result(seconds: number): LoadResult {
    const { sent, accepted, refused, odd, inTime } = this;
    return { sent, goodput: inTime / seconds, accepted, refused, odd };
  }
}

/**
 * Sends requests at a rate whatever becomes of them, as a crowd does that does not know of each other. A connection
 * is opened whenever none is free.
 */
export async function openLoop(
  url: string,
  perSecond: number,
  seconds: number,
  client: Client = {},
): Promise<LoadResult> {
  const wire = new Wire(url, { localAddress: client.localAddress });
  const tally = new Tally();
  const under = new Set<Promise<void>>();
  const started = performance.now();
  const until = started + seconds * 1_000;
  const total = Math.round(perSecond * seconds);
  const send = async (due: number): Promise<void> => {
    try {
      const answer = await wire.ask(nextRequest(client), { timeoutMs: 60_000 });
      tally.note(answer, performance.now() - due, performance.now() <= until);
    } catch (error) {
      tally.odd.push(String(error));
    }
  };
  while (tally.sent < total) {
    const due = Math.min(total, Math.ceil(((performance.now() - started) / 1_000) * perSecond));
    for (; tally.sent < due; tally.sent += 1) {
      const one = send(started + (tally.sent / perSecond) * 1_000).finally(() => under.delete(one));
      under.add(one);
    }
    await sleep(2);
  }
  await Promise.all(under);
  wire.close();
  return tally.result(seconds);
}

/** Sends requests as fast as some clients get answers: what the daemon can do. @returns answers per second */
export async function capacityOf(
  url: string,
  clients: number,
  seconds: number,
  as: Client = {},
): Promise<number> {
  const wire = new Wire(url, { localAddress: as.localAddress });
  const tally = new Tally();
  const until = performance.now() + seconds * 1_000;
  const client = async (): Promise<void> => {
    while (performance.now() < until) {
      tally.sent += 1;
      tally.note(await wire.ask(nextRequest(as)), 0, performance.now() <= until);
    }
  };
  await Promise.all(Array.from({ length: clients }, client));
  wire.close();
  if (tally.refused.length + tally.odd.length > 0) {
    throw new Error(`no capacity to measure: ${tally.refused.length} refused, ${tally.odd[0] ?? ''}`);
  }
  return tally.inTime / seconds;
}

/** Asks the paths that monitors ask, all the time. */
export class Monitor {
  readonly #wire: Wire;
  readonly #done: Promise<void>;
  #going = true;
  readonly latencies: number[] = [];
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
      await sleep(everyMs);
    }
  }
}
