import { messageOf } from '../src/shared/errors.js';
import type { Random } from './random.js';
import type { Sandbox } from './sandbox.js';
import { has, type Tool } from './tools.js';

/** What a row came to. */
export interface Verdict {
  readonly row: number;
  readonly fault: string;
  readonly tried: number;
  readonly survived: number;
  readonly healMs: readonly number[];
  readonly sent: number;
  readonly failed: number;
  /** The most bytes that any injection left on a volume beyond what belongs there. */
  readonly leftBytes: number;
  /** What fell short, in words; empty when the row passed. */
  readonly shortfalls: readonly string[];
  /** Injectors that this machine does not have. */
  readonly skipped: readonly string[];
  readonly notes: readonly string[];
  readonly ms: number;
}

/** Told while a row runs. */
export interface TrialListener {
  onProgress(tried: number, survived: number): void;
  onShortfall(shortfall: string): void;
}

/** One row under test: what it may use, and where it writes down what happened. */
export class Trial {
  readonly short: boolean;
  readonly random: Random;
  readonly sandbox: Sandbox;
  #tried = 0;
  #survived = 0;
  #sent = 0;
  #failed = 0;
  #leftBytes = 0;
  readonly #healMs: number[] = [];
  readonly #shortfalls: string[] = [];
  readonly #skipped: string[] = [];
  readonly #notes: string[] = [];
  readonly #startedAt = performance.now();

  readonly #onShortfall: (shortfall: string) => void;
  readonly #onProgress: (tried: number, survived: number) => void;

  constructor(short: boolean, random: Random, sandbox: Sandbox, { onProgress, onShortfall }: TrialListener) {
    this.#onShortfall = onShortfall;
    this.#onProgress = onProgress;
    this.short = short;
    this.random = random;
    this.sandbox = sandbox;
  }

  /** One injection: whatever `work` throws is how it was not survived. */
  async attempt(what: string, work: () => Promise<void>): Promise<void> {
    this.#tried += 1;
    try {
      await work();
      this.#survived += 1;
    } catch (error) {
      const shortfall = `${what}: ${messageOf(error)}`;
      this.#shortfalls.push(shortfall);
      this.#onShortfall(shortfall);
    }
    // Of those that are over: others may be under way beside them.
    const over = this.#survived + this.#shortfalls.length;
    if (over % 100 === 0) this.#onProgress(over, this.#survived);
  }

  /** Says how far a row is whose injections are told by {@link tally} at its end. */
  progress(survived: number): void {
    this.#onProgress(survived, survived);
  }

  /** Many injections at once, of which those failed that are told. */
  tally(tried: number, shortfalls: readonly string[]): void {
    this.#tried += tried;
    this.#survived += tried - shortfalls.length;
    this.#shortfalls.push(...shortfalls);
    for (const shortfall of shortfalls) this.#onShortfall(shortfall);
  }

  /** Says aloud that something was not tried. */
  skip(what: string): void {
    this.#skipped.push(what);
  }

  /** The same as {@link attempt}, where the machine has what it takes; otherwise says aloud that it was skipped. */
  async attemptWith(tools: readonly Tool[], what: string, work: () => Promise<void>): Promise<void> {
    if (!this.#skips(tools, what)) await this.attempt(what, work);
  }

  /** Whether the machine lacks what the whole row takes; if so, says aloud that it is skipped. */
  lacks(...tools: readonly Tool[]): boolean {
    return this.#skips(tools, 'the whole row');
  }

  #skips(tools: readonly Tool[], what: string): boolean {
    const lacking = tools.filter((tool) => !has(tool));
    if (lacking.length === 0) return false;
    this.skip(`${what}: no ${lacking.join(', no ')}`);
    return true;
  }

  healed(ms: number): void {
    this.#healMs.push(ms);
  }

  /** Counts requests; a failed one is a shortfall unless the fault excuses it. */
  requests({ sent, failed, faults }: { sent: number; failed: number; faults: readonly string[] }): void {
    this.#sent += sent;
    this.#failed += failed;
    if (failed > 0) throw new Error(`${failed} of ${sent} requests failed: ${faults.slice(0, 3).join('; ')}`);
  }

  left(bytes: number): void {
    this.#leftBytes = Math.max(this.#leftBytes, bytes);
  }

  note(text: string): void {
    this.#notes.push(text);
  }

  verdict(row: number, fault: string): Verdict {
    return {
      row,
      fault,
      tried: this.#tried,
      survived: this.#survived,
      healMs: this.#healMs,
      sent: this.#sent,
      failed: this.#failed,
      leftBytes: this.#leftBytes,
      shortfalls: this.#tried + this.#skipped.length === 0 ? ['nothing was tried'] : this.#shortfalls,
      skipped: this.#skipped,
      notes: this.#notes,
      ms: performance.now() - this.#startedAt,
    };
  }
}

/** @throws Error with `what`, unless `condition` holds */
export function check(condition: boolean, what: string | (() => string)): asserts condition {
  if (!condition) throw new Error(typeof what === 'string' ? what : what());
}
