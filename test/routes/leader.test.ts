import { mkdir, writeFile } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { join } from 'node:path';
import { beforeEach, expect, it, onTestFinished } from 'vitest';
import { layoutOf } from '../../src/cache/layout.js';
import { RouteLeader, type RouteLeaderOptions } from '../../src/routes/leader.js';
import { parseRouteSet } from '../../src/routes/parse.js';
import { AppError } from '../../src/shared/errors.js';
import { eventually } from '../support/eventually.js';
import { serveHttp } from '../support/listen.js';
import { recordingLog, temporaryFolder } from '../support/volume.js';

type Answer = (request: IncomingMessage, response: ServerResponse) => void;

let folder: string;
let url: string;
let answer: Answer;
let asked: IncomingMessage['headers'][];
let applied: string[];
let apply: () => Promise<void>;

beforeEach(async () => {
  folder = await temporaryFolder();
  asked = [];
  applied = [];
  apply = async () => undefined;
  const address = await serveHttp((request, response) => {
    asked.push(request.headers);
    answer(request, response);
  }, onTestFinished);
  url = `${address}/routes`;
});

/** Answers this text, and 304 to those who have it. */
function serving(text: string, etag?: string, type = 'application/json'): Answer {
  return (request, response) => {
    if (etag !== undefined && request.headers['if-none-match'] === etag) return response.writeHead(304).end();
    return response.writeHead(200, { 'content-type': type, ...(etag !== undefined && { etag }) }).end(text);
  };
}

const json = (name: string, none?: string[]) =>
  JSON.stringify({
    digest: 'sha256:0',
    source: {},
    problem: null,
    utterances: 1,
    routes: [{ name, utterances: ['hello'] }],
    none,
  });

function leader(
  options: { token?: string; at?: string; limits?: NonNullable<RouteLeaderOptions['limits']> } = {},
) {
  const { at = url, ...rest } = options;
  const log = recordingLog();
  const made = new RouteLeader({
    url: at,
    pollMs: 30,
    layout: layoutOf(folder),
    log,
    apply: async (set) => {
      await apply();
      applied.push([...set.routes.map(({ name }) => name), ...set.none].join());
    },
    ...rest,
  });
  onTestFinished(() => made.close());
  return Object.assign(made, { lines: log.lines });
}

it('takes the routes of a daemon, asks by ETag, and applies each content once', async () => {
  answer = serving(json('one'), '"1"');
  const follower = leader({ token: 'a-key-of-good-length' });
  await follower.start();
  await eventually(() => expect(asked.length).toBeGreaterThan(4));
  expect(asked[0]).not.toHaveProperty('if-none-match');
  expect(asked[3]).toMatchObject({ 'if-none-match': '"1"', authorization: 'Bearer a-key-of-good-length' });
  answer = serving(json('two'), '"2"');
  await eventually(() => expect(applied).toEqual(['one', 'two']));
  expect(follower.status()).toMatchObject({ file: url, error: undefined });
  expect(follower.ageSeconds).toBeLessThan(60);
});

it('takes YAML of any web server, also without ETags', async () => {
  answer = serving('routes:\n  - { name: plain, utterances: [hello] }\n', undefined, 'text/plain');
  await leader().start();
  await eventually(() => expect(asked.length).toBeGreaterThan(3));
  expect(applied).toEqual(['plain']);
});

it.each<[string, Answer, string]>([
  ['garbage', serving('<html>no</html>', '"g"', 'text/html'), 'routes_invalid'],
  ['broken JSON', serving('{"routes": [', '"b"', 'application/json'), 'routes_invalid'],
  ['bytes that are no text', (_, response) => response.end(Buffer.from([0xff, 0xfe, 0])), 'routes_invalid'],
  [
    'half an answer',
    (_, response) =>
      void response.writeHead(200, { 'content-length': '999' }).write('[', () => response.destroy()),
    'source_truncated',
  ],
  ['a closed connection', (_, response) => response.destroy(), 'source_unreachable'],
  ['503', (_, response) => response.writeHead(503).end(), 'source_unreachable'],
  ['401', (_, response) => response.writeHead(401).end(), 'source_unauthorized'],
  ['404', (_, response) => response.writeHead(404).end(), 'source_not_found'],
  [
    'a huge body',
    (_, response) => void response.writeHead(200, { 'content-length': 2 ** 40 }).write('['),
    'source_too_large',
  ],
  [
    'a huge body of unknown length',
    (_, response) => {
      const more = (): void => {
        while (response.write(Buffer.alloc(2 ** 20, 32)));
      };
      response.writeHead(200).on('drain', more);
      more();
    },
    'source_too_large',
  ],
  [
    'a redirect to a metadata service',
    (_, response) => response.writeHead(302, { location: 'http://169.254.169.254/latest/meta-data/' }).end(),
    'source_refused',
  ],
  [
    'a redirect to a file',
    (_, response) => response.writeHead(302, { location: 'file:///etc/passwd' }).end(),
    'source_refused',
  ],
])('keeps the last good set when the leader answers %s, says so once, and recovers', async (_, bad, code) => {
  answer = serving(json('good'), '"1"');
  const follower = leader();
  await follower.start();
  answer = bad;
  await eventually(() => expect(follower.status().error?.code).toBe(code));
  const before = asked.length;
  await eventually(() => expect(asked.length).toBeGreaterThan(before + 2));
  expect(follower.status().error?.code).toBe(code);
  expect(follower.lines.filter(({ level }) => level === 'error')).toHaveLength(1);
  expect(applied).toEqual(['good']);
  answer = serving(json('good'), '"1"');
  await eventually(() => expect(follower.status().error).toBeUndefined());
});

it.each<[string, Answer, RegExp]>([
  ['never answers', () => undefined, /no answer within 200 ms/],
  ['stops halfway', (_, response) => void response.writeHead(200).write('{"routes":'), /silent for 200 ms/],
  [
    'drips',
    (_, response) => {
      const drip = setInterval(() => response.write(' '), 50);
      response.on('close', () => clearInterval(drip));
    },
    /not complete at its deadline/,
  ],
])(
  'gives a leader up that %s, and serves the last good set meanwhile, whose age grows',
  async (_, slow, message) => {
    answer = serving(json('good'), '"1"');
    const limits = { headersTimeoutMs: 200, idleTimeoutMs: 200, fileDeadlineMs: 600 };
    const follower = leader({ limits });
    await follower.start();
    answer = slow;
    await eventually(() => expect(follower.status().error?.message).toMatch(message));
    const { ageSeconds = 0 } = follower;
    await eventually(() => expect(follower.ageSeconds).toBeGreaterThan(ageSeconds));
    expect(applied).toEqual(['good']);
    answer = serving(json('new'), '"2"');
    await eventually(() => expect(follower.status().error).toBeUndefined());
    expect(applied).toEqual(['good', 'new']);
  },
);

it('sends the key to the leader only, not to where it redirects', async () => {
  const seen: IncomingMessage['headers'][] = [];
  const other = await serveHttp((request, response) => {
    seen.push(request.headers);
    response.writeHead(200, { 'content-type': 'application/json' }).end(json('moved'));
  }, onTestFinished);
  const location = `${other}/routes`;
  answer = (_, response) => response.writeHead(307, { location }).end();
  await leader({ token: 'a-key-of-good-length' }).start();
  expect(applied).toEqual(['moved']);
  expect(asked[0]).toHaveProperty('authorization');
  expect(JSON.stringify(seen)).not.toContain('a-key-of-good-length');
});

/** What a leader of a newer version serves: its digest covers what decisions depend on. */
function newer(name: string, { ofSet = {}, ofRoute = {}, isDecisive = false }): string {
  const routes = [{ name, utterances: ['hello'] }];
  const { digest } = parseRouteSet(JSON.stringify(routes), { origin: 'routes.json' });
  return JSON.stringify({
    digest: isDecisive ? `${digest}-and-more` : digest,
    ...ofSet,
    routes: routes.map((route) => ({ ...route, ...ofRoute })),
  });
}

it('leaves out what a newer leader adds and no decision depends on, and says so once', async () => {
  const added = { ofSet: { edited_by: 'ann' }, ofRoute: { colour: 'red', seen: { texts: 4 } } };
  answer = serving(newer('one', added), '"1"');
  const follower = leader();
  await follower.start();
  answer = serving(newer('two', added), '"2"');
  await eventually(() => expect(applied).toEqual(['one', 'two']));
  expect(follower.status().error).toBeUndefined();
  const remarks = follower.lines.filter(({ level }) => level === 'warn').map(({ message }) => message);
  expect(remarks).toEqual([
    expect.stringMatching(/left out.*: edited_by, routes\[\]\.colour, routes\[\]\.seen$/),
  ]);
});

it.each([
  ['of the set', { ofSet: { reject: ['hi'] } }, /:\d+: unknown field "reject"/],
  ['of a route', { ofRoute: { weight: 2 } }, /routes\[0\]: unknown field "weight"/],
])(
  'keeps the last good set where decisions depend on a new field %s, also over a restart',
  async (_, fields, message) => {
    answer = serving(json('good'), '"1"');
    const first = leader();
    await first.start();
    answer = serving(newer('new', { ...fields, isDecisive: true }), '"2"');
    await eventually(() => expect(first.status().error?.message).toMatch(message));
    expect(first.status().error?.message).toContain('upgrade this daemon');
    await first.close();
    await leader().start();
    expect(applied).toEqual(['good', 'good']);
  },
);

it('reads a file of a web server as strictly as one of a disk', async () => {
  answer = serving('routes:\n  - { name: plain, utterances: [hello] }\n', '"1"', 'text/plain');
  const follower = leader();
  await follower.start();
  answer = serving('routes:\n  - { name: plain, utterances: [hello], colour: red }\n', '"2"', 'text/plain');
  await eventually(() => expect(follower.status().error?.message).toContain('unknown field "colour"'));
  expect(applied).toEqual(['plain']);
});

it('serves the set of the volume while the leader is away, if it is of this leader', async () => {
  answer = serving(json('kept', ['elsewhere']), '"1"');
  const first = leader();
  await first.start();
  await eventually(() =>
    expect(first.lines.map(({ message }) => message)).toContain('routes of the leader loaded'),
  );
  await first.close();
  answer = (_, response) => response.destroy();
  applied = [];
  const second = leader();
  await second.start();
  expect(applied).toEqual(['kept,elsewhere']);
  expect(second.ageSeconds).toBeUndefined();
  expect(second.status().error?.code).toBe('source_unreachable');

  const stop = new AbortController();
  const other = leader({ at: url.replace('routes', 'others') });
  const started = other.start({ signal: stop.signal });
  await eventually(() => expect(other.status().error).toBeDefined());
  expect(applied).toEqual(['kept,elsewhere']);
  stop.abort();
  await expect(started).rejects.toThrow();
});

it('waits for the leader where there is no set, or a damaged one', async () => {
  await mkdir(layoutOf(folder).routes, { recursive: true });
  await writeFile(join(layoutOf(folder).routes, 'leader.json'), '{"leader": "htt');
  answer = (_, response) => response.writeHead(503).end();
  const follower = leader();
  const started = follower.start();
  await eventually(() => expect(asked.length).toBeGreaterThan(2));
  expect(applied).toEqual([]);
  answer = serving(json('late'));
  await started;
  expect(applied).toEqual(['late']);
});

it('ends its start with the failure of the model, and applies the same set in the next one', async () => {
  answer = serving(json('one'), '"1"');
  apply = () => Promise.reject(new AppError('worker_failed', 'no worker'));
  const follower = leader();
  await expect(follower.start()).rejects.toThrow('no worker');
  apply = async () => undefined;
  await follower.start();
  await follower.start();
  expect(applied).toEqual(['one', 'one']);
});
