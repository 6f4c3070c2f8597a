import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { startTimed } from '../measure.js';
import type { Labelled } from './banking77.js';

const BATCH = 256;

/** Measures the accuracy of the compiled daemon over HTTP with these routes, with `threshold: 0`. */
export async function accuracyOverHttp(
  folder: string,
  utterances: ReadonlyMap<string, readonly string[]>,
  test: readonly Labelled[],
): Promise<{ readonly accuracy: number; readonly readyMs: number; readonly method: string }> {
  const file = join(folder, 'routes.json');
  const routes = [...utterances].map(([name, texts]) => ({ name, utterances: texts }));
  await writeFile(file, JSON.stringify({ routes }));
  const env = { MODEL_CACHE_DIR: join(folder, 'volume'), ROUTES_FILE: file };
  const { daemon, readyMs } = await startTimed({ name: 'this', folder: process.cwd() }, env, 600_000);
  let right = 0;
  let method = '';
  for (let at = 0; at < test.length; at += BATCH) {
    const part = test.slice(at, at + BATCH);
    const texts = part.map(({ text }) => text);
    const { status, body } = await daemon.post<{
      results: { route: string | null; scorer: { method: string } }[];
    }>('/classify/batch', { texts, threshold: 0, top_k: 1 });
    if (status !== 200) throw new Error(`status ${status}: ${JSON.stringify(body)}`);
    for (const [i, { route, scorer }] of body.results.entries()) {
      if (route === part[i]?.route) right += 1;
      method = scorer.method;
    }
  }
  await daemon.stop();
  return { accuracy: right / test.length, readyMs, method };
}
