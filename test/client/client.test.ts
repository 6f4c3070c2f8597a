import { readdir, readFile } from 'node:fs/promises';
import type { RequestListener } from 'node:http';
import { inspect } from 'node:util';
import type * as client from 'ai-router/client';
import { type Client, ClientError, createClient } from 'ai-router/client';
import { beforeAll, describe, expect, expectTypeOf, it, onTestFinished } from 'vitest';
import { clientTypes } from '../../scripts/client-types.js';
import type { Contract } from '../../scripts/pages.js';
import type { CacheStatus } from '../../src/api/cache.js';
import type { ClassifyBody, Decision } from '../../src/api/classify.js';
import type { Health } from '../../src/api/health.js';
import type { DraftLintReport } from '../../src/api/lint.js';
import type { RouteSetBody, RouteVersionsBody } from '../../src/api/routes.js';
import { useDaemon } from '../support/daemon.js';
import { serveHttp } from '../support/listen.js';

const KEYS = { API_KEYS: 'an-api-key-of-good-length', ADMIN_KEYS: 'an-admin-key-of-good-length' };
const text = 'what is the weather in Paris tomorrow?';

async function failureOf(call: Promise<unknown>): Promise<ClientError> {
  const error = await call.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (error instanceof ClientError) return error;
  throw new Error('did not fail with a ClientError', { cause: error });
}

describe('the published types', () => {
  it('need no other package and no file of this program', async () => {
    const folder = 'packages/client/dist';
    const names = (await readdir(folder)).filter((name) => name.endsWith('.d.ts'));
    expect(names).toContain('index.d.ts');
    for (const name of names) {
      const text = await readFile(`${folder}/${name}`, 'utf8');
      for (const [, from] of text.matchAll(/from '([^']+)'/g)) expect(from).toMatch(/^\.\/\w+\.js$/);
    }
    const { dependencies } = JSON.parse(await readFile('packages/client/package.json', 'utf8')) as {
      dependencies?: object;
    };
    expect(dependencies).toBeUndefined();
  });

  it('are generated from the API description', async () => {
    const contract = JSON.parse(await readFile('openapi.json', 'utf8')) as Contract;
    expect(await readFile('packages/client/src/contract.ts', 'utf8')).toBe(clientTypes(contract));
  });

  it('are the types of the schemas', () => {
    expectTypeOf<client.Decision>().toEqualTypeOf<Decision>();
    expectTypeOf<client.Health>().toEqualTypeOf<Health>();
    expectTypeOf<client.CacheStatus>().toExtend<CacheStatus>();
    expectTypeOf<client.RouteSet>().toEqualTypeOf<RouteSetBody>();
    expectTypeOf<client.DraftLintReport>().toEqualTypeOf<DraftLintReport>();
    expectTypeOf<client.ClassifyRequest>().toEqualTypeOf<ClassifyBody>();
    expectTypeOf<client.RouteVersions>().toEqualTypeOf<RouteVersionsBody>();
  });
});

it('the client brings nothing but itself into a browser', async () => {
  const source = await readFile('packages/client/dist/index.js', 'utf8');
  expect(source).toContain('createClient');
  expect(source).not.toMatch(/\b(?:import|require|process|Buffer)\b/);
});

describe('the client and a daemon', () => {
  // Without training.
  const daemon = useDaemon({ ...KEYS, CLASSIFY_METHOD: 'nearest' });
  let client: Client;
  let admin: Client;

  beforeAll(() => {
    client = createClient({ url: `${daemon.url}/`, apiKey: KEYS.API_KEYS });
    admin = createClient({ url: daemon.url, apiKey: KEYS.ADMIN_KEYS });
  });

  it('classifies, alone and in a batch, with types that say what comes back', async () => {
    const decision = await client.classify({ text, top_k: 2, explain: true });
    expectTypeOf(decision.route).toEqualTypeOf<string | null>();
    expectTypeOf(client.classify).parameter(0).toHaveProperty('threshold');
    // @ts-expect-error: there is no such option, which the daemon says as well
    const wrong = client.classify({ text, treshold: 0 });
    expect((await failureOf(wrong)).errors[0]).toMatchObject({
      path: 'treshold',
      message: expect.stringContaining('did you mean "threshold"'),
    });
    expect(decision.route).toBe('weather');
    expect(decision.candidates[0]?.nearest?.length).toBeGreaterThan(0);
    const { results } = await client.classifyBatch({ texts: [text, 'my card was charged twice'] });
    expect(results.map(({ route }) => route)).toEqual(['weather', 'account_billing']);
  });

  it('throws what the daemon says, with what it takes to find it in the log', async () => {
    const error = await failureOf(client.classify({ text: '', top_k: 0 }));
    expect(error).toMatchObject({ code: 'validation_failed', status: 422, retryable: false });
    expect(error.errors.map(({ path }) => path).sort()).toEqual(['text', 'top_k']);
    expect(error.requestId).toMatch(/^[0-9a-f-]{36}$/);
    const stranger = createClient({ url: daemon.url, retries: 0 });
    expect(await failureOf(stranger.classify({ text }))).toMatchObject({ code: 'unauthorized', status: 401 });
    expect(await failureOf(client.verifyCache())).toMatchObject({ code: 'forbidden', status: 403 });
  });

  it('reads how the daemon, its cache and its routes are', async () => {
    expect((await client.health()).status).toBe('ready');
    expect((await client.cacheStatus()).whole).toBe(true);
    expect((await client.lint()).routes).toBeGreaterThan(0);
    expect(await client.routesDigest()).toBe((await client.routes()).digest);
    expect(await client.metrics()).toContain('ai_router_ready 1');
    expect((await client.route('weather')).utterances.length).toBeGreaterThan(3);
    expect(await failureOf(client.route('wether'))).toMatchObject({ code: 'not_found' });
    expect((await admin.verifyCache()).whole).toBe(true);
  });

  it('changes routes from what they were read as, and goes back', async () => {
    const { digest: ifMatch, routes } = await admin.routes();
    const put = await admin.putRoute('a/b', { utterances: ['hello there', 'good morning'] }, { ifMatch });
    expect(put).toMatchObject({ changed: true, routes: routes.length + 1 });
    const late = admin.deleteRoute('a/b', { ifMatch });
    expect(await failureOf(late)).toMatchObject({ code: 'precondition_failed', status: 412 });
    const removed = await admin.deleteRoute('a/b', { ifMatch: put.digest });
    expect(removed.digest).toBe(ifMatch);
    const back = await admin.rollbackRoutes({ ifMatch });
    expect(back.digest).toBe(put.digest);
    const { versions } = await admin.routeVersions();
    expect(versions[0]?.action).toBe('rollback');
    const latest = await admin.routeVersion(versions[0]?.version ?? 0);
    expect(latest.digest).toBe(versions[0]?.digest);
    expect(latest.routes.length).toBe(versions[0]?.routes);
    await expect(admin.routeVersion(999)).rejects.toMatchObject({ code: 'not_found' });
  });
});

describe('the client and a server in trouble', () => {
  /** A server that answers one request after the other with these, and the last one for ever. */
  async function serverOf(...answers: RequestListener[]): Promise<{ url: string; asked: () => number }> {
    let asked = 0;
    const url = await serveHttp((request, response) => {
      const answer = answers[Math.min(asked, answers.length - 1)];
      asked += 1;
      answer?.(request, response);
    }, onTestFinished);
    return { url, asked: () => asked };
  }

  const refuse =
    (status: number, retryAfter: string): RequestListener =>
    (_, response) => {
      response.writeHead(status, {
        'content-type': 'application/problem+json',
        'retry-after': retryAfter,
        'x-request-id': 'one',
      });
      response.end(
        JSON.stringify({ status, code: status === 429 ? 'rate_limited' : 'overloaded', detail: 'x' }),
      );
    };
  const decide: RequestListener = (_, response) => {
    response.writeHead(200, { 'content-type': 'application/json' });
    response.end(JSON.stringify({ route: 'weather' }));
  };
  const hangUp: RequestListener = (request) => void request.socket.destroy();

  it('tries again after 429, 503 and a broken connection', async () => {
    const server = await serverOf(refuse(503, '0'), hangUp, refuse(429, '0'), decide);
    const client = createClient({ url: server.url, retries: 3 });
    expect(await client.classify({ text })).toMatchObject({ route: 'weather' });
    expect(server.asked()).toBe(4);
  });

  it('gives up after some attempts, and at once where it should wait for long', async () => {
    const busy = await serverOf(refuse(503, '0'));
    const error = await failureOf(createClient({ url: busy.url, retries: 1 }).classify({ text }));
    expect(error).toMatchObject({ code: 'overloaded', status: 503, retryable: true, requestId: 'one' });
    expect(busy.asked()).toBe(2);
    const limited = await serverOf(refuse(429, '3600'));
    expect(await failureOf(createClient({ url: limited.url }).classify({ text }))).toMatchObject({
      code: 'rate_limited',
      retryAfterMs: 3_600_000,
    });
    expect(limited.asked()).toBe(1);
  });

  it('never sends a change twice without an answer', async () => {
    const server = await serverOf(hangUp, decide);
    const change = createClient({ url: server.url }).deleteRoute('a', { ifMatch: 'sha256:0' });
    expect(await failureOf(change)).toMatchObject({ code: 'connection_failed', status: undefined });
    expect(server.asked()).toBe(1);
  });

  it('stops on abort, also while it waits', async () => {
    const server = await serverOf(refuse(503, '9'));
    const stop = new AbortController();
    const call = createClient({ url: server.url }).classify({ text }, { signal: stop.signal });
    stop.abort(new Error('enough'));
    await expect(call).rejects.toThrow('enough');
    const silent = await serverOf(() => undefined);
    expect(
      await failureOf(createClient({ url: silent.url, timeoutMs: 20, retries: 0 }).health()),
    ).toMatchObject({
      code: 'no_answer',
    });
  });

  it.each([301, 302, 303, 307, 308])(
    'follows no redirect (%i), which would carry texts elsewhere',
    async (status) => {
      const elsewhere = await serverOf(decide);
      const server = await serverOf((_, response) =>
        response.writeHead(status, { location: `${elsewhere.url}/classify` }).end(),
      );
      const client = createClient({ url: server.url, apiKey: 'k3y-of-a-client', headers: { 'x-own': '1' } });
      const error = await failureOf(client.classify({ text }));
      expect(error).toMatchObject({ code: 'unexpected_answer', status });
      expect(inspect(error, { depth: 9 })).not.toContain('k3y');
      expect([server.asked(), elsewhere.asked()]).toEqual([1, 0]);
    },
  );

  it.each([
    ['a key with a line break', { apiKey: 'k3y\r\nx-admin: 1' }],
    ['a key with a blank', { apiKey: 'k3y k3y' }],
    ['a password in the address', { url: 'http://me:k3y@127.0.0.1:1' }],
  ])('refuses %s without showing it', (_, options) => {
    let error: unknown;
    try {
      createClient({ url: 'http://127.0.0.1:1', ...options });
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toBeInstanceOf(TypeError);
    expect(inspect(error)).not.toContain('k3y@');
    expect((error as Error).message).not.toContain('k3y');
  });

  it('shows no key when there is no answer', async () => {
    const client = createClient({ url: 'http://127.0.0.1:1', apiKey: 'k3y-of-a-client', retries: 0 });
    const error = await failureOf(client.health());
    expect(error).toMatchObject({ code: 'connection_failed' });
    expect(inspect(error, { depth: 9, showHidden: true })).not.toContain('k3y-of');
  });

  it('says so when something else answers', async () => {
    const proxy = await serverOf((_, response) => {
      response.writeHead(502, { 'content-type': 'text/html' });
      response.end('<h1>Bad gateway</h1>');
    });
    expect(await failureOf(createClient({ url: proxy.url }).routes())).toMatchObject({
      code: 'unexpected_answer',
      status: 502,
    });
  });
});
