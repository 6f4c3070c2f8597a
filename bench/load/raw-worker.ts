/** One single-threaded session on texts that are tokenized already: the limit of this machine. */
import { readFileSync } from 'node:fs';
import { parseManifest } from '../../src/cache/manifest.js';
import { createSession } from '../../src/model/session.js';
import { createTokenizer } from '../../src/model/tokenizer.js';
import { textOf } from './texts.js';

const { embedding: spec } = parseManifest(readFileSync('model/manifest.json', 'utf8'), 'manifest.json');
const read = (path: string): Buffer => readFileSync(`model/${path}`);
const [first = 0, threads = 1] = process.argv.slice(2).map(Number);
const tokenizer = createTokenizer(read(spec.tokenizer), read(spec.tokenizer_config), spec);
const session = await createSession(read(spec.model), spec, { threads });
const rows = Array.from({ length: 2_000 }, (_, n) => tokenizer.encode(textOf(first + n)).ids);
for (const ids of rows.slice(0, 50)) await session.embed([ids]);

process.on('message', async ({ durationMs }: { durationMs: number }) => {
  const times: number[] = [];
  const until = performance.now() + durationMs;
  for (let n = 0; performance.now() < until; n += 1) {
    const started = performance.now();
    await session.embed([rows[n % rows.length] ?? []]);
    times.push(performance.now() - started);
  }
  times.sort((a, b) => a - b);
  process.send?.({ count: times.length, p50: times[Math.floor(times.length / 2)] });
});
process.on('disconnect', () => process.exit(0));
process.send?.('ready');
