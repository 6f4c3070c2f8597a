import { describe, expect, it } from 'vitest';
import { eventually } from '../support/eventually.js';
import { bundledModel, cosine, goldenCases } from '../support/model.js';
import { isAlive, pidsOf } from '../support/processes.js';
import { slowText, texts, usePools } from './pools.js';

const { start, serving, alone } = usePools();

describe('a pool that serves', () => {
  it('embeds much as the full-precision model does, and says how', async () => {
    const pool = await serving();
    expect(pool.dimension).toBe(384);
    for (const { text, fp32, input_ids, untruncated_tokens } of goldenCases) {
      const { vector, tokens, truncatedTokens, timing } = await pool.embed(text);
      expect(cosine(vector, fp32)).toBeGreaterThanOrEqual(0.97);
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
      totals: { embedded: goldenCases.length, passes: goldenCases.length, failed: 0, restarts: 0 },
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

describe('the queue', () => {
  it('rejects what does not fit, at once, and finishes what it took', async () => {
    const pool = await serving({ workers: 1, maxQueue: 3, backlogMs: 0, backlogWork: 0 });
    // One at work, three in the queue.
    const taken = [slowText, 'hi', 'hi', 'hi'].map((text) => pool.embed(text));
    const rejected = await pool.embed('hi').catch((error: unknown) => error);
    expect(rejected).toMatchObject({ code: 'overloaded', gate: 'queue', retryable: true });
    expect(rejected).toHaveProperty('retryAfterMs', expect.any(Number));
    // At once: the first text is still at work.
    expect(pool.status()).toMatchObject({ waiting: 3, executing: 1 });
    await Promise.all(taken);
    await expect(pool.embed('hi')).resolves.toBeDefined();
  });

  it('rejects what would wait for longer than it may', async () => {
    const pool = await serving({ workers: 1, maxQueueMs: 0, backlogMs: 0, backlogWork: 0 });
    const taken = [slowText, 'hi'].map((text) => pool.embed(text));
    await expect(pool.embed('hi')).rejects.toMatchObject({ code: 'overloaded', gate: 'queue' });
    await Promise.all(taken);
    await expect(pool.embed('hi')).resolves.toBeDefined();
  });

  it('rejects for good what an idle daemon could not embed in time, and says how much it could', async () => {
    const pool = await serving({ workers: 1 });
    const deadline = performance.now() + 2_000;
    const long = 'word '.repeat(300);
    expect(() => pool.admit([long], { deadline })).not.toThrow();
    const tooMany = Array.from({ length: 10_000 }, () => long);
    const rejected = { code: 'request_too_large', gate: 'deadline', retryable: false };
    const admit = () => pool.admit(tooMany, { deadline });
    expect(admit).toThrow(expect.objectContaining(rejected));
    expect(admit).toThrow(/about [1-9]\d{0,3} fit into one request/);
    await expect(pool.embed(long, { deadline: performance.now() + 1 })).rejects.toMatchObject(rejected);
    expect(pool.status()).toMatchObject({ waiting: 0, executing: 0 });
  });

  it('rejects for now what would come after its deadline because of what waits', async () => {
    const pool = await serving({ workers: 1 });
    const long = 'word '.repeat(300);
    const waiting = Array.from({ length: 50 }, () => pool.embed(long));
    const before = { code: 'overloaded', gate: 'queue', retryable: true, retryAfterMs: expect.any(Number) };
    const deadline = performance.now() + 200;
    await expect(pool.embed(long, { deadline })).rejects.toMatchObject(before);
    // Admitted once is admitted.
    await expect(pool.embed(long, { deadline, admitted: true })).resolves.toBeDefined();
    await Promise.all(waiting);
  });

  it('tells beforehand whether a short text would be rejected, which changes nothing', async () => {
    const pool = start({ workers: 1, maxQueue: 2, backlogMs: 0, backlogWork: 0 });
    expect(pool.rejectionFor('greedy')).toBeUndefined();
    await pool.load(bundledModel);
    expect(pool.rejectionFor('greedy')).toBeUndefined();
    const taken = [slowText, 'hi', 'hi'].map((text) => pool.embed(text, { client: 'greedy' }));
    expect(pool.rejectionFor('greedy')).toMatchObject({ code: 'overloaded', gate: 'queue' });
    expect(pool.rejectionFor('modest')).toBeUndefined();
    expect(pool.rejectionFor('modest', 2)).toMatchObject({ code: 'overloaded', gate: 'queue' });
    expect(pool.status()).toMatchObject({ waiting: 2, executing: 1 });
    await Promise.all(taken);
    expect(pool.rejectionFor('greedy')).toBeUndefined();
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
    expect(pool.status().totals).toMatchObject({ embedded: 3, failed: 0, restarts: 0 });
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
    await eventually(() => expect(pool.status().executing === 1, 'the text at work').toBe(true));
    const closed = pool.close(60_000);
    for (const pid of pidsOf(pool)) process.kill(pid, 'SIGKILL');
    expect((await slow).truncatedTokens).toBeGreaterThan(0);
    await closed;
    expect(pool.status().totals).toMatchObject({ embedded: 1, failed: 0, restarts: 1 });
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
    await eventually(() =>
      expect(
        pool.status().workers.some(({ state }) => state === 'loading'),
        'a worker loading',
      ).toBe(true),
    );
    await pool.close();
    await expect(load).rejects.toMatchObject({ code: 'draining' });
    expect(pids.filter(isAlive)).toEqual([]);
  });
});
