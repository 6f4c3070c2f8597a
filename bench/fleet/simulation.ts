import { BATCH_LIMITS, type BatchLimits, TURN } from '../../src/inference/batches.js';
import { POOL_DEFAULTS } from '../../src/inference/pool.js';
import { Pace } from '../../src/inference/queue.js';
import type { Random } from '../../test/support/random.js';

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
}

/** Limits of a replica: settings of the daemon. */
export interface Limits {
  readonly maxQueue: number;
  readonly maxQueueMs: number;
  /** Each open request has one of them. */
  readonly maxConnections: number;
}

interface Timer {
  at: number;
  readonly every: number;
  readonly call: (now: number) => void;
}

/** The moments at which something happens, in milliseconds from the start, and what happens then. */
export class Clock {
  now = 0;
  readonly machines = new Set<Machine>();
  readonly #timers: Timer[] = [];

  /** Calls `call` at a moment, once. */
  at(moment: number, call: (now: number) => void): void {
    this.#timers.push({ at: moment, every: 0, call });
  }

  /** Calls `call` again and again. */
  every(ms: number, call: (now: number) => void, first = ms): void {
    this.#timers.push({ at: first, every: ms, call });
  }

  /** Forgets all calls. */
  stopTimers(): void {
    this.#timers.length = 0;
  }

  /** Lets things happen in order: until a moment, or without one until nothing is left. */
  run(until = Number.POSITIVE_INFINITY): void {
    for (;;) {
      let at = until;
      let machine: Machine | undefined;
      for (const other of this.machines) {
        if (other.nextAt >= at) continue;
        at = other.nextAt;
        machine = other;
      }
      let timer: Timer | undefined;
      for (const other of this.#timers) {
        if (other.at >= at) continue;
        at = other.at;
        timer = other;
      }
      if (!machine && !timer) break;
      this.now = at;
      if (timer) this.#fire(timer);
      else machine?.finish();
    }
    if (until !== Number.POSITIVE_INFINITY) this.now = until;
  }

  #fire(timer: Timer): void {
    if (timer.every > 0) timer.at += timer.every;
    else this.#timers.splice(this.#timers.indexOf(timer), 1);
    timer.call(this.now);
  }
}

/** Scheduling priority where cores are short: HTTP processes, proxies and clients go before workers, which are niced. */
type Rank = 0 | 1;

/** Finished pieces of work that a process remembers before it drops them all at once. */
const MAX_HEAD = 256;

/** One process: it does one piece of work after the other. */
export class Process {
  readonly #waiting: { readonly ms: number; readonly done: (now: number) => void }[] = [];
  #head = 0;
  /** The moment on the clock of its rank at which the work under way ends. */
  endsAt = 0;
  isRunning = false;

  constructor(
    readonly machine: Machine,
    readonly rank: Rank,
  ) {}

  /** Does `ms` of work after what it has already, and then calls `done`. */
  run(ms: number, done: (now: number) => void): void {
    this.#waiting.push({ ms, done });
    if (!this.isRunning) this.machine.start(this, ms);
  }

  /** Ends the work under way and begins the next. */
  finish(now: number): void {
    const ended = this.#waiting[this.#head];
    this.#head += 1;
    if (this.#head === this.#waiting.length || this.#head === MAX_HEAD) {
      this.#waiting.splice(0, this.#head);
      this.#head = 0;
    }
    const next = this.#waiting[this.#head];
    this.machine.stop(this);
    if (next) this.machine.start(this, next.ms);
    ended?.done(now);
  }
}

/** Cores that processes share: equally within a rank, the lower rank first. A process uses one core at most. */
export class Machine {
  #busyMs = 0;
  #now: number;
  /** Work that a running process of each rank has got so far: its clock. */
  readonly #clocks = [0, 0];
  readonly #running: readonly [Process[], Process[]] = [[], []];
  #next: Process | undefined;
  #nextAt = Number.POSITIVE_INFINITY;

  constructor(
    readonly clock: Clock,
    readonly cores: number,
  ) {
    this.#now = clock.now;
    clock.machines.add(this);
  }

  /** CPU time used so far, in milliseconds. */
  get busyMs(): number {
    this.#advance();
    return this.#busyMs;
  }

  /** The moment at which the next piece of work ends, if none begins before. */
  get nextAt(): number {
    return this.#nextAt;
  }

  start(process: Process, ms: number): void {
    this.#advance();
    process.endsAt = (this.#clocks[process.rank] ?? 0) + ms;
    process.isRunning = true;
    this.#running[process.rank].push(process);
    this.#plan();
  }

  stop(process: Process): void {
    this.#advance();
    process.isRunning = false;
    const running = this.#running[process.rank];
    running.splice(running.indexOf(process), 1);
    this.#plan();
  }

  #advance(): void {
    const passed = this.clock.now - this.#now;
    this.#now = this.clock.now;
    for (const rank of [0, 1] as const) {
      const speed = this.#speed(rank);
      this.#clocks[rank] = (this.#clocks[rank] ?? 0) + speed * passed;
      this.#busyMs += speed * passed * this.#running[rank].length;
    }
  }

  /** Ends the piece of work that is due now. */
  finish(): void {
    this.#next?.finish(this.clock.now);
  }

  #speed(rank: Rank): number {
    const before = rank === 0 ? 0 : this.#running[0].length;
    const own = this.#running[rank].length;
    return own === 0 ? 0 : Math.min(1, Math.max(0, this.cores - before) / own);
  }

  #plan(): void {
    this.#next = undefined;
    this.#nextAt = Number.POSITIVE_INFINITY;
    for (const rank of [0, 1] as const) {
      const speed = this.#speed(rank);
      if (speed === 0) continue;
      for (const process of this.#running[rank]) {
        const at = this.#now + (process.endsAt - (this.#clocks[rank] ?? 0)) / speed;
        if (at < this.#nextAt) {
          this.#nextAt = at;
          this.#next = process;
        }
      }
    }
  }
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
    readonly batch: BatchLimits = BATCH_LIMITS,
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
    this.#http.run(this.#isFull() ? this.costs.refusalMs : this.costs.requestMs / 2, (now) => {
      if (this.#isFull()) settle('refused', now);
      else {
        this.#queue.push(settle);
        this.#feed(now);
      }
    });
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
    const { costs, batch } = this;
    const most = Math.max(1, Math.min(batch.texts, Math.floor(batch.tokens / costs.tokens)));
    const texts = this.#atWorker.splice(0, most);
    this.#state = 'passing';
    this.passes += 1;
    this.texts += texts.length;
    this.#worker.run(costs.passMs + costs.textMs * texts.length, (now) => {
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
      if (isSparse && this.#expected >= TURN.gatheredTexts) this.#gather(now);
      else this.#proceed(now);
    });
  }

  /** `Batcher.sparse`. */
  #isSparse(): boolean {
    const size = this.#atWorker.length;
    return 2 * this.costs.tokens * size < this.batch.tokens && 2 * size < this.batch.texts;
  }

  /** Waits for the next texts of clients that were just answered. */
  #gather(now: number): void {
    this.#state = 'gathering';
    const { passes } = this;
    this.machine.clock.at(now + TURN.gatherMs, (then) => {
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
    this.#http.run(this.costs.messageMs, (then) => {
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
