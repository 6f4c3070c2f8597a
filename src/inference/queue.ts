import type { AppError } from '../shared/errors.js';
import type { Embedding } from './embedder.js';
import type { WorkerResult } from './protocol.js';

/** A forward pass costs about as much as this many tokens before the first of them. */
const TOKENS_PER_PASS = 5;
/** Characters of a token in scripts that put spaces between words; in the others a character is a token. */
const CHARS_PER_TOKEN = 4;
const FIRST_UNSPACED = 0x2e80;
/** Work of a short text. */
const SHORT_TEXT_WORK = 16;

/**
 * Estimates the work of a text, in tokens: at most `maxTokens` and the pass itself. Costs nothing, since the tokenizer
 * is in the workers.
 */
export function workOf(text: string, maxTokens: number): number {
  let tokens = 0;
  const end = Math.min(text.length, maxTokens * CHARS_PER_TOKEN);
  for (let index = 0; index < end && tokens < maxTokens; index += 1) {
    tokens += text.charCodeAt(index) >= FIRST_UNSPACED ? 1 : 1 / CHARS_PER_TOKEN;
  }
  return tokens + TOKENS_PER_PASS;
}

/** The pace of this machine before the first text was timed, in milliseconds per unit of work. */
const FIRST_PACE = 0.1;
/** Weight of the newest text in the average. */
const AVERAGE_WEIGHT = 0.02;
/**
 * One text counts as this many times slower than the average at most. A process that was stopped in mid-pass (a paused
 * container, a machine that slept) took hours for a text. Were that learned, every text would be rejected from then
 * on, and none could correct it.
 */
const MAX_SLOWDOWN = 10;

/** Running average of the time that a unit of work takes on this machine. */
export class Pace {
  #msPerUnit = FIRST_PACE;

  /** Learns from a text that was embedded. */
  observe(tokens: number, ms: number): void {
    const msPerUnit = Math.min(ms / (tokens + TOKENS_PER_PASS), MAX_SLOWDOWN * this.#msPerUnit);
    this.#msPerUnit += AVERAGE_WEIGHT * (msPerUnit - this.#msPerUnit);
  }

  /** Estimated time of this much work on one worker, in milliseconds. */
  ms(work: number): number {
    return work * this.#msPerUnit;
  }
}

/** A text on its way to a vector. It settles once; later results are dropped. */
export class Job {
  /** Workers that died or failed while they had this text and no other. */
  attempts = 0;
  /** A worker died while it had this text among others: it is tried alone, which tells whether it is to blame. */
  suspect = false;
  readonly promise: Promise<Embedding>;
  readonly #enqueuedAt = performance.now();
  #settle: { resolve(embedding: Embedding): void; reject(error: AppError): void } | undefined;

  constructor(
    readonly text: string,
    /** See {@link workOf}. */
    readonly work: number,
    readonly client: string,
  ) {
    this.promise = new Promise((resolve, reject) => {
      this.#settle = { resolve, reject };
    });
  }

  get settled(): boolean {
    return this.#settle === undefined;
  }

  resolve(vector: Float32Array, result: Exclude<WorkerResult, { failure: string }>): void {
    const { tokens, truncatedTokens, legibility, tokenizeMs, inferenceMs } = result;
    const queueMs = Math.max(0, performance.now() - this.#enqueuedAt - tokenizeMs - inferenceMs);
    this.#settle?.resolve({
      vector,
      tokens,
      truncatedTokens,
      legibility,
      timing: { queueMs, tokenizeMs, inferenceMs },
    });
    this.#settle = undefined;
  }

  reject(error: AppError): void {
    this.#settle?.reject(error);
    this.#settle = undefined;
  }
}

/** The waiting jobs of one client; never empty. */
interface Lane {
  readonly jobs: Job[];
  work: number;
  /** Work done for this client, on a clock that all clients share. */
  served: number;
}

/**
 * A queue in which clients take turns: the next job is of the client for whom the least work was done while it had
 * something waiting, so that no client waits for all that another one asked for. With one client it is first in, first
 * out.
 */
export class Queue {
  readonly #lanes = new Map<string, Lane>();
  /** Jobs that left the queue already and came back. */
  readonly #returned: Job[] = [];
  /** Work done for each of those who wait. A client that comes anew starts here: idle time earns no credit. */
  #served = 0;
  #size = 0;
  #work = 0;

  get size(): number {
    return this.#size;
  }

  push(job: Job): void {
    let lane = this.#lanes.get(job.client);
    if (!lane) {
      lane = { jobs: [], work: 0, served: this.#served };
      this.#lanes.set(job.client, lane);
    }
    lane.jobs.push(job);
    lane.work += job.work;
    this.#count(job, 1);
  }

  /** Puts jobs back at the head, in their order. */
  unshift(...jobs: readonly Job[]): void {
    this.#returned.unshift(...jobs);
    for (const job of jobs) this.#count(job, 1);
  }

  /** The next job, which stays; `undefined` when the queue is empty. */
  get first(): Job | undefined {
    return this.#returned[0] ?? this.#next()?.jobs[0];
  }

  /** Takes the next job; `undefined` when the queue is empty. */
  shift(): Job | undefined {
    const lane = this.#returned.length > 0 ? undefined : this.#next();
    const job = lane ? lane.jobs[0] : this.#returned[0];
    if (!job) return undefined;
    if (lane) {
      this.#served = lane.served;
      lane.served += job.work;
    }
    this.remove(job);
    return job;
  }

  /** Takes a job out, wherever it is. Does nothing when it has left already. */
  remove(job: Job): void {
    const lane = this.#lanes.get(job.client);
    if (lane && take(lane.jobs, job)) {
      lane.work -= job.work;
      if (lane.jobs.length === 0) this.#lanes.delete(job.client);
    } else if (!take(this.#returned, job)) {
      return;
    }
    this.#count(job, -1);
  }

  /** Estimates the work that is done before a next job of this client, of which so many short ones are still to come. */
  workBefore(client: string, ahead = 0): number {
    const toCome = ahead * SHORT_TEXT_WORK;
    const own = (this.#lanes.get(client)?.work ?? 0) + toCome;
    return Math.min(this.#work + toCome, (own + SHORT_TEXT_WORK) * this.#clientsWith(client));
  }

  /**
   * Whether one more job of this client may wait where `capacity` may: a full queue takes, up to twice its capacity,
   * those of clients that have less than their share of it.
   * @param ahead jobs of this client that are still to come before it
   */
  hasRoom(client: string, capacity: number, ahead = 0): boolean {
    const size = this.#size + ahead;
    if (size < capacity) return true;
    const own = (this.#lanes.get(client)?.jobs.length ?? 0) + ahead;
    return size < 2 * capacity && own * this.#clientsWith(client) < capacity;
  }

  /** The lane with the least work done; the oldest of several. */
  #next(): Lane | undefined {
    let next: Lane | undefined;
    for (const lane of this.#lanes.values()) if (!next || lane.served < next.served) next = lane;
    return next;
  }

  #clientsWith(client: string): number {
    return this.#lanes.size + (this.#lanes.has(client) ? 0 : 1);
  }

  #count(job: Job, sign: 1 | -1): void {
    this.#size += sign;
    this.#work += sign * job.work;
  }
}

function take(jobs: Job[], job: Job): boolean {
  const index = jobs.indexOf(job);
  if (index >= 0) jobs.splice(index, 1);
  return index >= 0;
}
