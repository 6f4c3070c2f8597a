import type { ChildProcess } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { availableParallelism, cpus, release, tmpdir, totalmem } from 'node:os';
import { join, resolve } from 'node:path';
import { commandLine } from '../scripts/command-line.js';
import { spawnDaemon, type TestDaemon } from '../test/support/daemon-process.js';
import { eventually } from '../test/support/eventually.js';
import { freshText } from '../test/support/load.js';
import { median } from '../test/support/stats.js';

/** A built checkout under measurement. */
export interface Checkout {
  readonly name: 'this' | 'other';
  readonly folder: string;
}

/** The arguments of a benchmark, and the checkouts that it measures in turns. */
export function benchArguments(
  help: string,
  rounds: number,
): {
  readonly checkouts: readonly Checkout[];
  readonly rounds: number;
} {
  const { values } = commandLine(help, {
    options: { against: { type: 'string' }, rounds: { type: 'string' } },
  });
  const other =
    values.against === undefined ? [] : [{ name: 'other' as const, folder: resolve(values.against) }];
  return {
    checkouts: [{ name: 'this', folder: process.cwd() }, ...other],
    rounds: Number(values.rounds ?? rounds),
  };
}

const running = new Set<ChildProcess>();
/** Ends a process with the benchmark, also when that fails. */
export function own(child: ChildProcess): void {
  running.add(child);
  child.once('exit', () => running.delete(child));
}
process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

/** Starts the compiled daemon of a checkout. */
export function start({ folder }: Checkout, env: Readonly<Record<string, string>>): Promise<TestDaemon> {
  return spawnDaemon({ HF_HUB_OFFLINE: '1', LOG_FORMAT: 'json', ...env }, { cwd: folder, onSpawn: own });
}

/** Starts a daemon and measures, in milliseconds, until `/health` says 200. */
export async function startTimed(
  checkout: Checkout,
  env: Readonly<Record<string, string>>,
  within = 60_000,
): Promise<{ readonly daemon: TestDaemon; readonly readyMs: number }> {
  const began = performance.now();
  const daemon = await start(checkout, env);
  await eventually(
    async () => {
      const { ok, status } = await fetch(`${daemon.url}/health`);
      if (!ok) throw new Error(`/health says ${status}`);
    },
    { within, every: 5 },
  );
  return { daemon, readyMs: performance.now() - began };
}

/** Runs `work` with an empty folder that goes away afterwards. */
export async function withFolder<T>(work: (folder: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'ai-router-bench-'));
  try {
    return await work(folder);
  } finally {
    await rm(folder, { recursive: true, force: true, maxRetries: 5 });
  }
}

/** Writes a route set of 150 routes with 10 utterances each, and returns its path. */
export async function writeRoutes(folder: string): Promise<string> {
  const routes = Array.from({ length: 150 }, (_, route) => ({
    name: `route_${route}`,
    utterances: Array.from({ length: 10 }, freshText),
  }));
  const path = join(folder, 'routes.json');
  await writeFile(path, JSON.stringify({ routes }));
  return path;
}

/** A bound of a figure's median, or of the median ratio to the other checkout's. */
export interface Goal {
  readonly of: 'value' | 'ratio';
  readonly atMost?: number;
  readonly atLeast?: number;
}

/** Figures by name and checkout, one for each round. */
export class Samples {
  readonly #all = new Map<string, Record<Checkout['name'], number[]>>();
  readonly #goals = new Map<string, Goal>();

  note(name: string, { name: of }: Checkout, value: number, goal?: Goal): void {
    const known = this.#all.get(name) ?? { this: [], other: [] };
    known[of].push(value);
    this.#all.set(name, known);
    if (goal) this.#goals.set(name, goal);
  }

  /** Prints the machine, medians and ranges, the median and range of the ratios of the rounds, and the goals. */
  print(rounds: number): void {
    const memory = Math.round(totalmem() / 1e9);
    const machine = `${cpus()[0]?.model.trim()}, ${availableParallelism()} cores, ${memory} GB, Linux ${release()}`;
    const lines = [
      `${machine}, Node ${process.version}, ${rounds} rounds: median (min to max)`,
      '',
      '| figure | this | other | this ÷ other | goal |',
      '|---|---:|---:|---:|---:|',
    ];
    for (const [name, { this: ours, other }] of this.#all) {
      const ratios = ours.map((value, round) => value / (other[round] ?? Number.NaN));
      const compared = other.length > 0 ? [spread(other), spread(ratios)] : ['', ''];
      const goal = this.#goals.get(name);
      const judged = goal?.of === 'ratio' ? ratios : ours;
      lines.push(
        `| ${[name, spread(ours), ...compared, goal ? verdict(goal, median(judged)) : ''].join(' | ')} |`,
      );
    }
    process.stdout.write(`${lines.join('\n')}\n`);
  }
}

function verdict({ of, atMost, atLeast }: Goal, value: number): string {
  const unit = of === 'ratio' ? ' ×' : '';
  const bound = atLeast === undefined ? `≤ ${atMost}${unit}` : `≥ ${atLeast}${unit}`;
  if (Number.isNaN(value)) return bound;
  const isMet =
    value >= (atLeast ?? Number.NEGATIVE_INFINITY) && value <= (atMost ?? Number.POSITIVE_INFINITY);
  return `${bound}: ${isMet ? 'met' : 'missed'}`;
}

function spread(values: readonly number[]): string {
  return `${figure(median(values))} (${figure(Math.min(...values))} to ${figure(Math.max(...values))})`;
}

function figure(value: number): string {
  return value.toFixed(Math.abs(value) < 10 ? 2 : Math.abs(value) < 100 ? 1 : 0);
}
