import { expect, it } from 'vitest';
import { Fifo } from '../../src/inference/fifo.js';

function drain<T>(fifo: Fifo<T>): T[] {
  const values: T[] = [];
  for (let value = fifo.shift(); value !== undefined; value = fifo.shift()) values.push(value);
  return values;
}

it('gives values back in order, those put at the head first', () => {
  const fifo = new Fifo<number>();
  fifo.push(2);
  fifo.push(3);
  fifo.unshift(1);
  expect(fifo.size).toBe(3);
  expect(drain(fifo)).toEqual([1, 2, 3]);
  expect(fifo.size).toBe(0);
});

it.each([0, 1, 2])('removes the value at place %i, once', (place) => {
  const fifo = new Fifo<number>();
  const nodes = [0, 1, 2].map((value) => fifo.push(value));
  const node = nodes[place];
  if (!node) throw new Error('no such place');
  fifo.remove(node);
  fifo.remove(node);
  expect(fifo.size).toBe(2);
  fifo.push(9);
  expect(drain(fifo)).toEqual([0, 1, 2].filter((value) => value !== place).concat(9));
});

it('ignores the removal of a value that has left', () => {
  const fifo = new Fifo<number>();
  const node = fifo.push(1);
  fifo.push(2);
  fifo.shift();
  fifo.remove(node);
  expect(drain(fifo)).toEqual([2]);
});

it('lets go of the others when a node leaves, lest old garbage keep all that came after it', () => {
  const fifo = new Fifo<number>();
  const nodes = [0, 1, 2].map((value) => fifo.push(value));
  fifo.shift();
  fifo.shift();
  for (const node of nodes.slice(0, 2)) expect(node).toMatchObject({ before: undefined, after: undefined });
  expect(drain(fifo)).toEqual([2]);
});
