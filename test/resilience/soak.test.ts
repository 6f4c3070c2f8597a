import { readFile, rename, writeFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { expect } from 'vitest';
import { childrenOf, kill, sizeOf } from '../support/processes.js';
import { mean, median, quantile } from '../support/stats.js';
import { has } from '../support/tools.js';
import { type Answer, JSON_TYPE, open, requestBytes, Wire } from '../support/wire.js';
import { type Box, it, LONG, MODEL_DIGEST, pidOf } from './box.js';
import { flipBit } from './rot.js';
import { beRude, RUDENESS, type RudeLimits } from './rude.js';

const MINUTES = Number(process.env.SOAK_MINUTES ?? 10);
const LIMITS: RudeLimits = { headersMs: 5_000, bodyMs: 3_000, idleMs: 5_000, sendMs: 3_000 };
/** Growth of memory and descriptors from the second third to the last one. */
const MAX_GROWTH = 0.05;
/** Errors that a request may get while workers are killed. */
const NAMED = new Set(['worker_failed', 'overloaded']);

/** Answers of an undisturbed daemon: digest of the routes → text → answer. */
type GoldenBySet = ReadonlyMap<string, ReadonlyMap<string, unknown>>;

/** Asks an undisturbed daemon for the answers under each set of routes. */
async function goldenBySet(
  box: Box,
  env: Record<string, string>,
  sets: readonly string[],
): Promise<GoldenBySet> {
  const golden = new Map<string, ReadonlyMap<string, unknown>>();
  for (const set of sets) {
    await writeFile(env.ROUTES_FILE ?? '', set);
    const daemon = await box.daemon(env);
    await daemon.ready(120_000);
    const answers = new Map<string, unknown>();
    let digest = '';
    for (const { text } of box.golden) {
      const { body } = await daemon.post<{ routes_digest: string }>('/classify', { text });
      digest = body.routes_digest;
      answers.set(text, body);
    }
    golden.set(digest, answers);
    await daemon.stop();
  }
  expect(golden.size).toBe(sets.length);
  return golden;
}

/** Mixed traffic: single texts, batches, refused input, status and metrics, clients that go away, rude ones. */
class Traffic {
  sent = 0;
  answered = 0;
  readonly named = new Map<string, number>();
  /** Failures, in words. */
  readonly failed: string[] = [];
  #latencies: number[] = [];
  readonly #clients: Promise<void>[];
  #going = true;

  constructor(
    readonly url: string,
    readonly golden: GoldenBySet,
    readonly texts: readonly string[],
  ) {
    this.#clients = [
      this.#repeat(30, (wire, n) => this.#classify(wire, [this.#text(n)], 'text')),
      this.#repeat(30, (wire, n) => this.#classify(wire, [this.#text(n + 1)], 'text')),
      this.#repeat(200, (wire, n) =>
        this.#classify(
          wire,
          [0, 1, 2, 3, 4, 5, 6, 7].map((more) => this.#text(n + more)),
          'texts',
        ),
      ),
      this.#repeat(150, (wire) => this.#expect(wire, '/classify', '{"text": ', 400)),
      this.#repeat(400, (wire) => this.#expect(wire, '/cache/status', undefined, 200)),
      this.#repeat(700, (wire) => this.#expect(wire, '/metrics', undefined, 200)),
      this.#repeat(250, (_, n) => this.#goAway(n)),
      this.#repeat(1_000, (_, n) => this.#beRude(n)),
    ];
  }

  /** Latencies of single texts since the last call, in milliseconds. */
  take(): number[] {
    const taken = this.#latencies;
    this.#latencies = [];
    return taken;
  }

  async stop(): Promise<void> {
    this.#going = false;
    await Promise.all(this.#clients);
  }

  #text(n: number): string {
    return this.texts[n % this.texts.length] ?? '';
  }

  async #repeat(pauseMs: number, work: (wire: Wire, n: number) => Promise<void>): Promise<void> {
    const wire = new Wire(this.url);
    for (let n = 0; this.#going; n += 1) {
      await work(wire, n).catch((error: unknown) => this.failed.push(String(error)));
      await sleep(pauseMs);
    }
    wire.close();
  }

  async #classify(wire: Wire, texts: readonly string[], field: 'text' | 'texts'): Promise<void> {
    const since = performance.now();
    const isSingle = field === 'text';
    const answer = await this.#send(
      wire,
      isSingle ? '/classify' : '/classify/batch',
      JSON.stringify({ [field]: isSingle ? texts[0] : texts }),
    );
    if (!this.#isExpected(answer, 200)) return;
    if (isSingle) this.#latencies.push(performance.now() - since);
    const body = JSON.parse(answer.body.toString('utf8')) as { results?: unknown[]; routes_digest?: string };
    for (const [index, result] of (isSingle ? [body] : (body.results ?? [])).entries()) {
      this.answered += 1;
      const expected = this.golden
        .get((result as { routes_digest?: string }).routes_digest ?? '')
        ?.get(texts[index] ?? '');
      if (!isDeepStrictEqual(result, expected))
        this.failed.push(`wrong: ${JSON.stringify(result).slice(0, 300)}`);
    }
  }

  async #expect(wire: Wire, path: string, body: string | undefined, status: number): Promise<void> {
    // Health and metrics are never shed.
    this.#isExpected(await this.#send(wire, path, body), status, body !== undefined);
  }

  /** Counts any other answer, as allowed or as a failure. A busy daemon refuses a body before it reads how bad it is. */
  #isExpected(answer: Answer | undefined, status: number, mayBeShed = true): answer is Answer {
    if (answer?.status === status) return true;
    const text = answer?.body.toString('utf8') ?? '';
    const code = /"code":"(\w+)"/.exec(text)?.[1] ?? 'closed';
    if (mayBeShed && NAMED.has(code)) this.named.set(code, (this.named.get(code) ?? 0) + 1);
    else this.failed.push(`${answer?.status ?? 'closed'} ${text.slice(0, 200)}`);
    return false;
  }

  #send(wire: Wire, path: string, body: string | undefined): Promise<Answer | undefined> {
    this.sent += 1;
    const bytes =
      body === undefined ? requestBytes('GET', path) : requestBytes('POST', path, [JSON_TYPE], body);
    return wire.ask(bytes, { timeoutMs: 60_000 });
  }

  async #goAway(n: number): Promise<void> {
    const socket = await open(Number(new URL(this.url).port));
    const body = JSON.stringify({ texts: this.texts.map((text) => `${text} ${n}`) });
    socket.write(requestBytes('POST', '/classify/batch', [JSON_TYPE], body));
    await sleep(10);
    socket.destroy();
  }

  async #beRude(n: number): Promise<void> {
    const rudeness = RUDENESS[n % RUDENESS.length];
    if (rudeness) await beRude(Number(new URL(this.url).port), rudeness, LIMITS);
  }
}

/** By what share the mean of the last third is above that of the second. */
function growthOf(values: readonly number[]): number {
  const third = Math.floor(values.length / 3);
  return mean(values.slice(2 * third)) / mean(values.slice(third, 2 * third)) - 1;
}

it.runIf(LONG && has('proc'))(
  `${MINUTES} minutes: blobs rot, sources stall, routes change, workers die, clients go away (SOAK_MINUTES)`,
  async ({ box }) => {
    const { origin, env: hub } = await box.hub();
    const first = await readFile('routes/default.yaml', 'utf8');
    const sets = [first, first.replace('queue: billing', 'queue: billing-2')];
    const file = join(await box.folder(), 'routes.yaml');
    const volume = await box.noVolume();
    const env = {
      ...hub,
      MODEL_CACHE_DIR: volume,
      ROUTES_FILE: file,
      INFERENCE_WORKERS: String(availableParallelism()),
      SERVE_MODEL: 'true',
      // Full before the warm-up ends: later growth is not the cache's.
      EMBEDDING_CACHE_BYTES: String(2 ** 21),
      HEADERS_TIMEOUT_MS: String(LIMITS.headersMs),
      BODY_TIMEOUT_MS: String(LIMITS.bodyMs),
      KEEP_ALIVE_MS: String(LIMITS.idleMs),
      SEND_TIMEOUT_MS: String(LIMITS.sendMs),
    };
    const golden = await goldenBySet(box, env, sets);
    await writeFile(file, first);
    const daemon = await box.daemon(env);
    await daemon.ready(120_000);
    const pid = pidOf(daemon);
    const traffic = new Traffic(
      daemon.url,
      golden,
      box.golden.map(({ text }) => text),
    );
    const stop = new AbortController();
    const struck: string[] = [];
    const strike = async (
      what: string,
      everyMs: number,
      work: (n: number) => Promise<unknown>,
    ): Promise<void> => {
      let n = 0;
      for (; ; n += 1) {
        await sleep(everyMs, undefined, { signal: stop.signal }).catch(() => undefined);
        if (stop.signal.aborted) break;
        await work(n);
      }
      struck.push(`${n} × ${what}`);
    };
    const disasters = Promise.all([
      // Rarer than what is taken for a dying disk; every other repair meets a source that stalls.
      strike('blob spoilt', MINUTES < 5 ? 30_000 : 180_000, async (n) => {
        if (n % 2 === 1) origin.fault('*', { kind: 'stall', afterBytes: 1_000_000 });
        await flipBit(join(volume, 'blobs/sha256', MODEL_DIGEST), 1_000 + n);
      }),
      strike('routes edited', 15_000, async (n) => {
        await writeFile(`${file}.new`, sets[(n + 1) % sets.length] ?? '');
        await rename(`${file}.new`, file);
      }),
      strike('worker killed', 20_000, async (n) => {
        const workers = childrenOf(pid);
        kill(workers[n % workers.length] ?? 0x7fffffff, 'SIGKILL');
      }),
    ]);
    const [p50, p99, memory, descriptors]: [number[], number[], number[], number[]] = [[], [], [], []];
    for (const end = performance.now() + MINUTES * 60_000; performance.now() < end; ) {
      expect(daemon.child.exitCode).toBeNull();
      await sleep(1_000);
      const latencies = traffic.take();
      if (latencies.length > 0) {
        p50.push(median(latencies));
        p99.push(quantile(latencies, 0.99));
      }
      const size = sizeOf(pid);
      memory.push(size.rssBytes);
      descriptors.push(size.descriptors);
    }
    stop.abort();
    await traffic.stop();
    await disasters;
    box.note(`${traffic.sent} requests, ${traffic.answered} texts compared; ${struck.join(', ')}`);
    box.note(`allowed errors: ${JSON.stringify(Object.fromEntries(traffic.named))}`);
    box.note(`p50 ${median(p50).toFixed(1)} ms, p99 ${median(p99).toFixed(1)} ms (medians of the seconds)`);
    const growth = [growthOf(memory), growthOf(descriptors)];
    box.note(
      `memory and descriptors grew by ${growth.map((share) => `${(100 * share).toFixed(1)} %`).join(' and ')}`,
    );
    expect([...new Set(traffic.failed)].slice(0, 5)).toEqual([]);
    for (const share of growth) expect(share).toBeLessThan(MAX_GROWTH);
  },
);
