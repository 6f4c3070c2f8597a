import { EventEmitter } from 'node:events';
import { describe, expect, it } from 'vitest';
import { ByteBudget } from '../../src/http/gates.js';
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
