import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { TestDaemon } from '../../test/support/daemon-process.js';
import { quantile } from '../../test/support/stats.js';
import { startTimed } from '../measure.js';
import type { Labelled } from './banking77.js';
import type { Answer } from './trials.js';

const BATCH = 64;
/** Times of single decision calls in milliseconds, and the share of the best options that are right. */
interface Timed {
  readonly accuracy: number;
  readonly p50_ms: number;
  readonly p99_ms: number;
}

/** Asks `/v1/systemone` about each text, one after the other. */
async function timeOptions(
  daemon: TestDaemon,
  criteria: Readonly<Record<string, string | null>>,
  test: readonly Labelled[],
): Promise<Timed> {
  const times: number[] = [];
  let right = 0;
  const ask = async (state: string): Promise<string> => {
    const questions = { q: { type: 'choice', criteria } };
    const request = { model: 'x', state, questions };
    const { status, body } = await daemon.post<{ answers: { q: { choice: string } } }>(
      '/v1/systemone',
      request,
    );
    if (status !== 200) throw new Error(`status ${status}: ${JSON.stringify(body)}`);
    return body.answers.q.choice;
  };
  // The options are embedded with the first request.
  await ask('hello');
  for (const { text, route } of test) {
    const began = performance.now();
    if ((await ask(text)) === route) right += 1;
    times.push(performance.now() - began);
  }
  return { accuracy: right / test.length, p50_ms: quantile(times, 0.5), p99_ms: quantile(times, 0.99) };
}

/** Boots the compiled daemon with these routes. */
async function serve(
  folder: string,
  utterances: ReadonlyMap<string, readonly string[]>,
): Promise<Awaited<ReturnType<typeof startTimed>>> {
  const file = join(folder, 'routes.json');
  const routes = [...utterances].map(([name, texts]) => ({ name, utterances: texts }));
  await writeFile(file, JSON.stringify({ routes }));
  // A machine that does other things as well takes its time.
  const env = {
    MODEL_CACHE_DIR: join(folder, 'volume'),
    ROUTES_FILE: file,
    REQUEST_TIMEOUT_MS: '120000',
    MAX_QUEUE_MS: '60000',
  };
  return startTimed({ name: 'this', folder: process.cwd() }, env, 600_000);
}

/**
 * Measures decision calls of the compiled daemon.
 * @param criteria the options, with their descriptions; routes of these names and no others are trained
 */
export async function decisionsOverHttp(
  folder: string,
  utterances: ReadonlyMap<string, readonly string[]>,
  criteria: Readonly<Record<string, string | null>>,
  test: readonly Labelled[],
): Promise<Timed> {
  const { daemon } = await serve(folder, utterances);
  try {
    return await timeOptions(daemon, criteria, test);
  } finally {
    await daemon.stop();
  }
}

/** Asks the compiled daemon over HTTP, with these routes and `threshold: 0`. */
export async function askOverHttp(
  folder: string,
  utterances: ReadonlyMap<string, readonly string[]>,
  test: readonly Labelled[],
): Promise<{ readonly answers: readonly Answer[]; readonly readyMs: number; readonly method: string }> {
  const { daemon, readyMs } = await serve(folder, utterances);
  const answers: Answer[] = [];
  let method = '';
  for (let at = 0; at < test.length; at += BATCH) {
    const part = test.slice(at, at + BATCH);
    const texts = part.map(({ text }) => text);
    const { status, body } = await daemon.post<{
      results: { route: string | null; score: number; scorer: { method: string } }[];
    }>('/classify/batch', { texts, threshold: 0, top_k: 1 });
    if (status !== 200) throw new Error(`status ${status}: ${JSON.stringify(body)}`);
    for (const { route, score, scorer } of body.results) {
      answers.push({ route: route ?? '', score, reached: [] });
      method = scorer.method;
    }
  }
  await daemon.stop();
  return { answers, readyMs, method };
}
