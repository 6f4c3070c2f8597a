import fc from 'fast-check';
import { BODY_TARGETS, type Input, requestOf } from './input.js';

const KEYS = [
  'text',
  'texts',
  'top_k',
  'threshold',
  'routes',
  'labels',
  'multi',
  'explain',
  'name',
  'utterances',
  'input',
  'inputs',
  'model',
  'dimensions',
  'truncate',
  'normalize',
];
const POLLUTION = ['__proto__', 'constructor', 'prototype', 'toString', 'hasOwnProperty', 'then', 'toJSON'];
const NUMBERS = [
  '1e999',
  '-1e999',
  '1e-400',
  '-0',
  '12345678901234567890123456789',
  '0.1e1',
  '1E400',
  '9007199254740993',
];

const key = fc.oneof(fc.constantFrom(...KEYS), fc.constantFrom(...POLLUTION), fc.string({ maxLength: 12 }));

/** JSON as text, since objects of this language cannot say a key twice or a number that is too large. */
const { json } = fc.letrec<{ json: string; leaf: string; list: string; map: string }>((tie) => ({
  leaf: fc.oneof(
    fc.constantFrom(...NUMBERS, 'true', 'false', 'null', '""', '"\\u0000"', '"\\ud800"'),
    fc.double().map((value) => JSON.stringify(value) ?? 'null'),
    fc.string({ unit: 'binary', maxLength: 30 }).map((text) => JSON.stringify(text)),
  ),
  list: fc.array(tie('json'), { maxLength: 6 }).map((items) => `[${items.join(',')}]`),
  map: fc
    .array(fc.tuple(key, tie('json')), { maxLength: 7 })
    .map((entries) => `{${entries.map(([name, value]) => `${JSON.stringify(name)}:${value}`).join(',')}}`),
  json: fc.oneof({ maxDepth: 4, withCrossShrink: true }, tie('leaf'), tie('list'), tie('map')),
}));

const shaped = fc.oneof(
  { weight: 8, arbitrary: json.map((body) => ({ what: 'random JSON', body })) },
  {
    weight: 4,
    arbitrary: fc
      .array(fc.tuple(fc.constantFrom(...KEYS, ...POLLUTION), json), { minLength: 1, maxLength: 6 })
      .map((fields) => ({
        what: 'known fields, some twice, with random values',
        body: `{${fields.map(([name, value]) => `"${name}":${value}`).join(',')}}`,
      })),
  },
  {
    weight: 1,
    arbitrary: fc
      .tuple(
        fc.constantFrom('[', '{"a":', '{"text":[', '{"routes":[{"metadata":'),
        fc.integer({ min: 2, max: 20_000 }),
      )
      .map(([opening, depth]) => ({ what: 'deep nesting', body: opening.repeat(depth) })),
  },
  {
    weight: 1,
    arbitrary: fc
      .tuple(
        fc.constantFrom(
          '[',
          '{"texts":[',
          '{"text":"a","labels":[',
          '{"text":"a","routes":[',
          '{"input":[',
          '{"inputs":[',
        ),
        fc.integer({ min: 300, max: 30_000 }),
      )
      .map(([opening, width]) => ({
        what: 'a wide list',
        body: `${opening}${'0,'.repeat(width)}0]${opening.startsWith('{') ? '}' : ''}`,
      })),
  },
  {
    weight: 1,
    arbitrary: fc
      .tuple(fc.constantFrom('a', '__proto__', 'text'), fc.integer({ min: 2, max: 20_000 }))
      .map(([name, times]) => ({
        what: 'one key again and again',
        body: `{${`"${name}":0,`.repeat(times)}"${name}":0}`,
      })),
  },
  {
    weight: 1,
    arbitrary: fc.integer({ min: 2, max: 20_000 }).map((times) => ({
      what: 'many keys',
      body: `{${Array.from({ length: times }, (_, index) => `"k${index}":0`).join(',')}}`,
    })),
  },
);

/** JSON of every shape. It may be a good request by chance, except where it would change the routes. */
export const JSON_INPUTS: fc.Arbitrary<Input> = fc
  .tuple(fc.constantFrom(...BODY_TARGETS), shaped)
  .map(([target, { what, body }]) =>
    requestOf({
      ...target,
      what: `${what} to ${target.method} ${target.path}`,
      // A change that is a good one would be made, and change the golden answers.
      body: target.method === 'PUT' ? body.replaceAll('"utterances"', '"utterance"') : body,
      statuses: target.method === 'PUT' ? [400, 422] : [200, 400, 404, 409, 422],
    }),
  );
