import { describe, expect, it } from 'vitest';
import { FairQueue, type Waiting } from '../../src/inference/fair-queue.js';

const text = (client: string, work = 16): Waiting => ({ client, work });

function drain(queue: FairQueue<Waiting>): Waiting[] {
  const values: Waiting[] = [];
  for (let value = queue.shift(); value; value = queue.shift()) values.push(value);
  return values;
}

describe('one client', () => {
  it('gets its values in order, those that came back first', () => {
    const queue = new FairQueue<Waiting>();
    const [a, b, c] = [text('x', 5), text('x', 500), text('x', 16)];
    queue.push(b);
    queue.push(c);
    queue.unshift(a);
    expect(queue.size).toBe(3);
    expect(queue.first).toBe(a);
    expect(drain(queue)).toEqual([a, b, c]);
    expect([queue.size, queue.first, queue.workBefore('x')]).toEqual([0, undefined, 0]);
  });

  it.each([0, 1, 2])('has the value at place %i taken out, once', (place) => {
    const queue = new FairQueue<Waiting>();
    const values = [text('x', 1), text('x', 2), text('x', 3)];
    queue.unshift(values[0] as Waiting);
    queue.push(values[1] as Waiting);
    queue.push(values[2] as Waiting);
    const out = values[place] as Waiting;
    queue.remove(out);
    queue.remove(out);
    expect(queue.size).toBe(2);
    expect(drain(queue)).toEqual(values.filter((value) => value !== out));
  });
});

describe('several clients', () => {
  it('take turns, however much one of them has waiting', () => {
    const queue = new FairQueue<Waiting>();
    for (let n = 0; n < 1_000; n += 1) queue.push(text('greedy'));
    for (let n = 0; n < 3; n += 1) queue.push(text('modest'));
    const order = drain(queue).map(({ client }) => client);
    expect(order).toHaveLength(1_003);
    expect(order.slice(0, 6).filter((client) => client === 'modest')).toHaveLength(3);
  });

  it('get the same work done, be their texts long or short', () => {
    const queue = new FairQueue<Waiting>();
    for (let n = 0; n < 100; n += 1) queue.push(text('long', 160));
    for (let n = 0; n < 1_000; n += 1) queue.push(text('short', 8));
    let [long, short] = [0, 0];
    for (let n = 0; n < 420; n += 1) {
      const value = queue.shift();
      if (value?.client === 'long') long += value.work;
      else short += value?.work ?? 0;
    }
    expect(Math.abs(long - short)).toBeLessThanOrEqual(320);
  });

  it('wait for what is before them, not for all that there is', () => {
    const queue = new FairQueue<Waiting>();
    for (let n = 0; n < 1_000; n += 1) queue.push(text('greedy'));
    expect(queue.workBefore('greedy')).toBe(16_000);
    expect(queue.workBefore('modest')).toBe(32);
    queue.push(text('modest'));
    expect(queue.workBefore('modest')).toBe(64);
    for (let n = 0; n < 2_000; n += 1) queue.push(text(`one of many ${n}`));
    // Where everyone has little, there is nobody to take turns with: all of it comes first.
    expect(queue.workBefore('another')).toBe(Math.min(48_016, 16 * 2_003));
  });

  it('have their share of the places', () => {
    const queue = new FairQueue<Waiting>();
    for (let n = 0; n < 9; n += 1) queue.push(text('greedy'));
    expect(queue.hasItsShare('greedy', 10)).toBe(false);
    queue.push(text('modest'));
    expect(queue.hasItsShare('greedy', 10)).toBe(true);
    expect(queue.hasItsShare('modest', 10)).toBe(false);
    expect(queue.hasItsShare('a third', 10)).toBe(false);
  });
});
