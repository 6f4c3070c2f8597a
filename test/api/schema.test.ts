import { expect, it } from 'vitest';
import * as z from 'zod';
import { issuesOf } from '../../src/api/schema.js';

const label = z.union([z.string().min(1), z.strictObject({ name: z.string(), size: z.int().min(1).max(9) })]);
const question = z.discriminatedUnion('type', [
  z.object({ type: z.literal('yes') }),
  z.object({ type: z.enum(['no', 'maybe']) }),
]);
const schema = z
  .strictObject({
    text: z.string().max(3),
    labels: z.array(label).min(1).max(2),
    mode: z.enum(['fast', 'exact']),
    question,
    names: z.record(z.string().min(1), z.null()),
    on: z.boolean(),
    own: z.string('must be a text of your own'),
  })
  .partial();

it.each<[unknown, string, string]>([
  [[], '', 'must be an object, not a list'],
  [{ text: 7 }, 'text', 'must be a string, not a number'],
  [{ text: 'long' }, 'text', 'may have 3 characters at most'],
  [{ labels: {} }, 'labels', 'must be a list, not an object'],
  [{ labels: [] }, 'labels', 'must hold one item at least'],
  [{ labels: ['a', 'b', 'c'] }, 'labels', 'may hold 2 items at most'],
  [{ labels: [''] }, 'labels[0]', 'must not be empty'],
  [{ labels: ['a', null] }, 'labels[1]', 'must be a string or an object, not null'],
  [{ labels: [{ name: 'a' }] }, 'labels[0].size', 'is missing; it must be a number'],
  [{ labels: [{ name: 'a', size: 1.5 }] }, 'labels[0].size', 'must be a whole number, not 1.5'],
  [{ labels: [{ name: 'a', size: 0 }] }, 'labels[0].size', 'must be 1 or more'],
  [{ labels: [{ name: 'a', size: 10 }] }, 'labels[0].size', 'must be 9 or less'],
  [{ mode: 'slow' }, 'mode', 'must be "fast" or "exact"'],
  [{ question: { type: 'perhaps' } }, 'question.type', 'must be "yes", "no" or "maybe"'],
  [{ question: null }, 'question', 'must be an object, not null'],
  [{ names: { '': null } }, 'names', 'holds a name that is refused: it must not be empty'],
  [{ names: { 'a b': true } }, 'names["a b"]', 'must be null, not true'],
  [{ on: 'yes' }, 'on', 'must be true or false, not a string'],
  [{ own: 1 }, 'own', 'must be a text of your own'],
  [{ txet: 'a' }, 'txet', 'is no field that is known here; did you mean "text"?'],
])('says of %j where it is wrong, and how it should be', (value, path, message) => {
  const { error } = schema.safeParse(value);
  expect(error && issuesOf(error)).toEqual([{ path, message }]);
});

it('names each field that is not known', () => {
  const { error } = schema.safeParse({ a: 1, labels: [{ name: 'a', size: 1, b: 2, c: 3 }] });
  expect(error && issuesOf(error)).toEqual(
    ['labels[0].b', 'labels[0].c', 'a'].map((path) => ({ path, message: 'is no field that is known here' })),
  );
});
