import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import type { CycleResult, CycleTask } from './cycle.js';

/** What became of one cycle; `error` says how it ended badly. */
export type Outcome = CycleResult | { readonly error: string };

/** A way in which workers live. */
export interface Lives {
  /** Runs these cycles at the same time. */
  run(tasks: readonly CycleTask[]): Promise<Outcome[]>;
  close(): Promise<void>;
}

const HUNG_AFTER_MS = 120_000;

/** Every cycle is a process. @param compiled folder of the compiled cycle */
export function asProcesses(compiled: string): Lives {
  return {
    run: (tasks) =>
      Promise.all(
        tasks.map(async (task) => {
          const child = start(join(compiled, 'runtime/cycle.js'), [JSON.stringify(task)]);
          let answer: CycleResult | undefined;
          child.once('message', (message) => {
            answer = message as CycleResult;
          });
          const end = await within(child, endOf(child));
          if (end === 'code 0' && answer) return answer;
          return { error: answer ? `${end} after its answer` : end };
        }),
      ),
    close: async () => {},
  };
}

/**
 * Every cycle is a thread of one host process. When that dies, its cycles have failed, and a new one takes over.
 * @param stay whether one more thread loads the runtime's library first and keeps it loaded
 */
export function asThreads(compiled: string, stay: boolean): Lives {
  let host: { readonly child: ChildProcess; readonly end: Promise<string> } | undefined;
  return {
    async run(tasks) {
      if (!host) {
        const child = start(join(compiled, 'runtime/thread-host.js'), []);
        host = { child, end: endOf(child) };
      }
      const { child, end } = host;
      const answer = new Promise<Outcome[]>((resolve) => {
        child.once('message', (message) => resolve(message as Outcome[]));
      });
      child.send({ tasks, stay });
      const result = await within(child, Promise.race([answer, end]));
      if (typeof result !== 'string') return result;
      host = undefined;
      return tasks.map(() => ({ error: `host process: ${result}` }));
    },
    async close() {
      host?.child.disconnect();
      await host?.end;
    },
  };
}

function start(file: string, args: readonly string[]): ChildProcess {
  return fork(file, args, { stdio: ['ignore', 'ignore', 'ignore', 'ipc'] });
}

async function endOf(child: ChildProcess): Promise<string> {
  const [code, signal] = (await once(child, 'exit')) as [number | null, string | null];
  return signal ?? `code ${code}`;
}

/** Ends a process that does not answer, which then counts as crashed with SIGKILL. */
async function within<T>(child: ChildProcess, work: Promise<T>): Promise<T> {
  const timer = setTimeout(() => child.kill('SIGKILL'), HUNG_AFTER_MS);
  try {
    return await work;
  } finally {
    clearTimeout(timer);
  }
}
