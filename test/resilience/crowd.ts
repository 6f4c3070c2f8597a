import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { constants, setPriority } from 'node:os';
import { fileURLToPath } from 'node:url';
import { messageOf } from '../../src/shared/errors.js';
import { closedLoop, openLoop } from '../support/load.js';
import { cpuMsOf } from '../support/processes.js';
import type { Box } from './box.js';
import { bePoliteTogether, beRudeTogether } from './rude.js';

const WORK = { closedLoop, openLoop, bePoliteTogether, beRudeTogether };
type Work = typeof WORK;

interface Task {
  readonly id: number;
  readonly work: keyof Work;
  readonly args: readonly unknown[];
}

interface Report {
  readonly id: number;
  readonly result?: unknown;
  readonly error?: string;
}

/** Clients in a process of their own: their CPU time delays no other client's measurements. */
export class Crowd {
  readonly #child: ChildProcess;
  readonly #pending = new Map<number, { resolve(result: unknown): void; reject(error: Error): void }>();
  #tasks = 0;

  private constructor(child: ChildProcess) {
    this.#child = child;
    child.on('message', ({ id, result, error }: Report) => {
      const task = this.#pending.get(id);
      this.#pending.delete(id);
      if (error === undefined) task?.resolve(result);
      else task?.reject(new Error(error));
    });
    child.once('exit', (code, signal) => {
      for (const { reject } of this.#pending.values())
        reject(new Error(`the crowd ended: ${signal ?? code}`));
    });
  }

  /**
   * Starts a crowd, which ends with its test.
   * @param turn `last`: it leaves the processor to the daemon; `first`: the other way round, where the machine allows it,
   *   so that what it measures is the daemon's time and not its own
   */
  static async start(box: Pick<Box, 'own'>, turn: 'first' | 'usual' | 'last' = 'usual'): Promise<Crowd> {
    const child = fork(fileURLToPath(import.meta.url), {
      execArgv: ['--import', 'tsx'],
      serialization: 'advanced',
      env: { ...process.env, CROWD: '1' },
    });
    box.own(child);
    await once(child, 'message');
    if (turn === 'last') setPriority(child.pid ?? 0, constants.priority.PRIORITY_LOW);
    if (turn === 'first') {
      try {
        setPriority(child.pid ?? 0, constants.priority.PRIORITY_HIGH);
      } catch {
        // Only root may; the clients report how late they were themselves.
      }
    }
    return new Crowd(child);
  }

  /** The process of the clients. */
  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** CPU time used so far, in milliseconds. */
  get cpuMs(): number {
    return cpuMsOf(this.#child.pid ?? 0);
  }

  /** Runs a function of {@link WORK} in the crowd's process. */
  do<Name extends keyof Work>(work: Name, ...args: Parameters<Work[Name]>): ReturnType<Work[Name]> {
    this.#tasks += 1;
    const task: Task = { id: this.#tasks, work, args };
    const done = new Promise((resolve, reject) => {
      this.#pending.set(task.id, { resolve, reject });
      this.#child.send(task, (error) => error && reject(error));
    });
    return done as ReturnType<Work[Name]>;
  }
}

async function report({ id, work, args }: Task): Promise<Report> {
  try {
    // The arguments were checked where they were given.
    return { id, result: await (WORK[work] as (...args: readonly unknown[]) => Promise<unknown>)(...args) };
  } catch (error) {
    return { id, error: messageOf(error) };
  }
}

if (process.env.CROWD === '1') {
  process.on('message', (task: Task) => void report(task).then((done) => process.send?.(done)));
  process.once('disconnect', () => process.exit());
  process.send?.('ready');
}
