import { NICENESS } from '../../src/shared/child.js';

/**
 * The scheduler of the machine on which was measured, Linux 6.18 with two processors (`se.slice` in /proc/self/sched,
 * CONFIG_HZ): a process that runs keeps its core for a slice; after that it is interrupted by one that wakes up, or at a tick.
 */
const SLICE_MS = 1.4;
const TICK_MS = 4;

/** Less than this is no time: more than the error of a sum over a day. */
const SOON_MS = 1e-6;

/** Weights of HTTP processes, proxies and clients, and of workers: a quarter more for each step of niceness. */
const WEIGHTS = [1, 1.25 ** -NICENESS] as const;
type Rank = 0 | 1;

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
      else machine?.proceed();
    }
    if (until !== Number.POSITIVE_INFINITY) this.now = until;
  }

  #fire(timer: Timer): void {
    if (timer.every > 0) timer.at += timer.every;
    else this.#timers.splice(this.#timers.indexOf(timer), 1);
    timer.call(this.now);
  }
}

/** Finished pieces of work that a process remembers before it drops them all at once. */
const MAX_HEAD = 256;

/** One process: it does one piece of work after the other, whenever it has a core. */
export class Process {
  readonly #pieces: { ms: number; readonly done: (now: number) => void }[] = [];
  #head = 0;
  /** Time on a core so far, divided by its weight: who has had less goes first. */
  virtualMs = 0;
  /** On a core, or waiting for one. */
  isAwake = false;

  constructor(
    readonly machine: Machine,
    readonly rank: Rank,
  ) {}

  /** Does `ms` of work after what it has already, and then calls `done`. */
  run(ms: number, done: (now: number) => void): void {
    this.#pieces.push({ ms, done });
    if (!this.isAwake) this.machine.wake(this);
  }

  /** What is left of the piece of work under way. */
  get leftMs(): number {
    return this.#pieces[this.#head]?.ms ?? 0;
  }

  get hasWork(): boolean {
    return this.#head < this.#pieces.length;
  }

  /** By when it should have had another slice. */
  get deadline(): number {
    return this.virtualMs + SLICE_MS / WEIGHTS[this.rank];
  }

  /** Has had a core for `ms`. */
  work(ms: number): void {
    const piece = this.#pieces[this.#head];
    if (piece) piece.ms -= ms;
    this.virtualMs += ms / WEIGHTS[this.rank];
  }

  /** Ends the piece of work under way. */
  finish(now: number): void {
    const ended = this.#pieces[this.#head];
    this.#head += 1;
    if (this.#head === this.#pieces.length || this.#head === MAX_HEAD) {
      this.#pieces.splice(0, this.#head);
      this.#head = 0;
    }
    ended?.done(now);
  }
}

/** A core and who has it. */
interface Core {
  process: Process | undefined;
  /** Since when, and up to when its work is counted. */
  since: number;
  countedTo: number;
  /** Its ticks are at this moment and every {@link TICK_MS}. */
  readonly phase: number;
}

/** Cores that processes share, one process on each at a time. */
export class Machine {
  readonly #cores: readonly Core[];
  readonly #waiting: Process[] = [];
  #busyMs = 0;
  #nextAt = Number.POSITIVE_INFINITY;
  #next: Core | undefined;
  /** Virtual time of the processes that are awake, on average. */
  #virtualMs = 0;

  constructor(
    readonly clock: Clock,
    cores: number,
  ) {
    this.#cores = Array.from({ length: cores }, (_, index) => ({
      process: undefined,
      since: 0,
      countedTo: 0,
      phase: (index * TICK_MS) / cores,
    }));
    clock.machines.add(this);
  }

  /** CPU time used so far, in milliseconds. */
  get busyMs(): number {
    for (const core of this.#cores) this.#count(core);
    return this.#busyMs;
  }

  /** The moment at which a piece of work ends, or a core changes hands, if nothing begins before. */
  get nextAt(): number {
    return this.#nextAt;
  }

  /** Gives a process that has work again a core, or a place in the queue. */
  wake(process: Process): void {
    process.isAwake = true;
    for (const core of this.#cores) this.#count(core);
    // One that slept gets no more than its share for that.
    process.virtualMs = Math.max(process.virtualMs, this.#meanVirtualMs());
    const idle = this.#cores.find((core) => core.process === undefined);
    if (idle) this.#give(idle, process);
    else {
      this.#waiting.push(process);
      const core = this.#cores.reduce((a, b) =>
        (a.process?.virtualMs ?? 0) > (b.process?.virtualMs ?? 0) ? a : b,
      );
      if (this.#isDue(core, process)) this.#yield(core);
    }
    this.#plan();
  }

  /** Does what is due now: ends a piece of work, or interrupts a process at a tick. */
  proceed(): void {
    const core = this.#next;
    const process = core?.process;
    if (!core || !process) return;
    this.#count(core);
    const { now } = this.clock;
    if (process.leftMs <= SOON_MS) {
      process.finish(now);
      if (core.process === process && !process.hasWork) {
        process.isAwake = false;
        this.#give(core, this.#taken());
      }
    } else this.#yield(core);
    this.#plan();
  }

  #count(core: Core): void {
    const ms = this.clock.now - core.countedTo;
    core.countedTo = this.clock.now;
    if (!core.process) return;
    core.process.work(ms);
    this.#busyMs += ms;
  }

  #meanVirtualMs(): number {
    let [sum, count] = [0, 0];
    for (const { process } of this.#cores)
      if (process) {
        sum += process.virtualMs;
        count += 1;
      }
    for (const { virtualMs } of this.#waiting) {
      sum += virtualMs;
      count += 1;
    }
    if (count > 0) this.#virtualMs = sum / count;
    return this.#virtualMs;
  }

  /** Whether a core's process has had its slice, and another one is to have the core. */
  #isDue({ process, since }: Core, other: Process | undefined): boolean {
    if (!process?.hasWork || !other) return false;
    return this.clock.now - since >= SLICE_MS - SOON_MS && other.deadline < process.deadline;
  }

  #yield(core: Core): void {
    const { process } = core;
    const other = this.#first();
    if (!process || !this.#isDue(core, other)) return;
    this.#give(core, this.#taken());
    this.#waiting.push(process);
  }

  #first(): Process | undefined {
    let first: Process | undefined;
    for (const process of this.#waiting) if (!first || process.deadline < first.deadline) first = process;
    return first;
  }

  /** The process that waits with the earliest deadline, out of the queue. */
  #taken(): Process | undefined {
    const first = this.#first();
    if (first) this.#waiting.splice(this.#waiting.indexOf(first), 1);
    return first;
  }

  #give(core: Core, process: Process | undefined): void {
    core.process = process;
    core.since = this.clock.now;
    core.countedTo = this.clock.now;
  }

  #plan(): void {
    this.#next = undefined;
    this.#nextAt = Number.POSITIVE_INFINITY;
    const { now } = this.clock;
    const isCrowded = this.#waiting.length > 0;
    for (const core of this.#cores) {
      if (!core.process) continue;
      let at = core.countedTo + core.process.leftMs;
      if (isCrowded) {
        const from = Math.max(now + SOON_MS, core.since + SLICE_MS);
        at = Math.min(at, Math.ceil((from - core.phase) / TICK_MS) * TICK_MS + core.phase);
      }
      if (at < this.#nextAt) {
        this.#nextAt = at;
        this.#next = core;
      }
    }
  }
}
