import type { Trial } from './trial.js';

/** One row of a catalogue of faults. */
export interface Row {
  readonly number: number;
  readonly fault: string;
  /** Whether it takes much longer than the others. */
  readonly long?: true;
  /** Injects the fault in every way that it knows, and lets the trial know what came of it. */
  run(trial: Trial): Promise<void>;
}
