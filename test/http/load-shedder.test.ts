import { describe, expect, it } from 'vitest';
import { AppError } from '../../src/errors.js';
import { LoadShedder } from '../../src/http/load-shedder.js';

/** A queue that has no room for anybody. */
const full = new AppError('overloaded', 'no room', { retryable: true });

function shedder({ room = () => false }: { readonly room?: (client: string) => boolean } = {}): LoadShedder {
  return new LoadShedder({ refusal: (client) => (room(client) ? undefined : full) });
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
    expect(shed.refusal('one')).toBeUndefined();
    repeat(100, () => shed.answered('one', true));
    expect(shed.refusal('one')).toBe(full);
  });

  it('reads the requests of a client that is refused now and then', () => {
    const shed = shedder();
    repeat(300, () => {
      shed.answered('one', true);
      shed.answered('one', false);
      shed.answered('one', false);
    });
    expect(shed.refusal('one')).toBeUndefined();
  });

  it('takes one client for no other', () => {
    const shed = shedder();
    repeat(100, () => shed.answered('greedy', true));
    expect(shed.refusal('modest')).toBeUndefined();
  });

  it('refuses nothing while there is room', () => {
    let room = false;
    const shed = shedder({ room: () => room });
    repeat(100, () => shed.answered('one', true));
    expect(shed.refusal('one')).toBe(full);
    room = true;
    expect(shed.refusal('one')).toBeUndefined();
  });

  it('forgets who is answered again', () => {
    const shed = shedder();
    repeat(100, () => shed.answered('one', true));
    repeat(40, () => shed.answered('one', false));
    expect(shed.refusal('one')).toBeUndefined();
    repeat(100, () => shed.answered('one', false));
    expect(shed.calm).toBe(true);
  });

  it('remembers no more than ten thousand clients', () => {
    const asked: string[] = [];
    const shed = shedder({
      room: (client) => {
        asked.push(client);
        return false;
      },
    });
    for (let client = 0; client < 10_001; client += 1) repeat(100, () => shed.answered(`${client}`, true));
    expect(shed.refusal('9999')).toBe(full);
    expect(shed.refusal('10000')).toBeUndefined();
    expect(asked).toEqual(['9999']);
  });
});
