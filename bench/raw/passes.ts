/**
 * Forward passes and nothing else, in a process of their own: no tokenizer, no HTTP, inputs made beforehand.
 * Forked by {@link startPasses}.
 */
import { readFileSync } from 'node:fs';
import { memoryOf } from '../memory.js';
import { openSession } from './open-session.js';
import type { FromPasses, PassesOptions, ToPasses } from './passes-process.js';
import { feedsOf, loadRuntime } from './runtime.js';

const options = JSON.parse(process.argv[2] ?? '{}') as PassesOptions;
const { ort } = loadRuntime(options.runtime);
const model = readFileSync(options.model);
const open = (threads: number) =>
  openSession(ort, model, {
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    ...(options.spinning === undefined
      ? {}
      : { extra: { session: { intra_op: { allow_spinning: options.spinning ? '1' : '0' } } } }),
  });
const session = await open(options.threads);
const others: unknown[] = [];

async function answer(message: ToPasses): Promise<FromPasses> {
  if (message.kind === 'open') {
    const other = await open(message.threads);
    await other.run(feedsOf(ort, [message.row]));
    others.push(other);
  }
  if (message.kind !== 'run') {
    globalThis.gc?.();
    return { kind: 'memory', ...memoryOf([process.pid]) };
  }
  const feeds = message.batches.map((rows) => feedsOf(ort, rows));
  const sizes = message.batches.map((rows) => rows.length);
  for (const each of feeds.slice(0, 10)) await session.run(each);
  const times: number[] = [];
  let texts = 0;
  const began = performance.now();
  const until = began + message.seconds * 1_000;
  // Whole turns only: batches may be sorted by length, and the first ones are not like the rest.
  for (let n = 0, now = began; now < until || n % feeds.length !== 0; n += 1) {
    await session.run(feeds[n % feeds.length] ?? {});
    texts += sizes[n % sizes.length] ?? 0;
    const after = performance.now();
    times.push(after - now);
    now = after;
  }
  times.sort((a, b) => a - b);
  return {
    kind: 'ran',
    rate: (texts * 1_000) / (performance.now() - began),
    p50: times[Math.floor(times.length / 2)] ?? Number.NaN,
  };
}

process.on('message', async (message: ToPasses) => process.send?.(await answer(message)));
process.on('disconnect', () => process.exit(0));
process.send?.({ kind: 'ready' });
