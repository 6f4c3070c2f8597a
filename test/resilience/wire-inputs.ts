import { METHODS } from 'node:http';
import fc from 'fast-check';
import { AUTHORIZED, CURRENT_SET, ENDPOINTS, type Input, request } from './input.js';

/** Statuses that Node's parser and the checks behind it may answer to a bad head. */
const REFUSED = [400, 404, 405, 408, 413, 415, 417, 431];
const MAYBE = [200, ...REFUSED];
const GET = 'GET /livez HTTP/1.1\r\nHost: a\r\n';
const BODY = '{"text": "what is the weather in Lisbon tomorrow?"}';
const SIZE = BODY.length.toString(16);
const POST = 'POST /classify HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n';
const CHUNKED = `${POST}Transfer-Encoding: chunked\r\n\r\n`;

function raw(what: string, bytes: Uint8Array | string, statuses: readonly number[] = REFUSED): Input {
  const buffer = typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : Buffer.from(bytes);
  const whole = statuses.every((status) => status === 200);
  // Without a request a connection is closed silently; so is one whose client ends during a good request, which looks
  // the same as a client that went away.
  const silent = /^[\r\n]*$/.test(buffer.toString('latin1')) || (!whole && statuses.includes(200));
  return {
    what,
    bytes: buffer,
    statuses,
    alone: true,
    ...(!whole && { unfinished: true }),
    ...(silent && { mayBeSilent: true }),
  };
}

type Raw = readonly [what: string, bytes: string, statuses?: readonly number[]];

const FRAMING: readonly Raw[] = [
  ['chunks', `${CHUNKED}${SIZE}\r\n${BODY}\r\n0\r\n\r\n`, [200]],
  ['one byte a chunk', `${CHUNKED}${[...BODY].map((sign) => `1\r\n${sign}\r\n`).join('')}0\r\n\r\n`, [200]],
  ['zeros before a chunk size', `${CHUNKED}0000${SIZE}\r\n${BODY}\r\n0\r\n\r\n`, MAYBE],
  ['a chunk extension', `${CHUNKED}${SIZE};a=b\r\n${BODY}\r\n0\r\n\r\n`, MAYBE],
  ['20 kB of chunk extensions', `${CHUNKED}${SIZE};${'a'.repeat(20_000)}\r\n${BODY}\r\n0\r\n\r\n`],
  ['trailers', `${CHUNKED}${SIZE}\r\n${BODY}\r\n0\r\nX-A: b\r\n\r\n`, MAYBE],
  ['a trailer with a length', `${CHUNKED}${SIZE}\r\n${BODY}\r\n0\r\nContent-Length: 5\r\n\r\n`, MAYBE],
  ['a negative chunk', `${CHUNKED}-1\r\n`],
  ['a chunk size without end', `${CHUNKED}${'f'.repeat(40)}\r\n`],
  ['a chunk of 16 EB', `${CHUNKED}ffffffffffffffff\r\n`],
  ['a chunk that is too short', `${CHUNKED}ff\r\nabc\r\n0\r\n\r\n`],
  ['no line end after a chunk', `${CHUNKED}3\r\nabcd\r\n0\r\n\r\n`],
  ['no last chunk', `${CHUNKED}${SIZE}\r\n${BODY}\r\n`],
  ['line feeds between chunks', `${CHUNKED}${SIZE}\n${BODY}\n0\n\n`, MAYBE],
  ['length and chunks', `${POST}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`],
  ['two lengths', `${POST}Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd`],
  ...['3, 3', '+3', '-3', '0x3', '99999999999999999999'].map(
    (length): Raw => [`a length of ${length}`, `${POST}Content-Length: ${length}\r\n\r\nabc`],
  ),
  ['a length beyond the limit', `${POST}Content-Length: 9999999999\r\n\r\nabc`, [400, 413]],
  ['a body that is too short', `${POST}Content-Length: 100\r\n\r\n{"text":`, [400]],
  ...[': chunked, chunked', ': cow', ': chunked, identity', ' : chunked', ':\tchunked', ': \x0bchunked'].map(
    (coding): Raw => [
      `the coding ${JSON.stringify(coding)}`,
      `${POST}Transfer-Encoding${coding}\r\n\r\n0\r\n\r\n`,
    ],
  ),
];

const LINES: readonly Raw[] = [
  ['nothing', ''],
  ['empty lines', '\r\n\r\n\r\n'],
  ['half a method', 'GE'],
  ['no version', 'GET /livez\r\n\r\n'],
  ['HTTP/0.9', 'GET /livez HTTP/0.9\r\n\r\n', MAYBE],
  ['HTTP/1.0 without a host', 'GET /livez HTTP/1.0\r\n\r\n', [200]],
  ['HTTP/1.7', 'GET /livez HTTP/1.7\r\nHost: a\r\n\r\n'],
  ['HTTP/2.0', 'GET /livez HTTP/2.0\r\nHost: a\r\n\r\n'],
  ['the preface of HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
  ['TLS', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03'],
  ['SSH', 'SSH-2.0-OpenSSH_9.0\r\n'],
  ['lower case', 'get /livez HTTP/1.1\r\nHost: a\r\n\r\n'],
  ['no path', 'GET  HTTP/1.1\r\nHost: a\r\n\r\n'],
  ['a path without a slash', 'GET livez HTTP/1.1\r\nHost: a\r\n\r\n'],
  ['an asterisk', 'OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n', MAYBE],
  ['CONNECT', 'CONNECT evil.example:443 HTTP/1.1\r\nHost: a\r\n\r\n'],
  ['an upgrade', `${GET}Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n`, MAYBE],
  ['no host', 'GET /livez HTTP/1.1\r\n\r\n', [400]],
  ['two hosts', `${GET}Host: b\r\n\r\n`, [400]],
  ['a folded header', `${GET}X: a\r\n b\r\n\r\n`, MAYBE],
  ['a header without a colon', `${GET}nonsense\r\n\r\n`],
  ['a header without a name', `${GET}: b\r\n\r\n`],
  ['a space before the colon', 'GET /livez HTTP/1.1\r\nHost : a\r\n\r\n'],
  ['NUL in a header', `${GET}X: a\0b\r\n\r\n`],
  ['a carriage return in a header', `${GET}X: a\rb\r\n\r\n`],
  ['line feeds', 'GET /livez HTTP/1.1\nHost: a\n\n', MAYBE],
  ['escapes in the path', 'GET /\x1b[2J HTTP/1.1\r\nHost: a\r\n\r\n'],
  ['bytes above ASCII in the path', 'GET /caf\xe9 HTTP/1.1\r\nHost: a\r\n\r\n'],
  ['a fragment', 'GET /livez#x HTTP/1.1\r\nHost: a\r\n\r\n', MAYBE],
  ['an unknown expectation', `${POST}Expect: 200-maybe\r\nContent-Length: 0\r\n\r\n`, [417]],
  [
    'Expect: 100-continue',
    `${POST}Expect: 100-continue\r\nContent-Length: ${BODY.length}\r\n\r\n${BODY}`,
    [200],
  ],
  ['two requests in one', `${GET}\r\n${GET}\r\n`, [200]],
  [
    'a request in a GET body',
    `${GET}Content-Length: 40\r\n\r\nPOST /cache/verify HTTP/1.1\r\nHost: a\r\n\r\n1`,
    MAYBE,
  ],
];

const HEADS = [...FRAMING, ...LINES].map((one) => raw(...one));
const large = (from: number, to: number): fc.Arbitrary<number> => fc.integer({ min: from, max: to });

const floods = fc.oneof(
  large(101, 2_500).map((count) => {
    const lines = Array.from({ length: count }, (_, index) => `${index.toString(36)}:\r\n`);
    return raw(`${count} headers`, `${GET}${lines.join('')}\r\n`, [431]);
  }),
  large(17_000, 200_000).map((length) =>
    raw('a long header', `${GET}X: ${'a'.repeat(length)}\r\n\r\n`, [431]),
  ),
  large(17_000, 200_000).map((length) =>
    raw('a long path', `GET /${'a'.repeat(length)} HTTP/1.1\r\nHost: a\r\n\r\n`, [431]),
  ),
  large(17_000, 100_000).map((length) => raw('a long method', 'G'.repeat(length))),
);

const mutated = fc
  .tuple(
    fc.constantFrom(...HEADS).filter(({ bytes }) => bytes.length > 0),
    fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), { minLength: 1, maxLength: 4 }),
  )
  .map(([{ what, bytes: original }, changes]) => {
    const bytes = Buffer.from(original);
    for (const [at, byte] of changes) bytes[at % bytes.length] = byte;
    const input = raw(`${what}, with bytes replaced`, bytes, [200, 401, 403, 411, 422, 428, ...REFUSED]);
    return { ...input, mayBeSilent: true as const };
  });

const noise = fc
  .tuple(fc.constantFrom('', POST, CHUNKED, GET), fc.uint8Array({ minLength: 1, maxLength: 400 }))
  .map(([head, tail]) => {
    const input = raw('random bytes', Buffer.concat([Buffer.from(head), tail]));
    return head === '' ? input : { ...input, mayBeSilent: true as const };
  });

/** Bytes below HTTP: unusual chunks and lengths, floods of headers, other protocols, and noise. */
export const HEAD_INPUTS: fc.Arbitrary<Input> = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom(...HEADS) },
  { weight: 1, arbitrary: floods },
  { weight: 4, arbitrary: mutated },
  { weight: 3, arbitrary: noise },
);

const FILES = '/docs/ /docs/start.js /docs/swagger-ui.css /page/main.js /page/page.css /favicon.ico'.split(
  ' ',
);
const PATHS = [...new Set(ENDPOINTS.map(({ path }) => path)), ...FILES];
const SEGMENTS = [
  ...'.. . %2e%2e %2E%2e ..%2f %2f %5c.. ..; %00 %0d%0aX:1 %zz % %ff%fe %c0%ae %u002e __proto__ constructor'.split(
    ' ',
  ),
  ...`etc passwd resolve main models api routes * :name ';-- <script> {{7*7}} ~root`.split(' '),
  '',
  'a'.repeat(3_000),
];
const QUERIES = [
  '',
  ...`? ?a=b ?__proto__[x]=1 ?%zz ?recursive=1&recursive=2 ?blobs[]=1 ?${'a&'.repeat(500)}`.split(' '),
];
const PREFIXES = [
  '',
  ...'/routes /models /Xenova/all-MiniLM-L6-v2/resolve/main /api/models /v1/models /docs /page'.split(' '),
];
const ORIGINS =
  'http://evil.example http://127.0.0.1:1 https://evil.example:443 http://user:pw@evil ftp://x http://';

/** Statuses of a path without a body: anything but a fault of the server. */
const CLIENT_STATUSES = [200, 302, 304, 400, 401, 403, 404, 405, 412, 415, 416, 417, 422, 428, 431];

const headers = fc.constantFrom<readonly (readonly [string, string])[]>(
  [],
  [],
  [['Range', 'bytes=0-']],
  [['Range', 'bytes=999999999999-']],
  [['Range', `bytes=${'0-1,'.repeat(900)}5-`]],
  [['If-None-Match', '*']],
  [['Authorization', `Bearer ${'x'.repeat(2_000)}`]],
  [['X-Request-Id', '"><script>']],
  [
    ['X-Forwarded-For', '127.0.0.1'],
    ['X-Original-URL', '/cache/verify'],
    ['X-HTTP-Method-Override', 'DELETE'],
  ],
  [
    ['Accept', 'text/html;q=1,*/*;q='],
    ['Accept-Encoding', 'gzip;q=x'],
  ],
  [['Cookie', '__proto__=1; a='.repeat(50)]],
);
const query = fc.constantFrom(...QUERIES);

/** Every method on every path, and paths that mean to be another one. */
export const PATH_INPUTS: fc.Arbitrary<Input> = fc.oneof(
  fc
    .tuple(
      fc.constantFrom(...METHODS.filter((name) => name !== 'CONNECT')),
      fc.constantFrom(...PATHS),
      query,
      headers,
    )
    .map(([method, path, search, more]) => {
      const statuses = more.some(([name]) => name === 'Range') ? [...CLIENT_STATUSES, 206] : CLIENT_STATUSES;
      return request('a method', method, path + search, { headers: more, statuses });
    }),
  fc
    .tuple(
      fc.constantFrom('GET', 'GET', 'HEAD', 'POST', 'OPTIONS'),
      fc.array(fc.constantFrom(...SEGMENTS), { minLength: 1, maxLength: 5 }),
      fc.constantFrom(...PREFIXES),
      query,
    )
    .map(([method, segments, prefix, search]) => {
      const path = `${prefix}/${segments.join('/')}${search}`.slice(0, 12_000);
      return request('an unusual path', method, path, { statuses: CLIENT_STATUSES });
    }),
  fc
    .tuple(fc.constantFrom(...ORIGINS.split(' ')), fc.constantFrom('/livez', '/cache/verify', '/../x', ''))
    .map(([origin, path]) => request('an absolute URL', 'GET', origin + path, { statuses: CLIENT_STATUSES })),
  fc
    .tuple(
      fc.constantFrom('PUT', 'DELETE'),
      fc.constantFrom(...SEGMENTS.filter((one) => one !== '')),
      fc.boolean(),
    )
    .map(([method, name, keyed]) =>
      request(keyed ? 'a route, by an administrator' : 'a route', method, `/routes/${name}`, {
        headers: keyed ? [AUTHORIZED, CURRENT_SET] : [],
        statuses: CLIENT_STATUSES,
      }),
    ),
);
