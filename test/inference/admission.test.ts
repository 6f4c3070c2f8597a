import { describe, expect, it } from 'vitest';
import { Admission, workOf } from '../../src/inference/admission.js';

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

describe('admission', () => {
  it('learns what work takes', () => {
    const admission = new Admission(1_000);
    for (let text = 0; text < 1_000; text += 1) admission.observe(15, 40);
    expect(admission.waitMs(100, 1)).toBeCloseTo(200, 0);
    expect(admission.waitMs(100, 2)).toBeCloseTo(100, 0);
  });

  it('makes little of a text that took hours, and learns of a machine that is a thousand times slower', () => {
    const admission = new Admission(1_000);
    for (let text = 0; text < 1_000; text += 1) admission.observe(15, 2);
    admission.observe(15, 3_600_000);
    expect(admission.waitMs(20, 1)).toBeLessThan(3);
    for (let text = 0; text < 1_000; text += 1) admission.observe(15, 2_000);
    expect(admission.waitMs(20, 1)).toBeCloseTo(2_000, 0);
  });

  const asks = (waitMs: number, client = 'one', waits = true) => ({ client, waits, waitMs });

  it('lets a burst wait, keeps the queue short from the first refusal on, and forgets it', () => {
    const admission = new Admission(1_000);
    expect(admission.refuses(asks(999), 0)).toBe(false);
    expect(admission.refuses(asks(1_001), 10)).toBe(true);
    expect(admission.refuses(asks(26), 500)).toBe(true);
    expect(admission.refuses(asks(24), 600)).toBe(false);
    expect(admission.refuses(asks(999), 1_499)).toBe(true);
    expect(admission.refuses(asks(999), 2_500)).toBe(false);
  });

  it('keeps it short for the client who made it long, also when nothing of his waits any more', () => {
    const admission = new Admission(1_000);
    expect(admission.refuses(asks(1_001, 'greedy'), 0)).toBe(true);
    expect(admission.refuses(asks(900, 'modest', false), 10)).toBe(false);
    expect(admission.refuses(asks(26, 'greedy', false), 20)).toBe(true);
    expect(admission.refuses(asks(900, 'modest'), 30)).toBe(false);
  });

  it('keeps it short for all where many made it long, each with little', () => {
    const admission = new Admission(1_000);
    expect(admission.refuses(asks(1_001, 'one', false), 0)).toBe(true);
    expect(admission.refuses(asks(26, 'another', false), 10)).toBe(true);
    expect(admission.refuses(asks(24, 'another', false), 20)).toBe(false);
    expect(admission.refuses(asks(999, 'another', false), 1_100)).toBe(false);
  });
});
