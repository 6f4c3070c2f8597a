import { brotliCompressSync, deflateSync, gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { BODY_TARGETS, type Input, JSON_TYPE, requestOf } from './input.js';

const GOOD = JSON.stringify({ text: 'what is the weather in Lisbon tomorrow?' });
/** 64 MB of zeros in 64 kB. */
const BOMB = gzipSync(Buffer.alloc(64 * 2 ** 20));

/** Everything that anybody may post a body to. */
const PATHS = [
  ...new Set(
    BODY_TARGETS.filter(({ method, headers }) => method === 'POST' && headers.length === 1).map(
      ({ path }) => path,
    ),
  ),
];

const token = fc
  .array(fc.constantFrom(...'abcxyz0129!#$&-^_.+/;=,* "'), { minLength: 1, maxLength: 30 })
  .map((signs) => signs.join(''));

const wrongTypes = fc.oneof(
  fc.constantFrom(
    'text/plain',
    'application/x-www-form-urlencoded',
    'multipart/form-data; boundary=x',
    'application/jsonp',
    'application/json-seq',
    'image/png',
    '*/*',
    'application/*',
    ';',
    'json',
    '/',
    'application/ json',
    'application/json, text/html',
    `text/${'x'.repeat(5_000)}`,
  ),
  token.filter((type) => !/json/.test(type)),
);

/** Media types that are wrong, missing, or no media types at all. */
export const TYPE_INPUTS: fc.Arbitrary<Input> = fc.oneof(
  fc.tuple(wrongTypes, fc.constantFrom(...PATHS)).map(([type, path]) =>
    requestOf({
      what: `a wrong media type to ${path}`,
      path,
      headers: [['Content-Type', type]],
      body: GOOD,
      statuses: [415],
    }),
  ),
  fc
    .constantFrom(...PATHS)
    .map((path) => requestOf({ what: `no media type to ${path}`, path, body: GOOD, statuses: [415] })),
  fc.constantFrom('utf-8', 'UTF-8', 'utf-16', 'latin1', 'x', '"').map((charset) =>
    requestOf({
      what: 'a charset',
      path: '/classify',
      headers: [['Content-Type', `application/json; charset=${charset}`]],
      body: GOOD,
      statuses: [200, 415],
    }),
  ),
  fc
    .tuple(
      fc.constantFrom(
        'gzip',
        'deflate',
        'br',
        'zstd',
        'compress',
        'gzip, gzip',
        'x-gzip',
        'aws-chunked',
        'identity, gzip',
      ),
      fc.constantFrom<Uint8Array | string>(
        GOOD,
        gzipSync(GOOD),
        deflateSync(GOOD),
        brotliCompressSync(GOOD),
        BOMB,
        '',
      ),
      fc.constantFrom(...PATHS),
    )
    .map(([encoding, body, path]) =>
      requestOf({
        what: `Content-Encoding: ${encoding} to ${path}, true or not`,
        path,
        headers: [JSON_TYPE, ['Content-Encoding', encoding]],
        body,
        statuses: [415],
      }),
    ),
  fc.tuple(fc.constantFrom(gzipSync(GOOD), BOMB), fc.constantFrom(...PATHS)).map(([body, path]) =>
    requestOf({
      what: `compressed, and silent about it, to ${path}`,
      path,
      headers: [JSON_TYPE],
      body,
      statuses: [400],
    }),
  ),
  fc.constantFrom('identity', 'Identity').map((encoding) =>
    requestOf({
      what: 'Content-Encoding: identity',
      path: '/classify',
      headers: [JSON_TYPE, ['Content-Encoding', encoding]],
      body: GOOD,
      statuses: [200],
    }),
  ),
);
