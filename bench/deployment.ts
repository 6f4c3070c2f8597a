import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';

/** A daemon under measurement. */
export interface Deployment {
  readonly child: ChildProcess;
  /**
   * From the start of the process to the first 200 of `/health`, in milliseconds; waits for it. `undefined` when the
   * time is over, or when the daemon says that no source delivers.
   */
  ready(timeoutMs: number): Promise<number | undefined>;
  /** What the first worker took to get the model's bytes and to make session and tokenizer of them, in milliseconds. */
  loadMs(): Promise<number>;
  /** One classification over HTTP, in milliseconds. */
  classify(text: string): Promise<number>;
  kill(): Promise<void>;
}

interface Line {
  readonly msg: string;
  readonly url?: string;
  readonly modelMs?: number;
}

/** Starts the compiled daemon with these settings. */
export function deploy(env: Readonly<Record<string, string>>): Deployment {
  const began = performance.now();
  const child = spawn(process.execPath, ['dist/main.js', 'serve'], {
    env: { PATH: process.env.PATH, PORT: '0', HOST: '127.0.0.1', LOG_FORMAT: 'json', ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let loadMs: number | undefined;
  const ended = once(child, 'exit');
  const listening = new Promise<string>((resolve) => {
    createInterface({ input: child.stdout }).on('line', (text) => {
      const line = JSON.parse(text) as Line;
      loadMs ??= line.modelMs;
      if (line.msg === 'listening' && line.url) resolve(line.url);
    });
  });
  return {
    child,
    async ready(timeoutMs) {
      const url = await listening;
      while (performance.now() - began < timeoutMs) {
        const response = await fetch(`${url}/health`);
        if (response.ok) return performance.now() - began;
        const { checks } = (await response.json()) as { checks?: { cache?: { code?: string } } };
        if (checks?.cache?.code === 'sources_exhausted') return undefined;
        await sleep(5);
      }
      return undefined;
    },
    async loadMs() {
      // The log is written a little after the fact.
      while (loadMs === undefined) await sleep(5);
      return loadMs;
    },
    async classify(text) {
      const started = performance.now();
      const response = await fetch(`${await listening}/classify`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ text }),
      });
      await response.arrayBuffer();
      if (!response.ok) throw new Error(`classify answered ${response.status}`);
      return performance.now() - started;
    },
    async kill() {
      if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL');
      await ended;
    },
  };
}

/** Runs a command of the program to its end. */
export async function command(args: readonly string[], env: Readonly<Record<string, string>>): Promise<void> {
  const child = spawn(process.execPath, ['dist/main.js', ...args], {
    env: { PATH: process.env.PATH, ...env },
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const [code] = await once(child, 'exit');
  if (code !== 0) throw new Error(`${args.join(' ')} ended with ${code}`);
}
