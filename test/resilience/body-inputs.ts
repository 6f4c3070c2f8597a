import { brotliCompressSync, deflateSync, gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { JSON_TYPE } from '../support/wire.js';
import { BODY_TARGETS, type Input, post, request } from './input.js';

const GOOD = JSON.stringify({ text: 'what is the weather in Lisbon tomorrow?', top_k: 3 });
type Body = { readonly what: string; readonly body: Uint8Array | string };
const target = fc.constantFrom(...BODY_TARGETS);
const int = (min: number, max: number): fc.Arbitrary<number> => fc.integer({ min, max });

/** Bytes that are no UTF-8: surrogates, overlong forms, and what lies beyond Unicode. */
const NOT_UTF8 = ['eda080', 'f4908080', 'c080', 'fffe', 'f888808080', 'c328'].map((hex) =>
  Buffer.from(hex, 'hex'),
);

const bytes: fc.Arbitrary<Body> = fc.oneof(
  { weight: 4, arbitrary: fc.uint8Array({ maxLength: 300 }).map((body) => ({ what: 'random bytes', body })) },
  fc.tuple(fc.uint8Array({ maxLength: 8 }), fc.constantFrom(...NOT_UTF8)).map(([some, wrong]) => ({
    what: 'a string that is not UTF-8',
    body: Buffer.concat([Buffer.from('{"text": "a'), some, wrong, Buffer.from('"}')]),
  })),
  int(0, GOOD.length - 1).map((length) => ({ what: 'a truncated body', body: GOOD.slice(0, length) })),
  fc.tuple(int(0, GOOD.length - 1), int(0x80, 0xff)).map(([at, byte]) => {
    const body = Buffer.from(GOOD);
    body[at] = byte;
    return { what: 'one byte of a good body replaced', body };
  }),
  fc.constant({ what: 'UTF-16', body: Buffer.from(`\uFEFF${GOOD}`, 'utf16le') }),
  fc.string({ unit: 'binary', maxLength: 200 }).map((body) => ({ what: 'random text', body })),
  fc
    .array(fc.constantFrom(...'[]{}",:\\/0e-+.ntf \n\t&*!|>?%@`#'), { maxLength: 80 })
    .map((signs) => ({ what: 'syntax without sense', body: signs.join('') })),
);

const STATUSES: Readonly<Record<string, readonly number[]>> = {
  // An empty body is a rollback; nothing was changed, so there is nothing to go back to.
  '/routes/rollback': [400, 404, 409, 412, 422],
  // A body without a text passes.
  '/decision': [200, 400, 422],
};

/** Bodies of bytes, for every path that reads one. */
export const BYTE_INPUTS: fc.Arbitrary<Input> = fc
  .tuple(target, bytes)
  .map(([{ method, path, headers }, { what, body }]) =>
    request(what, method, path, {
      headers,
      body,
      statuses: STATUSES[path] ?? [400, 422],
    }),
  );

const KEYS =
  'text texts top_k threshold routes labels multi explain name utterances input inputs model dimensions truncate normalize'.split(
    ' ',
  );
const POLLUTION = '__proto__ constructor prototype toString hasOwnProperty then toJSON'.split(' ');
const ODD_VALUES =
  '1e999 -1e999 1e-400 -0 12345678901234567890123456789 0.1e1 1E400 9007199254740993 true false null "" "\\u0000" "\\ud800"'.split(
    ' ',
  );
const key = fc.oneof(fc.constantFrom(...KEYS), fc.constantFrom(...POLLUTION), fc.string({ maxLength: 12 }));

/** JSON as text: objects of JavaScript cannot have a key twice or a number that is too large. */
const { json } = fc.letrec<{ json: string; leaf: string; list: string; map: string }>((tie) => ({
  leaf: fc.oneof(
    fc.constantFrom(...ODD_VALUES),
    fc.double().map((value) => JSON.stringify(value) ?? 'null'),
    fc.string({ unit: 'binary', maxLength: 30 }).map((text) => JSON.stringify(text)),
  ),
  list: fc.array(tie('json'), { maxLength: 6 }).map((items) => `[${items.join(',')}]`),
  map: fc
    .array(fc.tuple(key, tie('json')), { maxLength: 7 })
    .map((entries) => `{${entries.map(([name, value]) => `${JSON.stringify(name)}:${value}`).join(',')}}`),
  json: fc.oneof({ maxDepth: 4, withCrossShrink: true }, tie('leaf'), tie('list'), tie('map')),
}));

const shaped: fc.Arbitrary<Body> = fc.oneof(
  { weight: 8, arbitrary: json.map((body) => ({ what: 'random JSON', body })) },
  {
    weight: 4,
    arbitrary: fc
      .array(fc.tuple(fc.constantFrom(...KEYS, ...POLLUTION), json), { minLength: 1, maxLength: 6 })
      .map((fields) => ({
        what: 'known fields with random values',
        body: `{${fields.map(([name, value]) => `"${name}":${value}`).join(',')}}`,
      })),
  },
  fc
    .tuple(fc.constantFrom('[', '{"a":', '{"text":[', '{"routes":[{"metadata":'), int(2, 20_000))
    .map(([opening, depth]) => ({ what: 'deep nesting', body: opening.repeat(depth) })),
  fc
    .tuple(
      fc.constantFrom(
        '',
        '"texts":',
        '"text":"a","labels":',
        '"text":"a","routes":',
        '"input":',
        '"inputs":',
      ),
      int(300, 30_000),
    )
    .map(([field, width]) => {
      const list = `[${'0,'.repeat(width)}0]`;
      return { what: 'a wide list', body: field === '' ? list : `{${field}${list}}` };
    }),
  fc.tuple(fc.constantFrom('a', '__proto__', 'text'), int(2, 20_000)).map(([name, times]) => ({
    what: 'one key many times',
    body: `{${`"${name}":0,`.repeat(times)}"${name}":0}`,
  })),
  int(2, 20_000).map((times) => ({
    what: 'many keys',
    body: `{${Array.from({ length: times }, (_, index) => `"k${index}":0`).join(',')}}`,
  })),
);

/** JSON of every shape. It may be a good request by chance, except where it would change the routes. */
export const JSON_INPUTS: fc.Arbitrary<Input> = fc
  .tuple(target, shaped)
  .map(([{ method, path, headers }, { what, body }]) =>
    request(what, method, path, {
      headers,
      // A good change would be made, and change the golden answers.
      body: method === 'PUT' ? String(body).replaceAll('"utterances"', '"utterance"') : body,
      statuses: method === 'PUT' ? [400, 422] : [200, 400, 404, 409, 422],
    }),
  );

/** The limits that the fuzzed daemon is given. */
export const TEXT_LIMITS = { chars: 20_000, batch: 16 } as const;

const UNITS = [
  ...'\ud800 \udfff \u0000 \u0301 \u3099 \u202e \u200d \ufeff \uffff \u2028 東 한 ﷺ 👩‍👩‍👧‍👦 \u{1d173} a'.split(
    ' ',
  ),
  ...'\u001b[2J [CLS] [SEP] ## %s%n $\u007bjndi:x}'.split(' '),
  ' ',
  '\n',
];

const text = fc.oneof(
  {
    weight: 8,
    arbitrary: fc
      .array(fc.constantFrom(...UNITS), { minLength: 1, maxLength: 40 })
      .map((all) => all.join('')),
  },
  { weight: 4, arbitrary: fc.string({ unit: 'binary', minLength: 1, maxLength: 120 }) },
  { weight: 2, arbitrary: fc.string({ unit: 'grapheme', minLength: 1, maxLength: 120 }) },
  fc
    .tuple(
      fc.constantFrom('東', '\u0301', 'a', ' ', '\u0000', 'ab', '🚀', '\ud800'),
      fc.constantFrom(300, 5_000, 20_000, 20_001, 100_000),
    )
    .map(([unit, times]) => unit.repeat(times)),
);

/** A character that reaches the model: not white space, invisible, broken, or a mark that belongs above another one. */
const READABLE = /[^\s\p{Cc}\p{Cf}\p{Co}\p{Cs}\p{Mn}\uFFFD]/u;

/** A path that takes texts, their field, the status of one that is refused, and whether a longer one is cut instead. */
interface Taker {
  readonly path: string;
  readonly field: string;
  readonly refused: number;
  readonly cuts: boolean;
}

const ONE_TEXT: readonly Taker[] = [
  { path: '/classify', field: 'text', refused: 422, cuts: false },
  { path: '/v1/embeddings', field: 'input', refused: 400, cuts: true },
  { path: '/embeddings', field: 'input', refused: 400, cuts: true },
  { path: '/embed', field: 'inputs', refused: 422, cuts: true },
];
const TEXTS: readonly Taker[] = [
  { path: '/classify/batch', field: 'texts', refused: 422, cuts: false },
  { path: '/v1/embeddings', field: 'input', refused: 400, cuts: true },
  { path: '/', field: 'inputs', refused: 422, cuts: true },
];

/** The status of texts: each must hold something readable, and no more than the limit unless it is cut there. */
function statusOf({ refused, cuts }: Taker, texts: readonly string[]): number {
  const taken = texts.map((value) => {
    const chars = [...value];
    if (chars.length <= TEXT_LIMITS.chars) return READABLE.test(value);
    return cuts && READABLE.test(chars.slice(0, TEXT_LIMITS.chars).join(''));
  });
  return taken.length > 0 && !taken.includes(false) ? 200 : refused;
}

/** Texts that are unusual in themselves. */
export const TEXT_INPUTS: fc.Arbitrary<Input> = fc.oneof(
  fc
    .tuple(fc.constantFrom(...ONE_TEXT), text)
    .map(([taker, value]) =>
      post(`a text of ${value.length} code units`, taker.path, { [taker.field]: value }, [
        statusOf(taker, [value]),
      ]),
    ),
  fc
    .tuple(fc.constantFrom(...TEXTS), fc.array(text, { maxLength: 3 }))
    .map(([taker, texts]) =>
      post(`${texts.length} texts`, taker.path, { [taker.field]: texts }, [statusOf(taker, texts)]),
    ),
);

/** A million characters: refused, or cut, before their tokens are counted. */
export const HUGE_TEXTS: fc.Arbitrary<Input> = fc
  .tuple(fc.constantFrom(...ONE_TEXT), fc.constantFrom('東', 'が', '\u0301', 'a', '\ud800'))
  .map(([taker, unit]) => {
    const value = unit.repeat(1_000_000);
    const statuses = [413, statusOf(taker, [value])];
    return post(`a million times ${JSON.stringify(unit)}`, taker.path, { [taker.field]: value }, statuses);
  });

/** 64 MB of zeros in 64 kB. */
const BOMB = gzipSync(Buffer.alloc(64 * 2 ** 20));
const QUESTION = JSON.stringify({ text: 'what is the weather in Lisbon tomorrow?' });
const OPEN = BODY_TARGETS.filter(({ method, headers }) => method === 'POST' && headers.length === 1);
const path = fc.constantFrom(...new Set(OPEN.map((one) => one.path)));
const WRONG_TYPES = [
  ...'text/plain application/x-www-form-urlencoded application/jsonp application/json-seq image/png */* application/* ; json /'.split(
    ' ',
  ),
  'multipart/form-data; boundary=x',
  'application/ json',
  'application/json, text/html',
  `text/${'x'.repeat(5_000)}`,
];
const token = fc
  .array(fc.constantFrom(...'abcxyz0129!#$&-^_.+/;=,* "'), { minLength: 1, maxLength: 30 })
  .map((signs) => signs.join(''))
  .filter((type) => !/json/.test(type));
const CODINGS = [
  'gzip',
  'deflate',
  'br',
  'zstd',
  'compress',
  'gzip, gzip',
  'x-gzip',
  'aws-chunked',
  'identity, gzip',
];
const CODED = [QUESTION, gzipSync(QUESTION), deflateSync(QUESTION), brotliCompressSync(QUESTION), BOMB, ''];

function typed(
  what: string,
  to: string,
  headers: readonly (readonly [string, string])[],
  status: number[],
  body: Uint8Array | string = QUESTION,
): Input {
  return request(what, 'POST', to, { headers, body, statuses: status });
}

/** Media types that are wrong, missing, or not media types; content codings, and bombs. */
export const TYPE_INPUTS: fc.Arbitrary<Input> = fc.oneof(
  fc
    .tuple(fc.oneof(fc.constantFrom(...WRONG_TYPES), token), path)
    .map(([type, to]) => typed('a wrong media type', to, [['Content-Type', type]], [415])),
  path.map((to) => typed('no media type', to, [], [415])),
  fc
    .constantFrom('utf-8', 'UTF-8', 'utf-16', 'latin1', 'x', '"')
    .map((charset) =>
      typed('a charset', '/classify', [['Content-Type', `application/json; charset=${charset}`]], [200, 415]),
    ),
  fc
    .tuple(fc.constantFrom(...CODINGS), fc.constantFrom(...CODED), path)
    .map(([coding, body, to]) =>
      typed(`Content-Encoding: ${coding}`, to, [JSON_TYPE, ['Content-Encoding', coding]], [415], body),
    ),
  fc.tuple(fc.constantFrom(gzipSync(QUESTION), BOMB), path).map(([body, to]) => {
    // That API says 422 of every body that is wrong.
    const status = to === '/v1/systemone' ? 422 : 400;
    return typed('compressed without a header', to, [JSON_TYPE], [status], body);
  }),
  fc
    .constantFrom('identity', 'Identity')
    .map((coding) => typed('identity', '/classify', [JSON_TYPE, ['Content-Encoding', coding]], [200])),
);
