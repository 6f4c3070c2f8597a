import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { JSON_TYPE, requestBytes, Wire } from './wire.js';

/** A text with the answer of an undisturbed daemon. */
export interface Golden {
  readonly text: string;
  readonly answer: unknown;
}

/** Clients and requests of a load; all of it can be sent to another process. Default: texts that were never sent before. */
export interface Shape {
  readonly key?: string;
  /** The address of this machine that it connects from. */
  readonly localAddress?: string;
  /** Each request claims another address in `X-Forwarded-For`. */
  readonly forged?: boolean;
  /** Sends these texts, and every answer has to be the golden one. */
  readonly golden?: readonly Golden[];
  /** `GET` of this path instead. */
  readonly get?: string;
  /** Batches of new texts. */
  readonly batch?: { readonly path: string; readonly field: string; readonly size: number };
  /** One text again and again, its embedding cached: in the same body, or each time in another one. */
  readonly repeated?: 'body' | 'text';
  /** Texts that fill the model's 256 tokens. */
  readonly long?: boolean;
  /** Texts of this many words. */
  readonly words?: number;
}

/** The answers to a load. Latencies are in milliseconds, from the moment at which a request was due. */
export interface Answers {
  readonly sent: number;
  readonly accepted: readonly number[];
  /** Refusals as they should be: 429 or 503, with `Retry-After`. */
  readonly refused: readonly number[];
  /** Every other outcome, in words. */
  readonly odd: readonly string[];
}

const SUBJECTS = [
  'my card payment',
  'the last invoice',
  'this python script',
  'the weather report',
  'a hotel booking',
];
const VERBS = ['was declined', 'looks wrong', 'does not work', 'needs a summary', 'should be translated'];
const TIMES = ['today', 'this morning', 'since Monday', 'again', 'for my boss'];
const LONG = ' and so on'.repeat(100);
const WORDS =
  'please tell me where the parcel of last week is and why it has not been delivered to me yet'.split(' ');
let texts = 0;

/** Returns a text of about eleven tokens that this process has not sent before. */
export function freshText(): string {
  texts += 1;
  const pick = (list: readonly string[], by: number): string =>
    list[Math.floor(texts / by) % list.length] ?? '';
  return `${pick(SUBJECTS, 1)} ${texts % 997} ${pick(VERBS, 5)} ${pick(TIMES, 25)} ${Math.floor(texts / 997)}`;
}

/** Returns the text of so many words with this number; default: one that this process has not sent before. */
export function textOfWords(words: number, number = nextNumber()): string {
  return Array.from({ length: words }, (_, at) =>
    at === 0 ? `number${number}` : WORDS[(at + number) % WORDS.length],
  ).join(' ');
}

function nextNumber(): number {
  texts += 1;
  return texts;
}

/** A client that sends requests of one shape over as many connections as they need, and records the answers. */
export class Asker implements Answers {
  readonly accepted: number[] = [];
  readonly refused: number[] = [];
  readonly odd: string[] = [];
  readonly #wire: Wire;
  readonly #shape: Shape;
  #sent = 0;

  constructor(url: string, shape: Shape = {}) {
    this.#wire = new Wire(url, { localAddress: shape.localAddress });
    this.#shape = shape;
  }

  get sent(): number {
    return this.#sent;
  }

  /** Sends one request, which was `due` at that moment. Never fails: failures are recorded. */
  async ask(due = performance.now()): Promise<void> {
    const { golden = [] } = this.#shape;
    const expected = golden[this.#sent % golden.length];
    this.#sent += 1;
    try {
      const answer = await this.#wire.ask(this.#request(expected?.text), { timeoutMs: 60_000 });
      const ms = performance.now() - due;
      const refusal = answer?.status === 503 || answer?.status === 429;
      const body = answer?.body.toString('utf8') ?? '';
      if (answer?.status === 200) {
        if (expected && !isDeepStrictEqual(JSON.parse(body), expected.answer))
          this.odd.push(`wrong: ${body}`);
        else this.accepted.push(ms);
      } else if (refusal && Number(answer.headers.get('retry-after')) >= 1) this.refused.push(ms);
      else this.odd.push(answer ? `${answer.status} ${body.slice(0, 200)}` : 'closed without an answer');
    } catch (error) {
      this.odd.push(String(error));
    }
  }

  /** Closes its connections and returns the answers. */
  end(): Answers {
    this.#wire.close();
    const { sent, accepted, refused, odd } = this;
    return { sent, accepted, refused, odd };
  }

  #request(text: string | undefined): Buffer {
    const { key, forged, get, batch, repeated, long, words } = this.#shape;
    const fresh = (): string => (words === undefined ? freshText() + (long ? LONG : '') : textOfWords(words));
    const address = `198.51.${(texts >> 8) & 255}.${texts & 255}`;
    const headers: (readonly [string, string])[] = [JSON_TYPE];
    if (key !== undefined) headers.push(['Authorization', `Bearer ${key}`]);
    if (forged) headers.push(['X-Forwarded-For', address], ['X-Real-IP', address]);
    if (get !== undefined) return requestBytes('GET', get, headers.slice(1));
    const body = batch
      ? { [batch.field]: Array.from({ length: batch.size }, fresh) }
      : {
          text: text ?? (repeated ? 'where is my parcel?' : fresh()),
          ...(repeated === 'text' && { threshold: (this.#sent % 1_000_003) / 1_000_003 }),
        };
    return requestBytes('POST', batch?.path ?? '/classify', headers, JSON.stringify(body));
  }
}

/** Bounds of {@link ClosedLoop}. */
export interface ClosedLoopOptions {
  /** Requests at a time. */
  readonly clients: number;
  readonly shape?: Shape;
  /** Pause of each client after an answer, in milliseconds; default: none. */
  readonly restMs?: number;
}

/** Clients that send the next request when they have an answer, until they are stopped. */
export class ClosedLoop {
  readonly #asker: Asker;
  readonly #done: Promise<unknown>;
  #going = true;

  constructor(url: string, { clients, shape, restMs }: ClosedLoopOptions) {
    this.#asker = new Asker(url, shape);
    const run = async (): Promise<void> => {
      while (this.#going) {
        await this.#asker.ask();
        if (restMs !== undefined) await sleep(restMs);
      }
    };
    this.#done = Promise.all(Array.from({ length: clients }, run));
  }

  /** The answers so far. */
  get answers(): Answers {
    return this.#asker;
  }

  /** Sends no more, and waits for pending answers. */
  async stop(): Promise<Answers> {
    this.#going = false;
    await this.#done;
    return this.#asker.end();
  }
}

/** Runs a closed loop for some seconds. The rate counts all answers, up to the last one. */
export async function closedLoop(
  url: string,
  seconds: number,
  options: ClosedLoopOptions,
): Promise<Answers & { readonly perSecond: number }> {
  const started = performance.now();
  const loop = new ClosedLoop(url, options);
  await sleep(seconds * 1_000);
  const answers = await loop.stop();
  return { ...answers, perSecond: (answers.accepted.length * 1_000) / (performance.now() - started) };
}

/** Sends requests one after the other. */
export async function oneByOne(url: string, requests: number, shape: Shape): Promise<Answers> {
  const asker = new Asker(url, shape);
  while (asker.sent < requests) await asker.ask();
  return asker.end();
}

/** Answers of an open loop. */
export interface OpenLoop extends Answers {
  /** Accepted within the load's time, per second. */
  readonly goodput: number;
  /** The answers from {@link SETTLE_MS} after the first refusal on; all of them where nothing was refused. */
  readonly settled: Pick<Answers, 'accepted' | 'refused'>;
  /** How late the client itself sent requests, in milliseconds; latencies include it. */
  readonly late: readonly number[];
  /** p99 of the time that the client itself did not run, in milliseconds; latencies include it, too. */
  readonly ownLagMs: number;
}

/** From the first refusal until no answer comes from the queue of the first burst (`MAX_QUEUE_MS`). */
const SETTLE_MS = 2_000;

const LAG_RESOLUTION_MS = 5;

/** Sends requests at a fixed rate, or at these moments in milliseconds, however they are answered. */
export async function openLoop(
  url: string,
  arrivals: number | readonly number[],
  seconds: number,
  shape: Shape = {},
): Promise<OpenLoop> {
  const asker = new Asker(url, shape);
  const late: number[] = [];
  const pending = new Set<Promise<void>>();
  const delay = monitorEventLoopDelay({ resolution: LAG_RESOLUTION_MS });
  delay.enable();
  const started = performance.now();
  const total = typeof arrivals === 'number' ? Math.round(arrivals * seconds) : arrivals.length;
  const dueOf = (index: number): number =>
    started + (typeof arrivals === 'number' ? (index / arrivals) * 1_000 : (arrivals[index] ?? 0));
  let timely: number | undefined;
  let settlesAt = Number.POSITIVE_INFINITY;
  let before: { readonly accepted: number; readonly refused: number } | undefined;
  const timer = setTimeout(() => {
    timely = asker.accepted.length;
  }, seconds * 1_000);
  while (asker.sent < total) {
    const turn = performance.now();
    while (asker.sent < total && dueOf(asker.sent) <= turn) {
      const due = dueOf(asker.sent);
      late.push(performance.now() - due);
      const one = asker.ask(due).finally(() => pending.delete(one));
      pending.add(one);
    }
    await sleep(2);
    const now = performance.now();
    if (settlesAt === Number.POSITIVE_INFINITY && asker.refused.length > 0) settlesAt = now + SETTLE_MS;
    if (now >= settlesAt) before ??= { accepted: asker.accepted.length, refused: asker.refused.length };
  }
  await Promise.all(pending);
  clearTimeout(timer);
  delay.disable();
  const answers = asker.end();
  const { accepted, refused } = answers;
  const skipped = before ?? { accepted: refused.length > 0 ? accepted.length : 0, refused: refused.length };
  return {
    ...answers,
    settled: { accepted: accepted.slice(skipped.accepted), refused: refused.slice(skipped.refused) },
    goodput: (timely ?? accepted.length) / seconds,
    late,
    ownLagMs: Math.max(0, delay.percentile(99) / 1e6 - LAG_RESOLUTION_MS),
  };
}
