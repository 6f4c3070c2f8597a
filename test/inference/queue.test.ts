import { describe, expect, it } from 'vitest';
import { Job, Pace, Queue, workOf } from '../../src/inference/queue.js';

const job = (client: string, work = 16): Job => new Job('text', work, client);

function queueOf(...clients: readonly [client: string, jobs: number, work?: number][]): Queue {
  const queue = new Queue();
  for (const [client, jobs, work] of clients) {
    for (let n = 0; n < jobs; n += 1) queue.push(job(client, work));
  }
  return queue;
}

function drain(queue: Queue): Job[] {
  const jobs: Job[] = [];
  for (let next = queue.shift(); next; next = queue.shift()) jobs.push(next);
  return jobs;
}

describe('one client', () => {
  it('gets its texts in order, those that came back first', () => {
    const queue = new Queue();
    const [a, b, c, d] = [job('x', 5), job('x', 500), job('x', 16), job('x', 1)];
    queue.push(c);
    queue.push(d);
    queue.unshift(a, b);
    expect(queue.size).toBe(4);
    expect(queue.first).toBe(a);
    expect(drain(queue)).toEqual([a, b, c, d]);
    expect([queue.size, queue.first, queue.workBefore('x')]).toEqual([0, undefined, 0]);
  });

  it.each([0, 1, 2])('has the text at place %i taken out, once', (place) => {
    const queue = new Queue();
    const [a, b, c] = [job('x', 1), job('x', 2), job('x', 3)];
    queue.push(b);
    queue.push(c);
    queue.unshift(a);
    const jobs = [a, b, c];
    const out = jobs[place] ?? a;
    queue.remove(out);
    queue.remove(out);
    expect(queue.size).toBe(2);
    expect(drain(queue)).toEqual(jobs.filter((other) => other !== out));
  });
});

describe('several clients', () => {
  it('take turns, however much one of them has waiting', () => {
    const queue = queueOf(['greedy', 1_000], ['modest', 3]);
    const order = drain(queue).map(({ client }) => client);
    expect(order).toHaveLength(1_003);
    expect(order.slice(0, 6).filter((client) => client === 'modest')).toHaveLength(3);
  });

  it('get the same work done, be their texts long or short', () => {
    const queue = queueOf(['long', 100, 160], ['short', 1_000, 8]);
    const done = { long: 0, short: 0 };
    for (let n = 0; n < 420; n += 1) {
      const next = queue.shift();
      if (next) done[next.client as 'long' | 'short'] += next.work;
    }
    expect(Math.abs(done.long - done.short)).toBeLessThanOrEqual(320);
  });

  it('earn no credit while nothing of theirs waits', () => {
    const queue = queueOf(['always', 200]);
    for (let n = 0; n < 100; n += 1) queue.shift();
    for (let n = 0; n < 50; n += 1) queue.push(job('late'));
    const next = Array.from({ length: 40 }, () => queue.shift()?.client);
    expect(next.filter((client) => client === 'always').length).toBeGreaterThanOrEqual(19);
  });

  it('wait for what is before them, not for all that there is', () => {
    const queue = queueOf(['greedy', 1_000]);
    expect(queue.workBefore('greedy')).toBe(16_000);
    expect(queue.workBefore('modest')).toBe(32);
    queue.push(job('modest'));
    expect(queue.workBefore('modest')).toBe(64);
    for (let n = 0; n < 2_000; n += 1) queue.push(job(`one of many ${n}`));
    // Where each client has little, all of it comes first.
    expect(queue.workBefore('another')).toBe(Math.min(48_016, 16 * 2_003));
  });

  it('have their share of a full queue, which ends at twice its capacity', () => {
    const queue = queueOf(['greedy', 9]);
    expect(queue.hasRoom('greedy', 10)).toBe(true);
    queue.push(job('modest'));
    expect(queue.hasRoom('greedy', 10)).toBe(false);
    expect(queue.hasRoom('modest', 10)).toBe(true);
    expect(queue.hasRoom('a third', 10)).toBe(true);
    for (let n = 0; n < 10; n += 1) queue.push(job(`one of many ${n}`));
    expect(queue.hasRoom('a third', 10)).toBe(false);
  });
});

describe('the work of a text', () => {
  it('grows with its length up to what the model reads', () => {
    expect(workOf('', 256)).toBe(5);
    expect(workOf('four', 256)).toBe(6);
    expect(workOf('words '.repeat(100), 256)).toBe(155);
    expect(workOf('x'.repeat(1_000_000), 256)).toBe(261);
  });

  it('counts the characters of scripts without spaces one by one', () => {
    expect(workOf('路由器', 256)).toBe(8);
    expect(workOf('路'.repeat(100_000), 256)).toBe(261);
  });
});

describe('the pace', () => {
  it('is learned from texts', () => {
    const pace = new Pace();
    for (let text = 0; text < 1_000; text += 1) pace.observe(15, 40);
    expect(pace.ms(100)).toBeCloseTo(200, 0);
  });

  it('hardly changes with a text that took hours, but does on a machine that is a thousand times slower', () => {
    const pace = new Pace();
    for (let text = 0; text < 1_000; text += 1) pace.observe(15, 2);
    pace.observe(15, 3_600_000);
    expect(pace.ms(20)).toBeLessThan(3);
    for (let text = 0; text < 1_000; text += 1) pace.observe(15, 2_000);
    expect(pace.ms(20)).toBeCloseTo(2_000, 0);
  });
});
