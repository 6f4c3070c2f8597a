import { type ChildProcess, fork, spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';

/** A server under measurement. */
export interface Server {
  readonly url: string;
  readonly pid: number;
  /** From the start of the process until it could classify, in milliseconds. */
  readonly readyMs: number;
  stop(): Promise<void>;
}

// Below the ports that systems give to outgoing connections.
let nextPort = 21_000 + (process.pid % 500) * 20;

/**
 * Starts the compiled daemon and waits for 200 of `/health`.
 * @param nodeOptions Node's own, for its process
 */
export async function startDaemon(
  volume: string,
  env: Readonly<Record<string, string>> = {},
  nodeOptions: readonly string[] = [],
): Promise<Server> {
  nextPort += 1;
  const url = `http://127.0.0.1:${nextPort}`;
  const began = performance.now();
  const child = spawn(process.execPath, [...nodeOptions, 'dist/main.js', 'serve'], {
    env: {
      PATH: process.env.PATH,
      PORT: String(nextPort),
      HOST: '127.0.0.1',
      MODEL_CACHE_DIR: volume,
      HF_HUB_OFFLINE: '1',
      LOG_LEVEL: 'warn',
      ...env,
    },
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  while (!(await answers(`${url}/health`))) {
    if (child.exitCode !== null) throw new Error(`the daemon ended with ${child.exitCode}`);
    // Often enough for what is measured in hundreds; each question costs the cores that boot.
    await sleep(5);
  }
  return serverOf(child, url, began);
}

/** The servers that the daemon is compared with. */
export type Yardstick = 'naive' | 'bare' | 'merged';

/** Starts one of them. */
export async function startYardstick(name: Yardstick): Promise<Server> {
  nextPort += 1;
  const began = performance.now();
  const child = fork(`bench/load/${name}.ts`, {
    execArgv: ['--import', 'tsx'],
    env: { ...process.env, PORT: String(nextPort) },
  });
  await once(child, 'message');
  return serverOf(child, `http://127.0.0.1:${nextPort}`, began);
}

/** A bench that fails leaves nobody behind. */
const running = new Set<ChildProcess>();
process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

function serverOf(child: ChildProcess, url: string, began: number): Server {
  const readyMs = performance.now() - began;
  const ended = once(child, 'exit');
  running.add(child);
  child.once('exit', () => running.delete(child));
  return {
    url,
    pid: child.pid ?? 0,
    readyMs,
    async stop() {
      child.kill('SIGTERM');
      await ended;
    },
  };
}

async function answers(url: string): Promise<boolean> {
  try {
    const response = await fetch(url);
    await response.body?.cancel();
    return response.ok;
  } catch {
    return false;
  }
}
