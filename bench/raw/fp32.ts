import { readFileSync } from 'node:fs';
import type { Bench, Goal, Part } from '../load/bench.js';
import { openSession } from './open-session.js';
import { runTogether, startPasses } from './passes-process.js';
import { FP32_MISSING, feedsOf, loadRuntime, modelPath, type Row, rowOf } from './runtime.js';

const DIMENSION = 384;
const TEXTS = 256;
const LIKE_ROWS = 8;
const DIFFERENCE = 'fp32, largest difference of a row alone and';

const WORKLOADS: Readonly<Record<string, readonly Row[]>> = {
  '11 tokens each': Array.from({ length: TEXTS }, (_, n) => rowOf(11, n)),
  'mixed lengths': mixedRows(),
};

export const fp32Goals: readonly Goal[] = [
  { name: `${DIFFERENCE} among equal lengths, batches of 8`, atMost: 0 },
  { name: `${DIFFERENCE} sorted and padded, batches of 32`, atMost: 0 },
  { name: `${DIFFERENCE} unsorted and padded, batches of 8`, atMost: 0 },
];

/**
 * What batches are worth to fp32: single rows against batches of rows of like length, on all cores; and whether a
 * row's hidden states depend on its batch-mates.
 */
export const fp32: Part = async (bench) => {
  const model = modelPath('fp32');
  if (model === undefined) {
    bench.skip(FP32_MISSING);
    return;
  }
  await identity(bench, model);
  await speed(bench, model);
};

async function speed({ samples, seconds, cores }: Bench, model: string): Promise<void> {
  const crew = await Promise.all(Array.from({ length: cores }, () => startPasses({ model, threads: 1 })));
  const wide = await startPasses({ model, threads: cores });
  for (const [name, rows] of Object.entries(WORKLOADS)) {
    const sorted = byLength(rows);
    const single = await runTogether(crew, batchesOf(rows, 1), seconds);
    samples.note(`fp32, ${name}, one at a time, texts/s`, single.rate);
    for (const size of [4, 8, 16, 32]) {
      const { rate } = await runTogether(crew, batchesOf(sorted, size), seconds);
      samples.note(`fp32, ${name}, sorted batches of ${size} ÷ one at a time`, rate / single.rate);
    }
    const like = await runTogether(crew, batchesOfLike(sorted), seconds);
    samples.note(`fp32, ${name}, up to ${LIKE_ROWS} of like length ÷ one at a time`, like.rate / single.rate);
    const unsorted = await runTogether(crew, batchesOf(rows, 32), seconds);
    samples.note(`fp32, ${name}, unsorted batches of 32 ÷ one at a time`, unsorted.rate / single.rate);
    const { rate } = await wide.run(batchesOf(sorted, 32), seconds);
    samples.note(
      `fp32, ${name}, batches of 32 in one session with all cores ÷ one at a time`,
      rate / single.rate,
    );
  }
  await Promise.all([...crew, wide].map((passes) => passes.stop()));
}

async function identity({ samples }: Bench, model: string): Promise<void> {
  const { ort } = loadRuntime();
  const session = await openSession(ort, readFileSync(model), { intraOpNumThreads: 1 });
  const hiddenOf = async (rows: readonly Row[]): Promise<Float32Array> =>
    (await session.run(feedsOf(ort, rows))).last_hidden_state?.data as Float32Array;
  const [equal = [], mixed = []] = Object.values(WORKLOADS);
  const cases = {
    'among equal lengths, batches of 8': batchesOf(equal.slice(0, 64), 8),
    'among equal lengths, batches of 32': batchesOf(equal.slice(0, 64), 32),
    'sorted and padded, batches of 32': batchesOf(byLength(mixed), 32),
    'unsorted and padded, batches of 8': batchesOf(mixed.slice(0, 64), 8),
  };
  for (const [name, batches] of Object.entries(cases)) {
    let largest = 0;
    for (const rows of batches) {
      const length = Math.max(...rows.map((row) => row.length));
      const together = await hiddenOf(rows);
      for (const [index, row] of rows.entries()) {
        const offset = index * length * DIMENSION;
        for (const [at, value] of (await hiddenOf([row])).entries())
          largest = Math.max(largest, Math.abs(value - (together[offset + at] ?? Number.NaN)));
      }
    }
    samples.note(`${DIFFERENCE} ${name}`, largest);
  }
}

function byLength(rows: readonly Row[]): Row[] {
  return [...rows].sort((a, b) => a.length - b.length);
}

/** Lengths as chat messages have them: half under 14 tokens, a few long ones. Always the same. */
function mixedRows(): Row[] {
  return Array.from({ length: TEXTS }, (_, n) => {
    const share = (((n * 7_919) % TEXTS) + 0.5) / TEXTS;
    const length = Math.round(14 * (share / (1 - share)) ** 0.6);
    return rowOf(Math.min(128, Math.max(4, length)), n);
  });
}

/** Batches in which at most a tenth of a row is padding. @param sorted by length */
function batchesOfLike(sorted: readonly Row[]): Row[][] {
  const batches: Row[][] = [];
  for (const row of sorted) {
    const last = batches.at(-1);
    const shortest = last?.[0]?.length ?? 0;
    if (last && last.length < LIKE_ROWS && row.length <= shortest * 1.1) last.push(row);
    else batches.push([row]);
  }
  return batches;
}

function batchesOf(rows: readonly Row[], size: number): Row[][] {
  return Array.from({ length: Math.ceil(rows.length / size) }, (_, n) =>
    rows.slice(n * size, (n + 1) * size),
  );
}
