import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { eventually } from './eventually.js';

/** One line of the daemon's log. */
export type LogLine = { level: number; msg: string; time: string; [key: string]: unknown };

/** A daemon in a process of its own, as users run it. */
export interface TestDaemon {
  readonly child: ChildProcess;
  readonly url: string;
  readonly lines: LogLine[];
  /** Everything that was written to stderr. */
  stderr(): string;
  /** Asks until `/health` says 200. */
  ready(timeoutMs?: number): Promise<void>;
  get<T>(path: string): Promise<{ status: number; headers: Headers; body: T }>;
  post<T>(
    path: string,
    body: unknown,
    headers?: Record<string, string>,
  ): Promise<{ status: number; headers: Headers; body: T }>;
  /** Sends a signal and waits for the end. */
  stop(signal?: NodeJS.Signals): Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
}

/** How long the log may lag behind `/health`; a daemon that logs nothing of the kind is not waited for longer. */
const LOG_WAIT_MS = 300;

/** How the compiled program is started. */
export const PROGRAM = ['dist/main.js', 'serve'];

/** How a daemon is started. */
export interface SpawnOptions {
  /** Instead of {@link PROGRAM}; it leads a group of its own, with which a tool ends what it started. */
  readonly command?: readonly string[];
  readonly cwd?: string;
  /** Gets the process before anything is known of it, so that it is ended whatever happens. */
  readonly onSpawn?: (child: ChildProcess) => void;
}

/** Starts the compiled daemon on a free port with the given environment, and resolves once it listens. */
export async function spawnDaemon(
  env: Readonly<Record<string, string>>,
  options: SpawnOptions = {},
): Promise<TestDaemon> {
  const [command = process.execPath, ...args] = options.command ?? [process.execPath, ...PROGRAM];
  const child = spawn(command, args, {
    env: { PATH: process.env.PATH, HOME: process.env.HOME, PORT: '0', HOST: '127.0.0.1', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: options.command !== undefined,
    ...(options.cwd && { cwd: options.cwd }),
  });
  options.onSpawn?.(child);
  const lines: LogLine[] = [];
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  const reader = createInterface({ input: child.stdout });
  const url = await new Promise<string>((resolve, reject) => {
    reader.on('line', (text) => {
      let line: LogLine;
      try {
        line = JSON.parse(text);
      } catch {
        return reject(new Error(`not JSON on stdout: ${text}`));
      }
      lines.push(line);
      if (line.msg === 'listening' && typeof line.url === 'string') resolve(line.url);
    });
    child.once('exit', (code, signal) => reject(new Error(`ended with ${code ?? signal}: ${stderr}`)));
  });

  const call = async <T>(path: string, init: RequestInit) => {
    const response = await fetch(url + path, init);
    return { status: response.status, headers: response.headers, body: (await response.json()) as T };
  };
  return {
    child,
    url,
    lines,
    stderr: () => stderr,
    async ready(timeoutMs = 60_000) {
      const isReady = async (): Promise<void> => {
        const { status, body } = await call('/health', {});
        if (status !== 200) throw new Error(`not ready: ${JSON.stringify(body)}\n${stderr}`);
      };
      await eventually(isReady, { within: timeoutMs, every: 20 });
      // The log is written a little after the fact, and tests read it. It may be off.
      const isLogged = (): void => {
        if (!lines.some(({ msg }) => msg === 'ready')) throw new Error('not logged');
      };
      await eventually(isLogged, { within: LOG_WAIT_MS }).catch(() => undefined);
    },
    get: (path) => call(path, {}),
    post: (path, body, headers = {}) =>
      call(path, {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...headers },
        body: typeof body === 'string' ? body : JSON.stringify(body),
      }),
    async stop(signal = 'SIGTERM') {
      if (child.exitCode === null && child.signalCode === null) {
        const ended = once(child, 'exit');
        child.kill(signal);
        await ended;
      }
      return { code: child.exitCode, signal: child.signalCode };
    },
  };
}
