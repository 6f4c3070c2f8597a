/**
 * Threads or processes, and which version of the runtime? Every candidate lives 500 times: load, embed, end; two at a
 * time. What crashed, hung or computed something else is counted.
 * `npm run bench:runtime [-- --cycles 500 --newer 1.30.0 --out runtime.jsonl --json]`
 *
 * Results are appended to the `--out` file as they come, and a run that was cut short goes on where it stopped.
 */
import { execFileSync } from 'node:child_process';
import { appendFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { FP32_MISSING, loadRuntime, modelPath, type Variant } from '../raw/runtime.js';
import { machine } from '../samples.js';
import type { CycleTask } from './cycle.js';
import { asProcesses, asThreads, type Lives, type Outcome } from './lives.js';

const { values } = parseArgs({
  options: {
    cycles: { type: 'string', default: '500' },
    newer: { type: 'string', default: '1.30.0' },
    out: { type: 'string', default: join(tmpdir(), 'ai-router-bench-runtime.jsonl') },
    json: { type: 'boolean', default: false },
  },
});
const AT_A_TIME = 2;
/** Vectors as far as this from the reference are wrong; versions of the runtime round differently. */
const MIN_COSINE: Record<Variant, number> = { q8: 0.98, fp32: 0.9999 };

interface Line {
  readonly candidate: string;
  readonly variant: Variant;
  readonly ms: number;
  readonly outcome: Outcome;
}

/** Installs another version beside the project: it is a candidate, not a dependency. */
function install(version: string): string {
  const folder = join(tmpdir(), `ai-router-bench-onnxruntime-${version}`);
  if (!existsSync(join(folder, 'node_modules/onnxruntime-node'))) {
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, 'package.json'), '{}');
    const args = ['install', '--no-save', '--ignore-scripts', '--no-audit', '--no-fund'];
    execFileSync('npm', [...args, `onnxruntime-node@${version}`], { cwd: folder, stdio: 'ignore' });
  }
  return folder;
}

/** Compiles the cycle, so that no compiler starts with each worker. */
function compile(folder: string): void {
  writeFileSync(join(folder, 'package.json'), '{"type":"module"}');
  const files = ['bench/runtime/cycle.ts', 'bench/runtime/thread-host.ts'];
  const options = '--module nodenext --target es2023 --strict --skipLibCheck --types node --rootDir bench';
  execFileSync('npx', ['tsc', '--ignoreConfig', ...files, ...options.split(' '), '--outDir', folder]);
}

function readLines(): Line[] {
  if (!existsSync(values.out)) return [];
  const lines = readFileSync(values.out, 'utf8').split('\n').filter(Boolean);
  return lines.map((line) => JSON.parse(line) as Line);
}

interface Candidate {
  readonly name: string;
  readonly variant: Variant;
  readonly lives: Lives;
  readonly task: CycleTask;
  done: number;
}

function candidatesOf(compiled: string): Candidate[] {
  const folders = ['.', install(values.newer)];
  const golden = 'test/golden/embeddings.json';
  return (['q8', 'fp32'] as const).flatMap((variant) => {
    const model = modelPath(variant);
    if (model === undefined) process.stderr.write(`${FP32_MISSING}\n`);
    if (model === undefined) return [];
    return folders.flatMap((folder) => {
      const { version } = loadRuntime(folder);
      const task = { runtime: resolve(folder), model, golden, reference: variant };
      const kinds = {
        'in processes': asProcesses(compiled),
        'in threads': asThreads(compiled, false),
        'in threads beside one that stays': asThreads(compiled, true),
      };
      return Object.entries(kinds).map(([kind, lives]) => {
        return { name: `${version} ${kind}`, variant, lives, task, done: 0 };
      });
    });
  });
}

const compiled = await mkdtemp(join(tmpdir(), 'ai-router-bench-'));
try {
  compile(compiled);
  const candidates = candidatesOf(compiled);
  for (const line of readLines()) {
    const known = candidates.find(({ name, variant }) => name === line.candidate && variant === line.variant);
    if (known) known.done += 1;
  }
  for (let round = 0; round < Number(values.cycles); round += AT_A_TIME) {
    // In turns, so that a run that is cut short has the same counts of all.
    for (const candidate of candidates.filter(({ done }) => done <= round)) {
      const { name, variant, lives, task } = candidate;
      const began = performance.now();
      const outcomes = await lives.run(Array.from({ length: AT_A_TIME }, () => task));
      const ms = Math.round(performance.now() - began);
      for (const outcome of outcomes)
        appendFileSync(values.out, `${JSON.stringify({ candidate: name, variant, ms, outcome })}\n`);
    }
  }
  await Promise.all(candidates.map(({ lives }) => lives.close()));
} finally {
  await rm(compiled, { recursive: true, force: true });
}

const groups = new Map<string, Line[]>();
for (const line of readLines()) {
  const name = `${line.candidate}, ${line.variant}`;
  groups.set(name, [...(groups.get(name) ?? []), line]);
}
const rows = [...groups].map(([name, lines]) => {
  const errors: Record<string, number> = {};
  const digests = new Set<string>();
  let wrong = 0;
  for (const { outcome, variant } of lines) {
    if ('error' in outcome) errors[outcome.error] = (errors[outcome.error] ?? 0) + 1;
    else {
      digests.add(outcome.digest);
      if (!(outcome.cosine >= MIN_COSINE[variant])) wrong += 1;
    }
  }
  const times = lines.map(({ ms }) => ms).sort((a, b) => a - b);
  return {
    name,
    cycles: lines.length,
    crashed: Object.values(errors).reduce((sum, count) => sum + count, 0),
    errors,
    wrong,
    distinct_answers: digests.size,
    median_ms: times[Math.floor(times.length / 2)],
  };
});
const columns = ['cycles', 'crashed', 'wrong', 'distinct_answers', 'median_ms'] as const;
process.stdout.write(
  values.json
    ? `${JSON.stringify({ machine: machine(), rows })}\n`
    : [
        machine(),
        `${''.padEnd(48)}${columns.map((column) => column.padStart(18)).join('')}`,
        ...rows.map(
          (row) =>
            `${row.name.padEnd(48)}${columns.map((column) => String(row[column]).padStart(18)).join('')}  ${Object.entries(row.errors).map(([error, count]) => `${count} × ${error}`)}`,
        ),
        '',
      ].join('\n'),
);
