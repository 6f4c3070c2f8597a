import { EventEmitter } from 'node:events';
import { describe, expect, it } from 'vitest';
import { ByteBudget, Turns } from '../../src/http/gates.js';
import type { RequestContext } from '../../src/http/request.js';

/** As much of a context as a budget needs. */
function contextOf(client: string): { context: RequestContext; close(): void } {
  const res = Object.assign(new EventEmitter(), { destroyed: false });
  const context = { state: { client }, res } as unknown as RequestContext;
  return { context, close: () => void res.emit('close') };
}

describe('ByteBudget', () => {
  it('takes bytes until a response is closed, half of them for one client', () => {
    const budget = new ByteBudget(10, 100);
    const first = contextOf('a');
    const take = budget.lease(first.context);
    take(30);
    take(20);
    expect(() => take(1)).toThrow(expect.objectContaining({ code: 'overloaded', gate: 'body_bytes' }));
    const second = contextOf('b');
    budget.lease(second.context)(50);
    expect(() => budget.lease(contextOf('c').context)(1)).toThrow(/of all clients/);
    first.close();
    expect(budget.used).toBe(50);
    budget.lease(contextOf('c').context)(50);
    second.close();
    expect(budget.used).toBe(50);
  });

  it('has room for two of the largest bodies, whatever the memory', () => {
    const budget = new ByteBudget(1_000, 10);
    budget.lease(contextOf('a').context)(1_000);
    budget.lease(contextOf('b').context)(1_000);
    expect(budget.used).toBe(2_000);
  });
});

describe('turns', () => {
  /** Takes up this turn. */
  const work = (ms: number): void => {
    for (const until = performance.now() + ms; performance.now() < until; );
  };

  it('are over when their time is, and the next one begins anew', async () => {
    const turns = new Turns();
    expect(turns.over).toBe(false);
    work(10);
    expect(turns.over).toBe(true);
    await new Promise((resolve) => setImmediate(resolve));
    expect(turns.over).toBe(false);
  });

  it('let what else arrives go first, and those who wait go on in their order', async () => {
    const turns = new Turns();
    const order: string[] = [];
    const pieces = ['a', 'b', 'c'].map(async (name) => {
      if (turns.over) await turns.next('client');
      order.push(name);
      work(10);
    });
    // As it would be read from a socket: after the first piece has used the turn, before the last one.
    setImmediate(() => order.push('probe'));
    expect([turns.waiting('client'), turns.waiting('another')]).toEqual([2, 0]);
    await Promise.all(pieces);
    await new Promise((resolve) => setImmediate(resolve));
    expect(turns.waiting('client')).toBe(0);
    expect(order.indexOf('probe')).toBeLessThan(order.indexOf('c'));
    expect(order.filter((name) => name !== 'probe')).toEqual(['a', 'b', 'c']);
  });
});
