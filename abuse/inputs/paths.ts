import { METHODS } from 'node:http';
import fc from 'fast-check';
import { OPERATIONS } from './contract.js';
import { AUTHORIZED, CURRENT_SET, type Input, requestOf } from './input.js';

/** What is served besides what the contract names. */
const FILES = [
  '/docs/',
  '/docs/start.js',
  '/docs/swagger-ui.css',
  '/page/main.js',
  '/page/page.css',
  '/favicon.ico',
];

const PATHS = [...new Set(OPERATIONS.map(({ path }) => path)), ...FILES];

const SEGMENTS = [
  '..',
  '.',
  '',
  '%2e%2e',
  '%2E%2e',
  '..%2f',
  '%2f',
  '%5c..',
  '..;',
  '%00',
  '%0d%0aX:1',
  '%zz',
  '%',
  '%ff%fe',
  '%c0%ae',
  '%u002e',
  '__proto__',
  'constructor',
  'etc',
  'passwd',
  'resolve',
  'main',
  'models',
  'api',
  'routes',
  '*',
  ':name',
  "';--",
  '<script>',
  '{{7*7}}',
  '~root',
  'a'.repeat(3_000),
] as const;

const QUERIES = [
  '',
  '?',
  '?a=b',
  '?__proto__[x]=1',
  '?%zz',
  '?recursive=1&recursive=2',
  `?${'a&'.repeat(500)}`,
  '?blobs[]=1',
];

const PREFIXES = [
  '',
  '/routes',
  '/models',
  '/Xenova/all-MiniLM-L6-v2/resolve/main',
  '/api/models',
  '/v1/models',
  '/docs',
  '/page',
];

/** What a path without a body may come to: anything but a fault of ours. */
const CLIENT_STATUSES = [200, 302, 304, 400, 401, 403, 404, 405, 412, 415, 416, 417, 422, 428, 431];

const method = fc.constantFrom(...METHODS.filter((name) => name !== 'CONNECT'));
const query = fc.constantFrom(...QUERIES);
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

/** Every method on every path, and paths that mean to be another one. */
export const PATH_INPUTS: fc.Arbitrary<Input> = fc.oneof(
  fc.tuple(method, fc.constantFrom(...PATHS), query, headers).map(([verb, path, search, more]) =>
    requestOf({
      what: `${verb} ${path}`,
      method: verb,
      path: path + search,
      headers: more,
      statuses: more.some(([name]) => name === 'Range') ? [...CLIENT_STATUSES, 206] : CLIENT_STATUSES,
    }),
  ),
  fc
    .tuple(
      fc.constantFrom('GET', 'GET', 'HEAD', 'POST', 'OPTIONS'),
      fc.array(fc.constantFrom(...SEGMENTS), { minLength: 1, maxLength: 5 }),
      fc.constantFrom(...PREFIXES),
      query,
    )
    .map(([verb, segments, prefix, search]) =>
      requestOf({
        what: `a tricky path: ${verb} ${prefix}/${segments.join('/').slice(0, 80)}`,
        method: verb,
        path: `${prefix}/${segments.join('/')}${search}`.slice(0, 12_000),
        statuses: CLIENT_STATUSES,
      }),
    ),
  fc
    .tuple(
      fc.constantFrom(
        'http://evil.example',
        'http://127.0.0.1:1',
        'https://evil.example:443',
        'http://user:pw@evil',
        'ftp://x',
        'http://',
      ),
      fc.constantFrom('/livez', '/cache/verify', '/../x', ''),
    )
    .map(([origin, path]) =>
      requestOf({
        what: `the absolute URL ${origin}${path}`,
        method: 'GET',
        path: origin + path,
        statuses: CLIENT_STATUSES,
      }),
    ),
  fc
    .tuple(
      fc.constantFrom('PUT', 'DELETE'),
      fc.constantFrom(...SEGMENTS.filter((one) => one !== '')),
      fc.boolean(),
    )
    .map(([verb, name, keyed]) =>
      requestOf({
        what: `${verb} /routes/${name.slice(0, 40)}${keyed ? ' by an administrator' : ''}`,
        method: verb,
        path: `/routes/${name}`,
        headers: keyed ? [AUTHORIZED, CURRENT_SET] : [],
        statuses: CLIENT_STATUSES,
      }),
    ),
);
