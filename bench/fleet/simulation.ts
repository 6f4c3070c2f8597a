import { BATCH_LIMITS, TURN } from '../../src/inference/batches.js';
import { POOL_DEFAULTS } from '../../src/inference/pool.js';
import { Pace } from '../../src/inference/queue.js';
import type { Random } from '../../test/support/random.js';
import { type Machine, Process } from './machine.js';

/** Costs of one replica with one worker, in milliseconds of a core, for requests of one text of one length. */
export interface Costs {
  /** HTTP process, for each request; half of it before the text goes to the worker. */
  readonly requestMs: number;
  /** HTTP process, for each message from the worker. */
  readonly messageMs: number;
  /** Worker, for each forward pass, and for each text in it. */
  readonly passMs: number;
  readonly textMs: number;
  /** HTTP process, for a request that it refuses. */
  readonly refusalMs: number;
  /** Latency of a lone request besides CPU time: wakeups and sockets. */
  readonly idleMs: number;
  /** Tokens of a text, and its work as the queue estimates it (`workOf`). */
  readonly tokens: number;
  readonly work: number;
  /** Factors of work of both processes, one as likely as another, 1 on average: no two pieces take the same time. */
  readonly spread: { readonly http: readonly number[]; readonly worker: readonly number[] };
}

/** See {@link TURN}. */
export type Gathering = Readonly<Record<'gatheredTexts' | 'gatherMs', number>>;

/** Limits of a replica: settings of the daemon. */
export interface Limits {
  readonly maxQueue: number;
  readonly maxQueueMs: number;
  /** Each open request has one of them. */
  readonly maxConnections: number;
  /** How a worker waits for next texts, where other than today: as measurements were recorded. */
  readonly gathering?: Gathering;
}

/** Hears of the end of a request. */
export type Outcome = (status: 'accepted' | 'refused', now: number) => void;

/** One daemon with one worker, with the rules of `inference/pool.ts`, `queue.ts`, `batches.ts` and `entry.ts`. */
export class Replica {
  /** Requests that the balancer has given it and that have no answer yet. */
  active = 0;
  /** Passes and texts in them, so far. */
  passes = 0;
  texts = 0;
  readonly #http: Process;
  readonly #worker: Process;
  readonly #queue: Outcome[] = [];
  readonly #atWorker: Outcome[] = [];
  /** Texts at the worker whose results the HTTP process has not read yet, the running pass included. */
  #inFlight = 0;
  #state: 'idle' | 'passing' | 'gathering' = 'idle';
  /** Texts that a gathering waits for. */
  #expected = 0;
  #results: Outcome[] = [];
  #sentAt = 0;
  readonly #pace = new Pace();

  constructor(
    readonly machine: Machine,
    readonly costs: Costs,
    readonly limits: Limits,
    readonly random: Random,
  ) {
    this.#http = new Process(machine, 0);
    this.#worker = new Process(machine, 1);
  }

  /** `ai_router_inference_waiting`. */
  get waiting(): number {
    return this.#queue.length + Math.max(0, this.#inFlight - 1);
  }

  receive(outcome: Outcome): void {
    if (this.active >= this.limits.maxConnections) {
      outcome('refused', this.machine.clock.now);
      return;
    }
    this.active += 1;
    const settle: Outcome = (status, now) => {
      this.active -= 1;
      outcome(status, now);
    };
    const { requestMs, refusalMs } = this.costs;
    this.#http.run(this.#factor('http') * (this.#isFull() ? refusalMs : requestMs / 2), (now) => {
      if (this.#isFull()) settle('refused', now);
      else {
        this.#queue.push(settle);
        this.#feed(now);
      }
    });
  }

  get #gathering(): Gathering {
    return this.limits.gathering ?? TURN;
  }

  #factor(process: 'http' | 'worker'): number {
    const factors = this.costs.spread[process];
    return factors[this.random.integer(0, factors.length - 1)] ?? 1;
  }

  /** `WorkerPool.#overload`, for a client that is alone. */
  #isFull(): boolean {
    const waitMs = this.#pace.ms((this.#queue.length + this.#inFlight) * this.costs.work);
    const { maxQueue, maxQueueMs } = this.limits;
    return this.#queue.length > 0 && (waitMs > maxQueueMs || this.#queue.length >= maxQueue);
  }

  /** `WorkerPool.#nextFor`, where texts share passes. */
  #feed(now: number): void {
    const { work } = this.costs;
    const { backlogMs, backlogWork } = POOL_DEFAULTS;
    while (this.#queue.length > 0) {
      const backlog = (this.#inFlight + 1) * work;
      if (this.#inFlight > 0 && backlog > backlogWork && this.#pace.ms(backlog) > backlogMs) break;
      this.#inFlight += 1;
      this.#atWorker.push(this.#queue.shift() as Outcome);
    }
    if (this.#atWorker.length === 0) return;
    if (this.#state === 'gathering') {
      if (this.#atWorker.length >= this.#expected) this.#proceed(now);
    } else if (this.#state === 'idle') {
      this.#sentAt = now;
      this.#pass(now);
    }
  }

  #pass(startedAt: number): void {
    const { costs } = this;
    const batch = BATCH_LIMITS;
    const most = Math.max(1, Math.min(batch.texts, Math.floor(batch.tokens / costs.tokens)));
    const texts = this.#atWorker.splice(0, most);
    this.#state = 'passing';
    this.passes += 1;
    this.texts += texts.length;
    this.#worker.run(this.#factor('worker') * (costs.passMs + costs.textMs * texts.length), (now) => {
      for (const _ of texts) this.#pace.observe(costs.tokens, (now - startedAt) / texts.length);
      this.#results.push(...texts);
      const isSparse = this.#isSparse();
      const left = this.#atWorker.length;
      if (left > 0 && !isSparse && now - this.#sentAt < TURN.answerMs) {
        this.#pass(now);
        return;
      }
      this.#expected = left + this.#results.length;
      this.#send();
      if (isSparse && this.#expected >= this.#gathering.gatheredTexts) this.#gather(now);
      else this.#proceed(now);
    });
  }

  /** `Batcher.sparse`. */
  #isSparse(): boolean {
    const size = this.#atWorker.length;
    return 2 * this.costs.tokens * size < BATCH_LIMITS.tokens && 2 * size < BATCH_LIMITS.texts;
  }

  /** Waits for the next texts of clients that were just answered. */
  #gather(now: number): void {
    this.#state = 'gathering';
    const { passes } = this;
    this.machine.clock.at(now + this.#gathering.gatherMs, (then) => {
      if (this.#state === 'gathering' && this.passes === passes) this.#proceed(then);
    });
  }

  #proceed(now: number): void {
    this.#sentAt = now;
    this.#state = 'idle';
    if (this.#atWorker.length > 0) this.#pass(now);
  }

  #send(): void {
    const results = this.#results;
    this.#results = [];
    this.#http.run(this.#factor('http') * this.costs.messageMs, (then) => {
      this.#inFlight -= results.length;
      this.#feed(then);
      for (const outcome of results)
        this.#http.run(this.costs.requestMs / 2, (end) => outcome('accepted', end));
    });
  }
}

/** How requests are spread: to the replica with the fewest open ones, or to any. */
export type Balance = 'least' | 'random';

/** Chooses among replicas, which must not be none. */
export function choose(replicas: readonly Replica[], balance: Balance, random: Random): Replica {
  const start = random.integer(0, replicas.length - 1);
  let chosen = replicas[start] as Replica;
  if (balance === 'random') return chosen;
  for (let offset = 1; offset < replicas.length; offset += 1) {
    const other = replicas[(start + offset) % replicas.length] as Replica;
    if (other.active < chosen.active) chosen = other;
  }
  return chosen;
}

/** Factor between two bounds of {@link Latencies}. */
const STEP = 1.02;
const SMALLEST_MS = 0.1;

/** Latencies by size, to 2 %, each with a weight: millions of them take no memory. */
export class Latencies {
  readonly #weights = new Float64Array(1_000);
  #total = 0;

  note(ms: number, weight = 1): void {
    const at = Math.round(Math.log(Math.max(ms, SMALLEST_MS) / SMALLEST_MS) / Math.log(STEP));
    const index = Math.min(at, this.#weights.length - 1);
    this.#weights[index] = (this.#weights[index] ?? 0) + weight;
    this.#total += weight;
  }

  /** The latency below which a share `q` lies; `NaN` of none. */
  quantile(q: number): number {
    let left = q * this.#total;
    for (const [index, weight] of this.#weights.entries()) {
      left -= weight;
      if (left < 0) return SMALLEST_MS * STEP ** index;
    }
    return Number.NaN;
  }
}
