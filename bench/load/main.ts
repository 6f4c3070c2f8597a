/**
 * Requests per second and latency under load, side by side in one run: the raw limit of the machine (sessions
 * without tokenizer and HTTP), a naive server, and the daemon. Rounds alternate; ratios are taken within a round.
 * `npm run bench [-- --rounds 3 --seconds 4 --json]` after `npm run build`.
 */
import { type ChildProcess, fork, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { availableParallelism, cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import autocannon from 'autocannon';
import { textOf } from './texts.js';

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '3' },
    seconds: { type: 'string', default: '4' },
    json: { type: 'boolean', default: false },
  },
});
const rounds = Number(values.rounds);
const seconds = Number(values.seconds);
const cores = availableParallelism();
const CONNECTIONS = [1, 8, 32] as const;

interface Load {
  readonly rate: number;
  readonly p50: number;
  readonly p99: number;
}

let nextText = 0;

/** Closed-loop load with texts that nobody has seen yet (or always the same one). */
async function load(url: string, connections: number, repeated = false): Promise<Load> {
  const result = await autocannon({
    url: `${url}/classify`,
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    connections,
    duration: seconds,
    requests: [
      {
        setupRequest: (request) => {
          const text = textOf(repeated ? 0 : nextText);
          nextText += 1;
          return { ...request, body: JSON.stringify({ text }) };
        },
      },
    ],
  });
  if (result.non2xx > 0 || result.errors > 0)
    throw new Error(`${result.non2xx} refusals, ${result.errors} errors`);
  return { rate: result.requests.average, p50: result.latency.p50, p99: result.latency.p99 };
}

/** p99 of `/health`, asked 50 times a second beside the load that runs meanwhile. */
async function health(url: string): Promise<number> {
  const result = await autocannon({
    url: `${url}/health`,
    connections: 1,
    overallRate: 50,
    duration: seconds,
  });
  return result.latency.p99;
}

async function ready(child: ChildProcess): Promise<ChildProcess> {
  await once(child, 'message');
  return child;
}

/** Texts per second of one process per core, or the median of one process with all cores. */
async function raw(threads: number, processes: number): Promise<{ rate: number; p50: number }> {
  const workers = await Promise.all(
    Array.from({ length: processes }, (_, index) =>
      ready(
        fork('bench/load/raw-worker.ts', [String(index * 2_000), String(threads)], {
          execArgv: ['--import', 'tsx'],
        }),
      ),
    ),
  );
  const answers = await Promise.all(
    workers.map(async (worker) => {
      const answer = once(worker, 'message');
      worker.send({ durationMs: seconds * 1_000 });
      const [message] = (await answer) as [{ count: number; p50: number }];
      worker.disconnect();
      return message;
    }),
  );
  const count = answers.reduce((sum, answer) => sum + answer.count, 0);
  return { rate: count / seconds, p50: answers[0]?.p50 ?? Number.NaN };
}

const volume = await mkdtemp(join(tmpdir(), 'ai-router-bench-'));
const daemon = { port: 21_000 + (process.pid % 1_000), child: undefined as ChildProcess | undefined };
const naive = { port: daemon.port + 1_000, child: undefined as ChildProcess | undefined };

async function startDaemon(): Promise<string> {
  const url = `http://127.0.0.1:${daemon.port}`;
  daemon.child = spawn(process.execPath, ['dist/main.js', 'serve'], {
    env: {
      PATH: process.env.PATH,
      PORT: String(daemon.port),
      HOST: '127.0.0.1',
      MODEL_CACHE_DIR: volume,
      HF_HUB_OFFLINE: '1',
      LOG_LEVEL: 'warn',
    },
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  while (
    !(await fetch(`${url}/health`).then(
      (response) => response.ok,
      () => false,
    ))
  )
    await sleep(20);
  return url;
}

async function startNaive(): Promise<string> {
  naive.child = await ready(
    fork('bench/load/naive.ts', {
      execArgv: ['--import', 'tsx'],
      env: { ...process.env, PORT: String(naive.port) },
    }),
  );
  return `http://127.0.0.1:${naive.port}`;
}

const samples = new Map<string, number[]>();
function note(name: string, value: number): void {
  samples.set(name, [...(samples.get(name) ?? []), value]);
}

try {
  const urls = { daemon: await startDaemon(), naive: await startNaive() };
  await Promise.all([load(urls.daemon, 8), load(urls.naive, 2)]);
  for (let round = 0; round < rounds; round += 1) {
    const limit = await raw(1, cores);
    const lone = await raw(cores, 1);
    note('raw limit, texts/s', limit.rate);
    note('raw forward pass with all cores, p50 ms', lone.p50);
    for (const connections of CONNECTIONS) {
      const plain = await load(urls.naive, connections);
      const [ours, healthP99] = await Promise.all([
        load(urls.daemon, connections),
        connections === 32 ? health(urls.daemon) : Promise.resolve(Number.NaN),
      ]);
      note(`naive, ${connections} connections, req/s`, plain.rate);
      note(`daemon, ${connections} connections, req/s`, ours.rate);
      note(`daemon, ${connections} connections, p50 ms`, ours.p50);
      note(`daemon, ${connections} connections, p99 ms`, ours.p99);
      note(`daemon ÷ naive, ${connections} connections`, ours.rate / plain.rate);
      note(`daemon ÷ raw limit, ${connections} connections`, ours.rate / limit.rate);
      if (connections === 1) note('daemon p50 ÷ raw pass with all cores', ours.p50 / lone.p50);
      if (connections === 32) note('/health beside 32 connections, p99 ms', healthP99);
    }
    const repeated = await load(urls.daemon, 32, true);
    note('daemon, one text again and again, req/s', repeated.rate);
    note(
      'repeated ÷ unique, 32 connections',
      repeated.rate / (samples.get('daemon, 32 connections, req/s')?.at(-1) ?? 1),
    );
  }
} finally {
  daemon.child?.kill('SIGTERM');
  if (naive.child?.connected) naive.child.disconnect();
  await rm(volume, { recursive: true, force: true });
}

const rows = [...samples].map(([name, all]) => {
  const sorted = [...all].sort((a, b) => a - b);
  return {
    name,
    median: sorted[Math.floor(sorted.length / 2)] ?? 0,
    min: sorted[0] ?? 0,
    max: sorted.at(-1) ?? 0,
  };
});
const machine = `${cpus()[0]?.model}, ${cores} cores, Node ${process.version}, ${rounds} rounds of ${seconds} s`;
const table = rows
  .map(
    ({ name, ...row }) =>
      `${name.padEnd(46)}${[row.median, row.min, row.max].map((value) => value.toFixed(2).padStart(10)).join('')}`,
  )
  .join('\n');
process.stdout.write(
  values.json
    ? `${JSON.stringify({ machine, rows })}\n`
    : `${machine}\n${''.padEnd(46)}${['median', 'min', 'max'].map((name) => name.padStart(10)).join('')}\n${table}\n`,
);
