import fc from 'fast-check';
import { type Input, JSON_TYPE, requestOf } from './input.js';

/** The limits that the fuzzed daemon is given. */
export const TEXT_LIMITS = { chars: 20_000, batch: 16 } as const;

const UNITS = [
  '\ud800',
  '\udfff',
  '\u0000',
  '\u0301',
  '\u3099',
  '\u202e',
  '\u200d',
  '\ufeff',
  '\uffff',
  '\u2028',
  '東',
  '한',
  'ﷺ',
  '👩‍👩‍👧‍👦',
  '\u{1d173}',
  'a',
  ' ',
  '\n',
  '\u001b[2J',
  '[CLS]',
  '[SEP]',
  '##',
  '%s%n',
  '$\u007bjndi:x}',
] as const;

const text = fc.oneof(
  {
    weight: 8,
    arbitrary: fc
      .array(fc.constantFrom(...UNITS), { minLength: 1, maxLength: 40 })
      .map((all) => all.join('')),
  },
  { weight: 4, arbitrary: fc.string({ unit: 'binary', minLength: 1, maxLength: 120 }) },
  { weight: 2, arbitrary: fc.string({ unit: 'grapheme', minLength: 1, maxLength: 120 }) },
  {
    weight: 1,
    arbitrary: fc
      .tuple(
        fc.constantFrom('東', '\u0301', 'a', ' ', '\u0000', 'ab', '🚀', '\ud800'),
        fc.constantFrom(300, 5_000, 20_000, 20_001, 100_000),
      )
      .map(([unit, times]) => unit.repeat(times)),
  },
);

function wellFormed(value: string): boolean {
  return [...value].length <= TEXT_LIMITS.chars && value.trim() !== '';
}

/** The paths that take one text, the field that holds it, and the status of a text that is refused. */
const ONE_TEXT = [
  { path: '/classify', field: 'text', refused: 422 },
  { path: '/v1/embeddings', field: 'input', refused: 400 },
  { path: '/embed', field: 'inputs', refused: 422 },
] as const;

/** The same for several texts. */
const TEXTS = [
  { path: '/classify/batch', field: 'texts', refused: 422 },
  { path: '/v1/embeddings', field: 'input', refused: 400 },
  { path: '/', field: 'inputs', refused: 422 },
] as const;

/** Texts that are odd in themselves: each is either taken or refused by its own rule, never both or neither. */
export const TEXT_INPUTS: fc.Arbitrary<Input> = fc.oneof(
  fc.tuple(fc.constantFrom(...ONE_TEXT), text).map(([{ path, field, refused }, value]) =>
    requestOf({
      what: `a text of ${value.length} code units to ${path}`,
      path,
      headers: [JSON_TYPE],
      body: JSON.stringify({ [field]: value }),
      statuses: wellFormed(value) ? [200] : [refused],
    }),
  ),
  fc
    .tuple(fc.constantFrom(...TEXTS), fc.array(text, { maxLength: 3 }))
    .map(([{ path, field, refused }, texts]) =>
      requestOf({
        what: `${texts.length} texts to ${path}`,
        path,
        headers: [JSON_TYPE],
        body: JSON.stringify({ [field]: texts }),
        statuses: texts.length > 0 && texts.every(wellFormed) ? [200] : [refused],
      }),
    ),
);

/** A million characters: refused before anybody counts their tokens. */
export const HUGE_TEXTS: fc.Arbitrary<Input> = fc
  .tuple(fc.constantFrom(...ONE_TEXT), fc.constantFrom('東', 'が', '\u0301', 'a', '\ud800'))
  .map(([{ path, field, refused }, unit]) =>
    requestOf({
      what: `a million times ${JSON.stringify(unit)} to ${path}`,
      path,
      headers: [JSON_TYPE],
      body: JSON.stringify({ [field]: unit.repeat(1_000_000) }),
      statuses: [413, refused],
    }),
  );
