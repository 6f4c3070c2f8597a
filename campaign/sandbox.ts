import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Manifest } from '../src/cache/manifest.js';
import { type SpawnOptions, spawnDaemon, type TestDaemon } from '../test/support/daemon-process.js';
import { Origin } from '../test/support/origin.js';
import { type Golden, Load } from './load.js';

/** How a program ended, and what it said. */
export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** One worker, no network, and no verification by the clock unless a row asks for it. */
const QUIET_ENV = {
  HF_HUB_OFFLINE: '1',
  VERIFY_CRON: '0 0 29 2 *',
  INFERENCE_WORKERS: '1',
  // The load asks the same texts again and again, and each answer is to need a worker.
  EMBEDDING_CACHE_BYTES: '0',
};

/** Every process of the campaign: none may outlive it, not even when it is ended in the middle. */
const living = new Set<number>();
process.on('exit', () => {
  for (const pid of living) kill(pid, 'SIGKILL');
});

/** The folders, processes and servers of one row; all of them go away with it. */
export class Sandbox {
  /** A volume with the whole model and its vectors on it, to be copied. */
  readonly #template: string;
  readonly golden: readonly Golden[];
  readonly #folders: string[] = [];
  readonly #children: ChildProcess[] = [];
  /** Daemons below a tool that started them: process id → when the kernel started it. */
  readonly #below = new Map<number, string>();
  readonly #origins: Origin[] = [];

  constructor(template: string, golden: readonly Golden[]) {
    this.#template = template;
    this.golden = golden;
  }

  async folder(): Promise<string> {
    const folder = await mkdtemp(join(tmpdir(), 'ai-router-campaign-'));
    this.#folders.push(folder);
    return folder;
  }

  /** A volume as a daemon left it that has served. */
  async filledVolume(): Promise<string> {
    const volume = join(await this.folder(), 'volume');
    await cp(this.#template, volume, { recursive: true, mode: 2 });
    return volume;
  }

  /** Copies the filled volume into a folder that is there already, such as a mount. */
  async fill(volume: string): Promise<void> {
    await cp(this.#template, volume, { recursive: true, force: true });
  }

  async manifestFile({ digest: _, ...manifest }: Manifest): Promise<string> {
    const file = join(await this.folder(), 'manifest.json');
    await writeFile(file, JSON.stringify(manifest));
    return file;
  }

  /** A real daemon; it listens when this resolves. */
  async daemon(env: Readonly<Record<string, string>>, options: SpawnOptions = {}): Promise<TestDaemon> {
    const daemon = await spawnDaemon(
      { ...QUIET_ENV, ...env },
      { ...options, onSpawn: (child) => this.own(child) },
    );
    const pid = pidOf(daemon);
    if (pid !== daemon.child.pid) this.#below.set(pid, startOf(pid));
    return daemon;
  }

  /** Puts a daemon under constant load. */
  load(daemon: TestDaemon): Load {
    return new Load(daemon.url, this.golden);
  }

  /** Starts a program, by default one of the compiled program's commands. */
  start(
    args: readonly string[],
    env: Readonly<Record<string, string>>,
    command = [process.execPath, 'dist/main.js'],
  ) {
    const [file = '', ...first] = command;
    const child = spawn(file, [...first, ...args], {
      env: { PATH: process.env.PATH, HOME: process.env.HOME, HF_HUB_OFFLINE: '1', ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.own(child);
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    const ended = once(child, 'close').then(
      (): Ended => ({ code: child.exitCode, signal: child.signalCode, stdout, stderr }),
    );
    return { child, ended };
  }

  /** Runs one of the compiled program's commands to its end. */
  run(args: readonly string[], env: Readonly<Record<string, string>>, command?: string[]): Promise<Ended> {
    return this.start(args, env, command).ended;
  }

  async origin(options: Parameters<typeof Origin.start>[0] = {}): Promise<Origin> {
    const origin = await Origin.start(options);
    this.#origins.push(origin);
    return origin;
  }

  /** Lets a process end with the row. */
  own(child: ChildProcess): void {
    this.#children.push(child);
    const { pid } = child;
    if (pid === undefined) return;
    living.add(pid);
    child.once('exit', () => living.delete(pid));
  }

  /** Ends every process and removes every folder. */
  async close(): Promise<void> {
    // A number may long be another process's: they wrap around after some ten thousand starts.
    for (const [pid, start] of this.#below) if (start !== '' && startOf(pid) === start) kill(pid, 'SIGKILL');
    for (const child of this.#children) child.kill('SIGKILL');
    await Promise.all(this.#origins.map((origin) => origin.close()));
    await Promise.all(
      this.#folders.map((folder) => rm(folder, { recursive: true, force: true, maxRetries: 5 })),
    );
  }
}

/** The daemon's own process: what was started may be a tool that started it. */
export function pidOf({ lines, child }: TestDaemon): number {
  return Number(lines.find(({ msg }) => msg === 'listening')?.pid ?? child.pid);
}

/** When the kernel started a process, in its clock ticks; empty where there is none. */
function startOf(pid: number): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? '';
  } catch {
    return '';
  }
}

/** Sends a signal, if there is anybody to get it. */
export function kill(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It has ended.
  }
}
