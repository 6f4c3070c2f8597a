import type { Goal, Part } from '../bench.js';
import { closedLoop } from '../closed-loop.js';

const SIZE = 256;
const PATHS = [
  { path: '/classify/batch', field: 'texts' },
  { path: '/v1/embeddings', field: 'input' },
] as const;

export const batchGoals: readonly Goal[] = [
  ...PATHS.map(({ path }) => ({ name: `${path} with ${SIZE} texts ÷ 32 connections`, atLeast: 1 })),
  { name: 'single requests beside a batch client, p99 ÷ alone', atMost: 3 },
];

/** Batches: as fast as many clients, and no harm to a single one. */
export const batch: Part = async ({ samples, seconds, daemon, skip }) => {
  const { url } = await daemon();
  const many = await closedLoop(url, { connections: 32, seconds });
  for (const { path, field } of PATHS) {
    const ask = { connections: 1, seconds, path, batch: { size: SIZE, field } };
    if (await missing(`${url}${path}`, field)) {
      skip(`${path}: this daemon does not have it`);
      continue;
    }
    const batched = await closedLoop(url, ask);
    samples.note(`${path} with ${SIZE} texts, texts/s`, batched.rate);
    samples.note(`${path} with ${SIZE} texts ÷ 32 connections`, batched.rate / many.rate);
  }
  const alone = await closedLoop(url, { connections: 1, seconds });
  const [beside] = await Promise.all([
    closedLoop(url, { connections: 1, seconds }),
    closedLoop(url, {
      connections: 1,
      seconds,
      path: '/classify/batch',
      batch: { size: SIZE, field: 'texts' },
    }),
  ]);
  samples.note('single requests alone, p99 ms', alone.p99);
  samples.note('single requests beside a batch client, p50 ms', beside.p50);
  samples.note('single requests beside a batch client, p99 ms', beside.p99);
  samples.note('single requests beside a batch client, p99 ÷ alone', beside.p99 / alone.p99);
};

async function missing(url: string, field: string): Promise<boolean> {
  const body = JSON.stringify({ [field]: ['is it there?'] });
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body,
  });
  await response.body?.cancel();
  return response.status === 404;
}
