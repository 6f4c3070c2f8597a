import { type ChildProcess, fork } from 'node:child_process';
import { setPriority } from 'node:os';
import { answerOf } from '../bench/answer-of.js';
import { cpuTimeOf } from '../bench/cpu-time.js';
import type { Sandbox } from '../campaign/sandbox.js';
import type { CrowdWork } from './crowd-process.js';

/** What a crowd is told to do. */
export interface CrowdTask {
  readonly id: number;
  readonly work: keyof CrowdWork;
  readonly args: readonly unknown[];
}

/** What came of it. */
export interface CrowdReport {
  readonly id: number;
  readonly result?: unknown;
  /** Why it failed, if it did. */
  readonly error?: string;
}

/**
 * Clients in a process of their own. What they cost it is in nobody's latencies but theirs: those of others are
 * measured elsewhere.
 */
export class Crowd {
  readonly #child: ChildProcess;
  readonly #tasks = new Map<number, { resolve(result: unknown): void; reject(error: Error): void }>();
  #told = 0;

  private constructor(child: ChildProcess) {
    this.#child = child;
    child.on('message', ({ id, result, error }: CrowdReport) => {
      const task = this.#tasks.get(id);
      this.#tasks.delete(id);
      if (error === undefined) task?.resolve(result);
      else task?.reject(new Error(error));
    });
    child.once('exit', (code, signal) => {
      for (const { reject } of this.#tasks.values()) reject(new Error(`the crowd ended: ${signal ?? code}`));
    });
  }

  /**
   * Starts a crowd, which ends with its sandbox.
   * @param niceness above 0 leaves the processor to the daemon, as clients do that have a machine of their own
   */
  static async start(sandbox: Sandbox, niceness = 0): Promise<Crowd> {
    const child = fork('abuse/crowd-process.ts', {
      execArgv: ['--import', 'tsx'],
      serialization: 'advanced',
    });
    sandbox.own(child);
    await answerOf(child, 'the crowd');
    if (niceness > 0 && child.pid !== undefined) setPriority(child.pid, niceness);
    return new Crowd(child);
  }

  /** Processor time that it has taken so far, in milliseconds. */
  get cpuMs(): number {
    return cpuTimeOf(this.#child.pid ?? 0);
  }

  /** Lets it do something, beside whatever else it does. */
  do<Name extends keyof CrowdWork>(
    work: Name,
    ...args: Parameters<CrowdWork[Name]>
  ): ReturnType<CrowdWork[Name]> {
    this.#told += 1;
    const task: CrowdTask = { id: this.#told, work, args };
    const done = new Promise((resolve, reject) => {
      this.#tasks.set(task.id, { resolve, reject });
      this.#child.send(task, (error) => error && reject(error));
    });
    return done as ReturnType<CrowdWork[Name]>;
  }
}
