import { describe, expect, it } from 'vitest';
import { LoadShedder } from '../../src/http/load-shedder.js';
import { AppError } from '../../src/shared/errors.js';

/** A queue that has no room for anybody. */
const full = new AppError('overloaded', 'no room', { retryable: true });

function shedder({ room = () => false }: { readonly room?: (client: string) => boolean } = {}): LoadShedder {
  return new LoadShedder({ refuse: (client) => (room(client) ? undefined : full) });
}

function repeat(times: number, work: () => void): void {
  for (let time = 0; time < times; time += 1) work();
}

describe('a load shedder', () => {
  it('refuses nobody before most of their requests were refused', () => {
    const shed = shedder();
    expect(shed.calm).toBe(true);
    shed.answered('one', true);
    expect(shed.calm).toBe(false);
    expect(shed.refuse('one')).toBeUndefined();
    repeat(100, () => shed.answered('one', true));
    expect(shed.refuse('one')).toBe(full);
  });

  it('reads the requests of a client that is refused now and then', () => {
    const shed = shedder();
    repeat(300, () => {
      shed.answered('one', true);
      shed.answered('one', false);
      shed.answered('one', false);
    });
    expect(shed.refuse('one')).toBeUndefined();
  });

  it('takes one client for no other', () => {
    const shed = shedder();
    repeat(100, () => shed.answered('greedy', true));
    expect(shed.refuse('modest')).toBeUndefined();
  });

  it('refuses nothing while there is room', () => {
    let room = false;
    const shed = shedder({ room: () => room });
    repeat(100, () => shed.answered('one', true));
    expect(shed.refuse('one')).toBe(full);
    room = true;
    expect(shed.refuse('one')).toBeUndefined();
  });

  it('forgets who is answered again', () => {
    const shed = shedder();
    repeat(100, () => shed.answered('one', true));
    repeat(40, () => shed.answered('one', false));
    expect(shed.refuse('one')).toBeUndefined();
    repeat(100, () => shed.answered('one', false));
    expect(shed.calm).toBe(true);
  });

  it('forgets who asks no more', () => {
    const shed = shedder();
    repeat(100, () => shed.answered('one', true, 0));
    expect(shed.refuse('one', 9_000)).toBe(full);
    expect(shed.refuse('one', 18_000)).toBe(full);
    expect(shed.refuse('one', 28_001)).toBeUndefined();
    expect(shed.calm).toBe(true);
  });

  it('remembers ten thousand clients, and forgets the one that asked the longest ago', () => {
    const shed = shedder();
    for (let client = 0; client <= 10_000; client += 1) {
      repeat(100, () => shed.answered(`${client}`, true, client / 10_000));
    }
    expect(shed.refuse('10000', 2)).toBe(full);
    expect(shed.refuse('9999', 2)).toBe(full);
    expect(shed.refuse('0', 2)).toBeUndefined();
  });
});
