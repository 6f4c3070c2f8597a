import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { JSON_TYPE, requestOf } from '../inputs/input.js';
import { beRude, RUDENESS, type RudeLimits } from '../rude-clients.js';
import { type Answer, open, Wire } from '../wire.js';

/** Answers of an undisturbed daemon: digest of the routes → text → answer. */
export type GoldenBySet = ReadonlyMap<string, ReadonlyMap<string, unknown>>;

/** What the traffic of a soak came to so far. */
export interface Counts {
  sent: number;
  answered: number;
  wrong: number;
  /** Refusals and failures that are allowed, by their code. */
  readonly named: Map<string, number>;
  /** Everything else that failed, in words. */
  readonly failed: string[];
  aborted: number;
}

/** What may become of an accepted request while workers are killed. */
const NAMED = new Set(['worker_failed', 'overloaded']);

/** Mixed traffic: single texts, batches, refused input, looks at status and routes, and clients that go away. */
export class MixedTraffic {
  readonly counts: Counts = { sent: 0, answered: 0, wrong: 0, named: new Map(), failed: [], aborted: 0 };
  readonly #url: string;
  readonly #golden: GoldenBySet;
  readonly #texts: readonly string[];
  readonly #clients: Promise<void>[];
  #latencies: number[] = [];
  #going = true;

  constructor(url: string, golden: GoldenBySet, texts: readonly string[], limits: RudeLimits) {
    this.#url = url;
    this.#golden = golden;
    this.#texts = texts;
    this.#clients = [
      this.#repeat(30, (wire, n) => this.#single(wire, n)),
      this.#repeat(30, (wire, n) => this.#single(wire, n + 1)),
      this.#repeat(200, (wire, n) => this.#batch(wire, n)),
      this.#repeat(150, (wire) => this.#expect(wire, '/classify', '{"text": ', 400)),
      this.#repeat(400, (wire) => this.#expect(wire, '/cache/status', undefined, 200)),
      this.#repeat(700, (wire) => this.#expect(wire, '/metrics', undefined, 200)),
      this.#repeat(250, () => this.#abort()),
      this.#repeat(1_000, (_, n) => this.#rude(n, limits)),
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

  async #repeat(pauseMs: number, work: (wire: Wire, n: number) => Promise<void>): Promise<void> {
    const wire = new Wire(this.#url);
    for (let n = 0; this.#going; n += 1) {
      try {
        await work(wire, n);
      } catch (error) {
        this.counts.failed.push(String(error));
      }
      await sleep(pauseMs);
    }
    wire.close();
  }

  async #single(wire: Wire, n: number): Promise<void> {
    const text = this.#texts[n % this.#texts.length] ?? '';
    const since = performance.now();
    const answer = await this.#send(wire, '/classify', JSON.stringify({ text }));
    if (answer?.status !== 200) return this.#refused(answer);
    this.#latencies.push(performance.now() - since);
    this.#compare(text, JSON.parse(answer.body.toString('utf8')));
  }

  async #batch(wire: Wire, n: number): Promise<void> {
    const texts = Array.from(
      { length: 8 },
      (_, index) => this.#texts[(n + index) % this.#texts.length] ?? '',
    );
    const answer = await this.#send(wire, '/classify/batch', JSON.stringify({ texts }));
    if (answer?.status !== 200) return this.#refused(answer);
    const { results } = JSON.parse(answer.body.toString('utf8')) as { results: unknown[] };
    for (const [index, text] of texts.entries()) this.#compare(text, results[index]);
  }

  #compare(text: string, answer: unknown): void {
    this.counts.answered += 1;
    const digest = (answer as { routes_digest?: string }).routes_digest ?? '';
    if (!isDeepStrictEqual(answer, this.#golden.get(digest)?.get(text))) {
      this.counts.wrong += 1;
      if (this.counts.wrong <= 3)
        this.counts.failed.push(`another answer: ${JSON.stringify(answer).slice(0, 300)}`);
    }
  }

  async #expect(wire: Wire, path: string, body: string | undefined, status: number): Promise<void> {
    const answer = await this.#send(wire, path, body);
    if (answer?.status !== status) this.counts.failed.push(`${path}: ${answer?.status ?? 'closed'}`);
  }

  async #send(wire: Wire, path: string, body: string | undefined): Promise<Answer | undefined> {
    this.counts.sent += 1;
    const parts = body === undefined ? { method: 'GET' } : { headers: [JSON_TYPE], body };
    return wire.ask(requestOf({ what: path, path, statuses: [], ...parts }).bytes, { timeoutMs: 60_000 });
  }

  #refused(answer: Answer | undefined): void {
    const text = answer?.body.toString('utf8') ?? '';
    const code = /"code":"(\w+)"/.exec(text)?.[1] ?? 'closed';
    if (NAMED.has(code)) this.counts.named.set(code, (this.counts.named.get(code) ?? 0) + 1);
    else this.counts.failed.push(`${answer?.status ?? 'closed'} ${text.slice(0, 200)}`);
  }

  async #abort(): Promise<void> {
    const socket = await open(Number(new URL(this.#url).port));
    const body = JSON.stringify({
      texts: this.#texts.slice(0, 8).map((text) => `${text} ${this.counts.aborted}`),
    });
    const request = requestOf({
      what: '',
      path: '/classify/batch',
      headers: [JSON_TYPE],
      body,
      statuses: [],
    });
    socket.write(request.bytes);
    await sleep(10);
    socket.destroy();
    this.counts.aborted += 1;
  }

  async #rude(n: number, limits: RudeLimits): Promise<void> {
    const rudeness = RUDENESS[n % RUDENESS.length];
    if (rudeness) await beRude(Number(new URL(this.#url).port), rudeness, limits);
  }
}
