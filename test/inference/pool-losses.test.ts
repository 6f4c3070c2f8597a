import { describe, expect, it } from 'vitest';
import { eventually } from '../support/eventually.js';
import { isAlive, pidsOf } from '../support/processes.js';
import { silent, slowText, texts, usePools } from './pools.js';

const { serving, alone } = usePools();

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
    await eventually(() =>
      expect(
        pool.status().workers.every(({ state }) => state === 'ready'),
        'the successor ready',
      ).toBe(true),
    );
    expect(pool.status().totals).toMatchObject({ embedded: 300, failed: 0, restarts: 1 });
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
    await eventually(() => expect(pool.status().totals.restarts > 0, 'a restart').toBe(true));
    expect(isAlive(victim)).toBe(false);
  });

  it('to the same text twice: that text is given up, the one behind it is unharmed, a third worker lives', async () => {
    const pool = await serving({ workers: 1, backlogMs: 0, backlogWork: 0 });
    const poison = pool.embed(slowText);
    poison.catch(() => {});
    const bystander = pool.embed('hi');
    for (let kills = 0; kills < 2; kills += 1) {
      await eventually(() =>
        expect(
          pool.status().totals.restarts === kills && pool.status().executing === 1,
          'the text at work',
        ).toBe(true),
      );
      for (const pid of pidsOf(pool)) process.kill(pid, 'SIGKILL');
    }
    await expect(poison).rejects.toMatchObject({ code: 'worker_failed', retryable: true });
    expect((await bystander).vector).toEqual(alone.get('hi'));
    expect(pool.status().totals).toMatchObject({ embedded: 1, failed: 1, restarts: 2 });
  });

  it('to one text of several: that text is found by trying each alone, the others are unharmed', async () => {
    const pool = await serving({ workers: 1, backlogMs: Number.POSITIVE_INFINITY });
    // While this one is at work, the worker gets the next three.
    const first = pool.embed(slowText);
    const bystanders = Promise.all(['hi', 'a'].map((text) => pool.embed(text)));
    const poison = pool.embed(slowText);
    poison.catch(() => {});
    await first;
    for (let kills = 0; kills < 3; kills += 1) {
      await eventually(() =>
        expect(
          pool.status().totals.restarts === kills && pool.status().executing === 1,
          'a text at work',
        ).toBe(true),
      );
      // Alone, the short ones are answered before the slow one comes to work.
      if (kills > 0)
        await eventually(() =>
          expect(pool.status().totals.embedded === 3, 'the bystanders answered').toBe(true),
        );
      for (const pid of pidsOf(pool)) process.kill(pid, 'SIGKILL');
    }
    await expect(poison).rejects.toMatchObject({ code: 'worker_failed', retryable: true });
    expect((await bystanders).map(({ vector }) => vector)).toEqual([alone.get('hi'), alone.get('a')]);
    await eventually(() => expect(pool.status().totals.restarts === 3, 'a third successor').toBe(true));
    expect(pool.status().totals).toMatchObject({ embedded: 3, failed: 1 });
  });

  it('again and again: its successors wait longer each time', async () => {
    const losses: object[] = [];
    const log = { ...silent, error: (details: object) => losses.push(details) };
    const pool = await serving({ workers: 1, backoffMinMs: 300, log });
    for (let deaths = 1; deaths <= 2; deaths += 1) {
      const start = performance.now();
      for (const pid of pidsOf(pool)) process.kill(pid, 'SIGKILL');
      await eventually(() => expect(pool.status().totals.restarts === deaths, 'a restart').toBe(true));
      expect(performance.now() - start).toBeGreaterThan(300 * deaths - 20);
    }
    expect(losses).toEqual([
      expect.objectContaining({ reason: 'was ended by SIGKILL', delay_ms: 300 }),
      expect.objectContaining({ reason: 'was ended by SIGKILL', delay_ms: 600 }),
    ]);
  });

  it('now and then: its successor does not wait longer, for it had served a while', async () => {
    const delays: unknown[] = [];
    const log = { ...silent, error: ({ delay_ms }: { delay_ms?: number }) => delays.push(delay_ms) };
    const pool = await serving({ workers: 1, backoffMinMs: 20, healthyAfterMs: 100, log });
    for (let deaths = 1; deaths <= 3; deaths += 1) {
      await new Promise((resolve) => setTimeout(resolve, 150));
      for (const pid of pidsOf(pool)) process.kill(pid, 'SIGKILL');
      await eventually(() =>
        expect(pool.status().totals.restarts === deaths && pool.status().ready, 'the successor ready').toBe(
          true,
        ),
      );
    }
    expect(delays).toEqual([20, 20, 20]);
  });

  it('is not ready while no worker lives, and keeps texts that come meanwhile', async () => {
    const pool = await serving({ workers: 1, backoffMinMs: 100 });
    for (const pid of pidsOf(pool)) process.kill(pid, 'SIGKILL');
    await eventually(() => expect(!pool.status().ready, 'the death noticed').toBe(true));
    expect((await pool.embed('hi')).vector).toEqual(alone.get('hi'));
    expect(pool.status().ready).toBe(true);
  });
});
