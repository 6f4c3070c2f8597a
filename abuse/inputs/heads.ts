import fc from 'fast-check';
import type { Input } from './input.js';

/** What Node's parser and the checks behind it may say of a head that is no good one. */
const REFUSED = [400, 404, 405, 408, 413, 415, 417, 431];

function raw(what: string, bytes: Uint8Array | string, statuses: readonly number[] = REFUSED): Input {
  const buffer = typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : Buffer.from(bytes);
  const whole = statuses.every((status) => status === 200);
  // A connection without a request, or with nothing but empty lines before one, is closed without a word; so is one
  // whose client ends while a good request is worked on, for it looks the same as a client that went away.
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

const BODY = '{"text": "what is the weather in Lisbon tomorrow?"}';
const POST = 'POST /classify HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n';
const CHUNKED = `${POST}Transfer-Encoding: chunked\r\n\r\n`;
const hex = (text: string): string => text.length.toString(16);

const CHUNKS: readonly Input[] = [
  raw('chunks', `${CHUNKED}${hex(BODY)}\r\n${BODY}\r\n0\r\n\r\n`, [200]),
  raw(
    'one byte a chunk',
    `${CHUNKED}${[...BODY].map((sign) => `1\r\n${sign}\r\n`).join('')}0\r\n\r\n`,
    [200],
  ),
  raw('leading zeros in a chunk size', `${CHUNKED}0000${hex(BODY)}\r\n${BODY}\r\n0\r\n\r\n`, [
    200,
    ...REFUSED,
  ]),
  raw('a chunk extension', `${CHUNKED}${hex(BODY)};a=b\r\n${BODY}\r\n0\r\n\r\n`, [200, ...REFUSED]),
  raw('20 kB of chunk extensions', `${CHUNKED}${hex(BODY)};${'a'.repeat(20_000)}\r\n${BODY}\r\n0\r\n\r\n`),
  raw('trailers', `${CHUNKED}${hex(BODY)}\r\n${BODY}\r\n0\r\nX-A: b\r\n\r\n`, [200, ...REFUSED]),
  raw(
    'a trailer that means to be a header',
    `${CHUNKED}${hex(BODY)}\r\n${BODY}\r\n0\r\nContent-Length: 5\r\n\r\n`,
    [200, ...REFUSED],
  ),
  raw('a negative chunk', `${CHUNKED}-1\r\n`),
  raw('a chunk size without end', `${CHUNKED}${'f'.repeat(40)}\r\n`),
  raw('a chunk of 16 EB', `${CHUNKED}ffffffffffffffff\r\n`),
  raw('a chunk that is shorter than it says', `${CHUNKED}ff\r\nabc\r\n0\r\n\r\n`),
  raw('no line end after a chunk', `${CHUNKED}3\r\nabcd\r\n0\r\n\r\n`),
  raw('no last chunk', `${CHUNKED}${hex(BODY)}\r\n${BODY}\r\n`),
  raw('bare line feeds between chunks', `${CHUNKED}${hex(BODY)}\n${BODY}\n0\n\n`, [200, ...REFUSED]),
  raw('length and chunks', `${POST}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`),
  raw('two lengths', `${POST}Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd`),
  raw('a list of lengths', `${POST}Content-Length: 3, 3\r\n\r\nabc`),
  raw('a signed length', `${POST}Content-Length: +3\r\n\r\nabc`),
  raw('a negative length', `${POST}Content-Length: -3\r\n\r\nabc`),
  raw('a hexadecimal length', `${POST}Content-Length: 0x3\r\n\r\nabc`),
  raw('a length beyond 64 bits', `${POST}Content-Length: 99999999999999999999\r\n\r\nabc`),
  raw('a length beyond what is taken', `${POST}Content-Length: 9999999999\r\n\r\nabc`, [400, 413]),
  raw('a body shorter than its length', `${POST}Content-Length: 100\r\n\r\n{"text":`, [400]),
  raw('chunked twice', `${POST}Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n`),
  raw('a coding that nobody knows', `${POST}Transfer-Encoding: cow\r\n\r\n0\r\n\r\n`),
  raw('chunked, but not last', `${POST}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n`),
  raw('chunked with a space before the colon', `${POST}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n`),
  raw('chunked after a tab', `${POST}Transfer-Encoding:\tchunked\r\n\r\n0\r\n\r\n`),
  raw('chunked with a vertical tab', `${POST}Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n`),
];

const LINES: readonly Input[] = [
  raw('nothing', ''),
  raw('empty lines', '\r\n\r\n\r\n'),
  raw('half a method', 'GE'),
  raw('no version', 'GET /livez\r\n\r\n'),
  raw('HTTP/0.9', 'GET /livez HTTP/0.9\r\n\r\n', [200, ...REFUSED]),
  raw('HTTP/1.0 without a host', 'GET /livez HTTP/1.0\r\n\r\n', [200]),
  raw('HTTP/1.7', 'GET /livez HTTP/1.7\r\nHost: a\r\n\r\n'),
  raw('HTTP/2.0', 'GET /livez HTTP/2.0\r\nHost: a\r\n\r\n'),
  raw('the preface of HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
  raw('TLS', Buffer.from('1603010200010001fc0303', 'hex')),
  raw('SSH', 'SSH-2.0-OpenSSH_9.0\r\n'),
  raw('lower case', 'get /livez HTTP/1.1\r\nHost: a\r\n\r\n'),
  raw('no path', 'GET  HTTP/1.1\r\nHost: a\r\n\r\n'),
  raw('a path without a slash', 'GET livez HTTP/1.1\r\nHost: a\r\n\r\n'),
  raw('an asterisk', 'OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n', [200, ...REFUSED]),
  raw('CONNECT', 'CONNECT evil.example:443 HTTP/1.1\r\nHost: a\r\n\r\n'),
  raw('an upgrade', 'GET /livez HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n', [
    200,
    ...REFUSED,
  ]),
  raw('no host', 'GET /livez HTTP/1.1\r\n\r\n', [400]),
  raw('two hosts', 'GET /livez HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n', [400]),
  raw('a folded header', 'GET /livez HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n', [200, ...REFUSED]),
  raw('a header without a colon', 'GET /livez HTTP/1.1\r\nHost: a\r\nnonsense\r\n\r\n'),
  raw('a header without a name', 'GET /livez HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n'),
  raw('a space before the colon', 'GET /livez HTTP/1.1\r\nHost : a\r\n\r\n'),
  raw('NUL in a header', 'GET /livez HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n'),
  raw('a bare carriage return in a header', 'GET /livez HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n'),
  raw('bare line feeds', 'GET /livez HTTP/1.1\nHost: a\n\n', [200, ...REFUSED]),
  raw('escapes in the path', 'GET /\x1b[2J HTTP/1.1\r\nHost: a\r\n\r\n'),
  raw('bytes above ASCII in the path', 'GET /caf\xe9 HTTP/1.1\r\nHost: a\r\n\r\n'),
  raw('a fragment', 'GET /livez#x HTTP/1.1\r\nHost: a\r\n\r\n', [200, ...REFUSED]),
  raw('an expectation', `${POST}Expect: 200-maybe\r\nContent-Length: 0\r\n\r\n`, [417]),
  raw(
    'an expectation that is met',
    `${POST}Expect: 100-continue\r\nContent-Length: ${BODY.length}\r\n\r\n${BODY}`,
    [200],
  ),
  raw(
    'two requests in one',
    `GET /livez HTTP/1.1\r\nHost: a\r\n\r\nGET /livez HTTP/1.1\r\nHost: a\r\n\r\n`,
    [200],
  ),
  raw(
    'a request hidden behind a GET body',
    'GET /livez HTTP/1.1\r\nHost: a\r\nContent-Length: 44\r\n\r\nPOST /cache/verify HTTP/1.1\r\nHost: a\r\n\r\n12345',
    [200, ...REFUSED],
  ),
];

const floods = fc.oneof(
  fc
    .integer({ min: 101, max: 2_500 })
    .map((count) =>
      raw(
        `${count} headers`,
        `GET /livez HTTP/1.1\r\nHost: a\r\n${Array.from({ length: count }, (_, index) => `${index.toString(36)}:\r\n`).join('')}\r\n`,
        [431],
      ),
    ),
  fc
    .integer({ min: 17_000, max: 200_000 })
    .map((length) =>
      raw('a long header', `GET /livez HTTP/1.1\r\nHost: a\r\nX: ${'a'.repeat(length)}\r\n\r\n`, [431]),
    ),
  fc
    .integer({ min: 17_000, max: 200_000 })
    .map((length) => raw('a long path', `GET /${'a'.repeat(length)} HTTP/1.1\r\nHost: a\r\n\r\n`, [431])),
  fc.integer({ min: 17_000, max: 100_000 }).map((length) => raw('a long method', 'G'.repeat(length))),
);

const mutated = fc
  .tuple(
    fc.constantFrom(...CHUNKS, ...LINES).filter(({ bytes }) => bytes.length > 0),
    fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), { minLength: 1, maxLength: 4 }),
  )
  .map(([input, changes]) => {
    const bytes = Buffer.from(input.bytes);
    for (const [at, byte] of changes) bytes[at % bytes.length] = byte;
    const what = `${input.what}, with bytes replaced`;
    return { ...raw(what, bytes, [200, 401, 403, 411, 422, 428, ...REFUSED]), mayBeSilent: true as const };
  });

/** Requests as bytes: oddities of chunks and lengths, floods of headers, other protocols, and noise. */
export const HEAD_INPUTS: fc.Arbitrary<Input> = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom(...CHUNKS, ...LINES) },
  { weight: 1, arbitrary: floods },
  { weight: 4, arbitrary: mutated },
  {
    weight: 2,
    arbitrary: fc.uint8Array({ minLength: 1, maxLength: 400 }).map((bytes) => raw('random bytes', bytes)),
  },
  {
    weight: 1,
    arbitrary: fc
      .tuple(
        fc.constantFrom(POST, CHUNKED, 'GET /livez HTTP/1.1\r\nHost: a\r\n'),
        fc.uint8Array({ minLength: 1, maxLength: 200 }),
      )
      .map(([head, tail]) => ({
        ...raw('a good head and random bytes', Buffer.concat([Buffer.from(head), tail])),
        mayBeSilent: true as const,
      })),
  },
);
