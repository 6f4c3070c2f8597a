import type { Samples } from '../samples.js';
import type { Server, Yardstick } from './servers.js';

/** What a part of the bench is given. */
export interface Bench {
  readonly samples: Samples;
  /** Of one measurement. */
  readonly seconds: number;
  readonly cores: number;
  readonly memorySeconds: number;
  /** The servers under load, started when a part first asks for them. */
  daemon(): Promise<Server>;
  yardstick(name: Yardstick): Promise<Server>;
  /** A new empty folder, gone when the bench ends. */
  folder(): Promise<string>;
  /** Says aloud what is not measured, and why. */
  skip(what: string): void;
}

/** Measures its figures once; called once per round, in turn with the other parts. */
export type Part = (bench: Bench) => Promise<void>;

/** What a figure should be; `name` is the figure's. */
export interface Goal {
  readonly name: string;
  readonly atLeast?: number;
  readonly atMost?: number;
}
