import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import type { ModelBytes, PlacedFile } from '../../src/model/model-bytes.js';
import { createPool, type Pool, type PoolOptions } from '../../src/model/pool.js';
import { bundledModel, cosine, goldenCases, modelFile, workerEntry } from '../support/model.js';
import { isAlive, pidsOf, until } from './processes.js';

const silent = { debug() {}, info() {}, warn() {}, error() {} };
const pools: Pool[] = [];

function start(options: Partial<PoolOptions> = {}): Pool {
  const pool = createPool({ log: silent, workerEntry, workers: 2, backoffMinMs: 20, ...options });
  pools.push(pool);
  return pool;
}

async function serving(options: Partial<PoolOptions> = {}): Promise<Pool> {
  const pool = start(options);
  await pool.load(bundledModel);
  await until(() => pool.status().workers.every(({ state }) => state === 'ready'), 'all workers ready');
  return pool;
}

afterEach(async () => {
  await Promise.all(pools.splice(0).map((pool) => pool.close(0)));
});

const texts = goldenCases.map(({ text }) => text).filter((text) => text.length < 200);
/** What each text gives when it runs alone. */
const alone = new Map<string, Float32Array>();
/** Takes a worker about a second, so that a test can catch it at work. */
const slowText = '東'.repeat(1_000_000);
const garbage: ModelBytes = { ...bundledModel, model: Buffer.alloc(100_000, 7) };

beforeAll(async () => {
  const pool = await serving({ workers: 1 });
  for (const text of texts) alone.set(text, (await pool.embed(text)).vector);
});

describe('a pool that serves', () => {
  it('embeds as the reference does, and says how', async () => {
    const pool = await serving();
    expect(pool.dimension).toBe(384);
    for (const { text, q8, input_ids, untruncated_tokens } of goldenCases) {
      const { vector, tokens, truncatedTokens, timing } = await pool.embed(text);
      expect(cosine(vector, q8)).toBeGreaterThanOrEqual(0.98);
      expect(tokens).toBe(input_ids.length);
      expect(truncatedTokens).toBe(untruncated_tokens - input_ids.length);
      expect(timing.inferenceMs).toBeGreaterThan(0);
      expect(timing.tokenizeMs).toBeGreaterThanOrEqual(0);
      expect(timing.queueMs).toBeGreaterThanOrEqual(0);
      // Its own memory, not a view over a message.
      expect(vector.buffer.byteLength).toBe(384 * 4);
    }
    expect(pool.status()).toMatchObject({
      ready: true,
      waiting: 0,
      executing: 0,
      totals: { embedded: goldenCases.length, failed: 0, restarts: 0 },
    });
  });

  it('gives the same bits for the same text, on every worker and beside any other text', async () => {
    const pool = await serving();
    const many = Array.from({ length: 200 }, (_, index) => texts[(index * 7) % texts.length] ?? '');
    const embeddings = await Promise.all(many.map((text) => pool.embed(text)));
    for (const [index, { vector }] of embeddings.entries())
      expect(vector).toEqual(alone.get(many[index] ?? ''));
  });

  it('refuses texts before a model is loaded', async () => {
    const pool = start();
    expect(pool.dimension).toBe(0);
    expect(pool.status().ready).toBe(false);
    await expect(pool.embed('hello')).rejects.toMatchObject({ code: 'not_ready', retryable: true });
  });

  it('lets no signal of the terminal end a worker', async () => {
    const pool = await serving();
    const pids = pidsOf(pool);
    for (const pid of pids) for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.kill(pid, signal);
    await Promise.all(texts.map((text) => pool.embed(text)));
    expect(pidsOf(pool)).toEqual(pids);
  });
});

describe('a worker lost', () => {
  it('to a kill in mid-work: replaced, and every answer is right', async () => {
    const pool = await serving();
    const [victim] = pidsOf(pool);
    const many = Array.from({ length: 300 }, (_, index) => texts[index % texts.length] ?? '');
    let answered = 0;
    const embeddings = await Promise.all(
      many.map(async (text) => {
        const embedding = await pool.embed(text);
        answered += 1;
        if (answered === 50 && victim !== undefined) process.kill(victim, 'SIGKILL');
        return embedding;
      }),
    );
    for (const [index, { vector }] of embeddings.entries())
      expect(vector).toEqual(alone.get(many[index] ?? ''));
    await until(() => pool.status().workers.every(({ state }) => state === 'ready'), 'the successor ready');
    expect(pool.status().totals).toEqual({ embedded: 300, failed: 0, restarts: 1 });
    expect(pidsOf(pool)).not.toContain(victim);
  });

  it('to a hang: killed, replaced, and its texts retried', async () => {
    const pool = await serving({ hangTimeoutMs: 1_500 });
    const [victim] = pidsOf(pool);
    if (victim === undefined) throw new Error('no worker');
    process.kill(victim, 'SIGSTOP');
    const embeddings = await Promise.all(texts.map((text) => pool.embed(text)));
    for (const [index, { vector }] of embeddings.entries())
      expect(vector).toEqual(alone.get(texts[index] ?? ''));
    await until(() => pool.status().totals.restarts > 0, 'a restart');
    expect(isAlive(victim)).toBe(false);
  });

  it('to the same text twice: that text is given up, the one behind it is unharmed, a third worker lives', async () => {
    const pool = await serving({ workers: 1 });
    const poison = pool.embed(slowText);
    poison.catch(() => {});
    const bystander = pool.embed('hi');
    for (let kills = 0; kills < 2; kills += 1) {
      await until(
        () => pool.status().totals.restarts === kills && pool.status().executing === 1,
        'the text at work',
      );
      for (const pid of pidsOf(pool)) process.kill(pid, 'SIGKILL');
    }
    await expect(poison).rejects.toMatchObject({ code: 'worker_failed', retryable: true });
    expect((await bystander).vector).toEqual(alone.get('hi'));
    expect(pool.status().totals).toEqual({ embedded: 1, failed: 1, restarts: 2 });
  });

  it('to one text of a group: that text is found by trying each alone, the others are unharmed', async () => {
    const pool = await serving({ workers: 1, groupMs: Number.POSITIVE_INFINITY });
    // While this one is at work, the next three come together as a group.
    const first = pool.embed(slowText);
    const bystanders = Promise.all(['hi', 'a'].map((text) => pool.embed(text)));
    const poison = pool.embed(slowText);
    poison.catch(() => {});
    await first;
    for (let kills = 0; kills < 3; kills += 1) {
      await until(
        () => pool.status().totals.restarts === kills && pool.status().executing === 1,
        'a text at work',
      );
      // Alone, the short ones are answered before the slow one comes to work.
      if (kills > 0) await until(() => pool.status().totals.embedded === 3, 'the bystanders answered');
      for (const pid of pidsOf(pool)) process.kill(pid, 'SIGKILL');
    }
    await expect(poison).rejects.toMatchObject({ code: 'worker_failed', retryable: true });
    expect((await bystanders).map(({ vector }) => vector)).toEqual([alone.get('hi'), alone.get('a')]);
    await until(() => pool.status().totals.restarts === 3, 'a third successor');
    expect(pool.status().totals).toMatchObject({ embedded: 3, failed: 1 });
  });

  it('again and again: its successors wait longer each time', async () => {
    const losses: object[] = [];
    const log = { ...silent, error: (details: object) => losses.push(details) };
    const pool = await serving({ workers: 1, backoffMinMs: 300, log });
    for (let deaths = 1; deaths <= 2; deaths += 1) {
      const start = performance.now();
      for (const pid of pidsOf(pool)) process.kill(pid, 'SIGKILL');
      await until(() => pool.status().totals.restarts === deaths, 'a restart');
      expect(performance.now() - start).toBeGreaterThan(300 * deaths - 20);
    }
    expect(losses).toEqual([
      expect.objectContaining({ reason: 'was ended by SIGKILL', delayMs: 300 }),
      expect.objectContaining({ reason: 'was ended by SIGKILL', delayMs: 600 }),
    ]);
  });

  it('now and then: its successor does not wait longer, for it had served a while', async () => {
    const delays: unknown[] = [];
    const log = { ...silent, error: ({ delayMs }: { delayMs?: number }) => delays.push(delayMs) };
    const pool = await serving({ workers: 1, backoffMinMs: 20, healthyAfterMs: 100, log });
    for (let deaths = 1; deaths <= 3; deaths += 1) {
      await new Promise((resolve) => setTimeout(resolve, 150));
      for (const pid of pidsOf(pool)) process.kill(pid, 'SIGKILL');
      await until(
        () => pool.status().totals.restarts === deaths && pool.status().ready,
        'the successor ready',
      );
    }
    expect(delays).toEqual([20, 20, 20]);
  });

  it('is not ready while no worker lives, and keeps texts that come meanwhile', async () => {
    const pool = await serving({ workers: 1, backoffMinMs: 100 });
    for (const pid of pidsOf(pool)) process.kill(pid, 'SIGKILL');
    await until(() => !pool.status().ready, 'the death noticed');
    expect((await pool.embed('hi')).vector).toEqual(alone.get('hi'));
    expect(pool.status().ready).toBe(true);
  });
});

describe('the queue', () => {
  it('refuses what does not fit, at once, and finishes what it took', async () => {
    const pool = await serving({ workers: 1, maxQueue: 3 });
    // One at work, three waiting at the worker as one group, three in the queue.
    const taken = [slowText, ...Array.from({ length: 6 }, () => 'hi')].map((text) => pool.embed(text));
    const refused = await pool.embed('hi').catch((error: unknown) => error);
    expect(refused).toMatchObject({ code: 'overloaded', retryable: true });
    expect(refused).toHaveProperty('retryAfterMs', expect.any(Number));
    // At once: the first text is still at work.
    expect(pool.status()).toMatchObject({ waiting: 6, executing: 1 });
    await Promise.all(taken);
    await expect(pool.embed('hi')).resolves.toBeDefined();
  });

  it('refuses at once what would come after its deadline, a request of many texts as a whole', async () => {
    const pool = await serving({ workers: 1 });
    const deadline = performance.now() + 2_000;
    const long = 'word '.repeat(300);
    expect(() => pool.admit([long], { deadline })).not.toThrow();
    const tooMany = Array.from({ length: 10_000 }, () => long);
    const refused = { code: 'overloaded', retryable: true, retryAfterMs: expect.any(Number) };
    expect(() => pool.admit(tooMany, { deadline })).toThrow(expect.objectContaining(refused));
    await expect(pool.embed(long, { deadline: performance.now() + 1 })).rejects.toMatchObject(refused);
    expect(pool.status()).toMatchObject({ waiting: 0, executing: 0 });
  });

  it('lets one client have its turn and its place, whatever another one asks for', async () => {
    const pool = await serving({ workers: 1, maxQueue: 20 });
    const order: string[] = [];
    const ask = (client: string) =>
      pool.embed(`asked by ${client}`, { client }).then(
        () => order.push(client),
        () => order.push(`${client} refused`),
      );
    const busy = pool.embed(slowText, { client: 'greedy' });
    const greedy = Array.from({ length: 100 }, () => ask('greedy'));
    const modest = Array.from({ length: 3 }, () => ask('modest'));
    await Promise.all([busy, ...greedy, ...modest]);
    const served = order.filter((who) => !who.includes('refused'));
    expect(served.filter((who) => who === 'modest')).toHaveLength(3);
    expect(served.length).toBeLessThan(60);
    // Behind those that a worker had already, they come by turns.
    const last = served.lastIndexOf('modest');
    expect(served.slice(last).filter((who) => who === 'greedy').length).toBeGreaterThan(5);
  });

  it('drops a text that is given up while it waits', async () => {
    const pool = await serving({ workers: 1 });
    const busy = [slowText, 'hi'].map((text) => pool.embed(text));
    const controller = new AbortController();
    const waiting = pool.embed('hi', { signal: controller.signal });
    const behind = pool.embed('hi');
    controller.abort(new Error('the client left'));
    await expect(waiting).rejects.toMatchObject({ code: 'aborted', cause: controller.signal.reason });
    await Promise.all([...busy, behind]);
    expect(pool.status().totals).toEqual({ embedded: 3, failed: 0, restarts: 0 });
  });

  it('answers the caller of an aborted text at once, though a worker executes it', async () => {
    const pool = await serving({ workers: 1 });
    await expect(pool.embed(slowText, { signal: AbortSignal.timeout(50) })).rejects.toMatchObject({
      code: 'aborted',
    });
    expect(pool.status().executing).toBe(1);
    await expect(pool.embed('hi')).resolves.toBeDefined();
  });

  it('takes no text whose signal has fired already', async () => {
    const pool = await serving({ workers: 1 });
    await expect(pool.embed('hi', { signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: 'aborted',
    });
    expect(pool.status().totals.embedded).toBe(0);
  });
});

describe('a model at fault', () => {
  const [first, ...rest] = bundledModel.canary.cases;
  const wrongCanary = {
    ...bundledModel.canary,
    cases: [{ text: 'Something else entirely', embedding: first?.embedding ?? '' }, ...rest],
  };

  it.each([
    ['a garbage graph', garbage, 'model_unloadable'],
    ['a garbage tokenizer', { ...bundledModel, tokenizer: Buffer.from('{}') }, 'model_unloadable'],
    [
      'another dimension',
      { ...bundledModel, spec: { ...bundledModel.spec, dimension: 768 } },
      'model_unloadable',
    ],
    ['a canary it does not know', { ...bundledModel, canary: wrongCanary }, 'canary_mismatch'],
  ])('%s: refused once, and no restart loop', async (_, model, code) => {
    const pool = start();
    const pids = pidsOf(pool);
    await expect(pool.load(model)).rejects.toMatchObject({ code, retryable: false });
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(pool.status()).toMatchObject({ ready: false, totals: { restarts: 0 } });
    expect(pids.filter(isAlive)).toEqual([]);
  });

  it('is forgiven: a good one loads afterwards', async () => {
    const pool = start({ workers: 1 });
    await expect(pool.load(garbage)).rejects.toMatchObject({ code: 'model_unloadable' });
    await pool.load(bundledModel);
    expect((await pool.embed('hi')).vector).toEqual(alone.get('hi'));
  });
});

describe('a model that the first worker begins with by itself', () => {
  const { spec, canary } = bundledModel;
  const digest = 'sha256:bundled';
  const place = (path: string, ...before: string[]): PlacedFile => ({
    paths: [...before, fileURLToPath(new URL(`../../model/${path}`, import.meta.url))],
    size: modelFile(path).length,
    sha256: createHash('sha256').update(modelFile(path)).digest('hex'),
  });
  const others = [place(spec.tokenizer), place(spec.tokenizer_config)];

  it.each([
    ['where it lies', () => []],
    ['behind a link, a folder, a file that rotted and one that was cut', rotten],
  ])('is read %s, and no byte of it through the daemon', async (_, before) => {
    const pool = start({ workers: 1 });
    pool.begin({ digest, spec, canary, files: [place(spec.model, ...before()), ...others] });
    await pool.load({ ...garbage, digest });
    expect((await pool.embed('hi')).vector).toEqual(alone.get('hi'));
    expect(pool.status().totals.restarts).toBe(0);
  });

  it('waits for the bytes where there are none', async () => {
    const pool = start({ workers: 1 });
    const [weights] = [place(spec.model)];
    pool.begin({ digest, spec, canary, files: [{ ...weights, paths: rotten() }, ...others] });
    await pool.load({ ...bundledModel, digest });
    expect((await pool.embed('hi')).vector).toEqual(alone.get('hi'));
    expect(pool.status().totals.restarts).toBe(0);
  });

  it('is not taken for another one', async () => {
    const pool = start({ workers: 1 });
    pool.begin({ digest, spec, canary, files: [place(spec.model), ...others] });
    await expect(pool.load({ ...garbage, digest: 'sha256:garbage' })).rejects.toMatchObject({
      code: 'model_unloadable',
    });
  });

  /** Paths where other bytes lie than the pinned ones. */
  function rotten(): string[] {
    const folder = mkdtempSync(join(tmpdir(), 'ai-router-places-'));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    const bytes = modelFile(spec.model);
    writeFileSync(join(folder, 'cut'), bytes.subarray(1));
    bytes[bytes.length >> 1] = ~(bytes[bytes.length >> 1] ?? 0);
    writeFileSync(join(folder, 'rotted'), bytes);
    symlinkSync(fileURLToPath(new URL(`../../model/${spec.model}`, import.meta.url)), join(folder, 'link'));
    return ['missing', 'link', '', 'rotted', 'cut'].map((name) => join(folder, name));
  }
});

describe('what is prepared while a model is loaded', () => {
  it('has an embedder that waits for the model', async () => {
    const pool = start({ workers: 1 });
    let ready: boolean | undefined;
    await pool.load(bundledModel, async (embedder, proven) => {
      ready = pool.status().ready;
      expect((await embedder.embed('hi')).vector).toEqual(alone.get('hi'));
      await proven;
    });
    expect([ready, pool.status().ready]).toEqual([false, true]);
  });

  it('learns that there will be none', async () => {
    const pool = start({ workers: 1 });
    const learned: unknown[] = [];
    const load = pool.load(garbage, async (embedder, proven) => {
      learned.push(...(await Promise.allSettled([embedder.embed('hi'), proven])));
    });
    await expect(load).rejects.toMatchObject({ code: 'model_unloadable' });
    const refusal = { status: 'rejected', reason: { code: 'model_unloadable' } };
    expect(learned).toMatchObject([refusal, refusal]);
  });
});

describe('another model while one serves', () => {
  const unscaled: ModelBytes = { ...bundledModel, spec: { ...bundledModel.spec, normalize: false } };
  const isUnscaled = (vector: Float32Array) => Math.abs(Math.hypot(...vector) - 1) > 0.1;

  it('takes over without a text lost, and the old workers end', async () => {
    const pool = await serving();
    const old = pidsOf(pool);
    let loaded = false;
    let embedded = 0;
    const traffic = (async () => {
      while (!loaded) {
        const pair = await Promise.all([pool.embed('hi'), pool.embed('hello there')]);
        embedded += pair.length;
      }
    })();
    let prepared: Float32Array | undefined;
    await pool.load(unscaled, async (embedder) => {
      prepared = (await embedder.embed('hi')).vector;
      expect(isUnscaled((await pool.embed('hi')).vector)).toBe(false);
    });
    loaded = true;
    await traffic;
    expect(embedded).toBeGreaterThan(0);
    const { vector } = await pool.embed('hi');
    expect(isUnscaled(vector)).toBe(true);
    expect(vector).toEqual(prepared);
    await until(() => !old.some(isAlive), 'the old workers gone');
    expect(pool.status().totals.restarts).toBe(0);
  });

  it.each([
    ['cannot be loaded', garbage, undefined, { code: 'model_unloadable' }],
    [
      'loads, but cannot be prepared for',
      unscaled,
      () => Promise.reject(new Error('no routes')),
      { message: 'no routes' },
    ],
  ])('%s: the old one goes on', async (_, model, prepare, error) => {
    const pool = await serving();
    const pids = pidsOf(pool);
    await expect(pool.load(model, prepare)).rejects.toMatchObject(error);
    expect(pidsOf(pool)).toEqual(pids);
    expect(pool.status()).toMatchObject({ ready: true, incoming: [] });
    expect((await pool.embed('hi')).vector).toEqual(alone.get('hi'));
  });
});

describe('closing', () => {
  it('finishes the queue, refuses more, and leaves no process', async () => {
    const pool = await serving();
    const pids = pidsOf(pool);
    const taken = Promise.all(texts.map((text) => pool.embed(text)));
    const closed = pool.close();
    await expect(pool.embed('hi')).rejects.toMatchObject({ code: 'draining', retryable: true });
    expect(await taken).toHaveLength(texts.length);
    await closed;
    expect(pids.filter(isAlive)).toEqual([]);
    expect(pool.status().ready).toBe(false);
    await expect(pool.load(bundledModel)).rejects.toMatchObject({ code: 'draining' });
  });

  it('tries a text again whose worker dies meanwhile', async () => {
    const pool = await serving({ workers: 1 });
    const slow = pool.embed(slowText);
    await until(() => pool.status().executing === 1, 'the text at work');
    const closed = pool.close();
    for (const pid of pidsOf(pool)) process.kill(pid, 'SIGKILL');
    expect((await slow).truncatedTokens).toBeGreaterThan(0);
    await closed;
    expect(pool.status().totals).toEqual({ embedded: 1, failed: 0, restarts: 1 });
  });

  it('gives up at its deadline, on a stopped worker too', async () => {
    const pool = await serving({ workers: 1 });
    const pids = pidsOf(pool);
    for (const pid of pids) process.kill(pid, 'SIGSTOP');
    const stuck = ['hi', 'hi', 'hi'].map((text) => pool.embed(text));
    const settled = Promise.allSettled(stuck);
    await pool.close(200);
    for (const result of await settled) {
      expect(result).toMatchObject({ status: 'rejected', reason: { code: 'draining' } });
    }
    expect(pids.filter(isAlive)).toEqual([]);
  });

  it('in mid-load ends that load and its workers', async () => {
    const pool = start();
    const pids = pidsOf(pool);
    const load = pool.load(bundledModel);
    load.catch(() => {});
    await until(() => pool.status().workers.some(({ state }) => state === 'loading'), 'a worker loading');
    await pool.close();
    await expect(load).rejects.toMatchObject({ code: 'draining' });
    expect(pids.filter(isAlive)).toEqual([]);
  });
});
