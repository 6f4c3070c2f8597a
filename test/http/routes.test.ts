import { copyFile, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { beforeAll, describe, expect, it } from 'vitest';
import type { Decision } from '../../src/api/classify.js';
import type { LintReport } from '../../src/api/lint.js';
import type { RouteChangeBody, RouteSetBody } from '../../src/api/routes.js';
import type { ProblemBody } from '../../src/api/schema.js';
import { servingDaemon, type TestDaemon, useDaemon } from '../support/daemon.js';
import { eventually } from '../support/eventually.js';
import { metricOf } from '../support/metric.js';
import { temporaryFolder } from '../support/volume.js';

const KEY = 'an-admin-key-of-good-length';
const FILE =
  'routes:\n  - name: food\n    utterances: [order a pizza, I am hungry, bring me a burger]\n  - name: sleep\n    utterances: [good night, I am tired, wake me at seven]\n';

/** Asks a daemon's routes as an administrator does. */
function editor(daemon: TestDaemon) {
  const send = async <T>(
    method: string,
    path: string,
    body?: unknown,
    headers: Record<string, string> = {},
  ): Promise<{ status: number; headers: Headers; body: T }> => {
    const response = await fetch(daemon.url + path, {
      method,
      headers: {
        authorization: `Bearer ${KEY}`,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(body !== undefined && { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    });
    return { status: response.status, headers: response.headers, body: (await response.json()) as T };
  };
  const etag = async (): Promise<string> => (await daemon.get('/routes')).headers.get('etag') ?? '';
  return {
    etag,
    send,
    /** Sends a change with the ETag of what is served now. */
    change: async <T = RouteChangeBody>(method: string, path: string, body?: unknown) =>
      send<T>(method, path, body, { 'if-match': await etag() }),
  };
}

let folder: string;
let edit: ReturnType<typeof editor>;

const daemon = useDaemon(async (own) => {
  folder = own;
  const file = join(folder, 'routes.yaml');
  await writeFile(file, FILE);
  return {
    MODEL_CACHE_DIR: join(folder, 'volume'),
    ROUTES_FILE: file,
    ADMIN_KEYS: KEY,
    MAX_BODY_BYTES: '50000',
  };
});
beforeAll(() => {
  edit = editor(daemon);
});

const drinks = { utterances: ['a glass of water', 'brew me a coffee', 'I am thirsty'] };

describe('GET /routes', () => {
  it('shows the set, its origin, and the digest that decisions name', async () => {
    const { body, headers } = await daemon.get<RouteSetBody>('/routes');
    const decision = await daemon.post<Decision>('/classify', { text: 'a pizza please' });
    expect(headers.get('etag')).toBe(`"${body.digest}"`);
    expect(decision.body.routes_digest).toBe(body.digest);
    expect(body.source).toEqual({ kind: 'file', file: { name: 'routes.yaml', digest: body.digest } });
    expect(body.routes.map(({ name }) => name)).toEqual(['food', 'sleep']);
  });

  it('shows one route, and names what may have been meant', async () => {
    expect((await daemon.get('/routes/food')).body).toMatchObject({ name: 'food' });
    expect(await daemon.get<ProblemBody>('/routes/fod')).toMatchObject({
      status: 404,
      body: { code: 'not_found', detail: expect.stringMatching(/did you mean "food"/) },
    });
  });
});

describe('a change', () => {
  it.each([
    ['PUT', '/routes'],
    ['PUT', '/routes/food'],
    ['DELETE', '/routes/food'],
    ['POST', '/routes/rollback'],
  ])('%s %s wants a key, and If-Match', async (method, path) => {
    const body = method === 'DELETE' ? undefined : {};
    const anonymous = await edit.send<ProblemBody>(method, path, body, { authorization: '' });
    expect(anonymous).toMatchObject({ status: 401, body: { code: 'unauthorized' } });
    const blind = await edit.send<ProblemBody>(method, path, body);
    expect(blind).toMatchObject({ status: 428, body: { code: 'precondition_required' } });
    const careless = await edit.send<ProblemBody>(method, path, body, { 'if-match': '*' });
    expect(careless.status).toBe(428);
    const valid = { version: 1, utterances: ['x'] };
    const sent =
      path === '/routes'
        ? { routes: [{ name: 'x', utterances: ['x'] }] }
        : method === 'DELETE'
          ? undefined
          : method === 'POST'
            ? { version: 1 }
            : { utterances: valid.utterances };
    const stale = await edit.send<ProblemBody>(method, path, sent, { 'if-match': '"sha256:old"' });
    expect(stale).toMatchObject({ status: 412, body: { code: 'precondition_failed' } });
  });

  it('that is wrong is refused with every fault and its place', async () => {
    const wrong = { utterances: [7, ''], nme: 'x', score_threshold: 3 };
    const answer = await edit.change<ProblemBody>('PUT', '/routes/new', wrong);
    expect(answer).toMatchObject({ status: 422, body: { code: 'validation_failed' } });
    expect(answer.body.errors?.map(({ path }) => path).sort()).toEqual(
      ['', 'score_threshold', 'utterances[0]', 'utterances[1]'].sort(),
    );
    const renamed = await edit.change<ProblemBody>('PUT', '/routes/new', { ...drinks, name: 'other' });
    expect(renamed).toMatchObject({ status: 422, body: { errors: [{ path: 'name' }] } });
    expect((await edit.change<ProblemBody>('PUT', '/routes', '{"routes": ')).body.code).toBe(
      'malformed_json',
    );
    expect((await edit.change<ProblemBody>('PUT', '/routes', { routes: [] })).status).toBe(422);
    expect((await edit.change<ProblemBody>('PUT', '/routes', 'x'.repeat(60_000))).status).toBe(413);
    const media = await edit.send<ProblemBody>('PUT', '/routes', 'x', {
      'if-match': await edit.etag(),
      'content-type': 'text/plain',
    });
    expect(media.status).toBe(415);
    expect((await edit.change<ProblemBody>('DELETE', '/routes/fod')).status).toBe(404);
    expect((await edit.change<ProblemBody>('POST', '/routes/rollback', { version: 99 })).status).toBe(422);
  });

  it('serves when it is answered; routes come, change, go, and come back', async () => {
    const created = await edit.change('PUT', '/routes/drinks', drinks);
    expect(created).toMatchObject({
      status: 201,
      body: { changed: true, routes: 3, source: { kind: 'version', version: 2 } },
    });
    expect(created.headers.get('etag')).toBe(`"${created.body.digest}"`);
    const text = 'some coffee please';
    const answer = await daemon.post<Decision>('/classify', { text, threshold: 0 });
    expect(answer.body).toMatchObject({ route: 'drinks', routes_digest: created.body.digest });

    const again = await edit.change('PUT', '/routes/drinks', { name: 'drinks', ...drinks });
    expect(again).toMatchObject({ status: 200, body: { changed: false } });
    const deleted = await edit.change('DELETE', '/routes/drinks');
    expect(deleted).toMatchObject({ status: 200, body: { routes: 2, source: { kind: 'file' } } });
    const rolledBack = await edit.change('POST', '/routes/rollback');
    expect(rolledBack.body.digest).toBe(created.body.digest);
    const history = await edit.send<{ current: number; versions: { version: number; action: string }[] }>(
      'GET',
      '/routes/versions',
    );
    expect(history.body.current).toBe(4);
    expect(history.body.versions.map(({ action }) => action)).toEqual(['rollback', 'delete', 'put', 'file']);
  });

  it('takes a whole set in YAML, and names with any sign', async () => {
    const put = await edit.send<RouteChangeBody>(
      'PUT',
      '/routes',
      `${FILE}  - name: "a/b c?"\n    utterances: [order a pizza, slashes]\n`,
      {
        'if-match': `W/${await edit.etag()}`,
        'content-type': 'application/yaml',
      },
    );
    expect(put.status).toBe(200);
    expect(put.body.warnings).toEqual([
      { path: 'routes[2].utterances[0]', message: expect.stringMatching(/also an utterance of "food"/) },
    ]);
    expect((await daemon.get(`/routes/${encodeURIComponent('a/b c?')}`)).body).toMatchObject({
      name: 'a/b c?',
    });
    expect((await edit.change('DELETE', `/routes/${encodeURIComponent('a/b c?')}`)).status).toBe(200);
  });

  it('keeps how the set is scored, and is refused where that cannot be', async () => {
    const { routes, digest } = (await daemon.get<RouteSetBody>('/routes')).body;
    await edit.change('PUT', '/routes', { method: 'nearest', routes });
    await edit.change('PUT', '/routes/drinks', drinks);
    expect((await daemon.get('/routes')).body).toMatchObject({ method: 'nearest' });
    const { body } = await daemon.post<Decision>('/classify', { text: 'a pizza please' });
    expect(body.scorer).toMatchObject({ method: 'nearest' });
    const refused = await edit.change<ProblemBody>('PUT', '/routes', {
      method: 'head',
      routes: [{ name: 'alone', utterances: ['one'] }],
    });
    expect(refused).toMatchObject({ status: 422, body: { errors: [{ path: 'method' }] } });
    expect((await edit.change('PUT', '/routes', { routes })).body.digest).toBe(digest);
  });

  it('takes texts of no route, which decide, stay with changes of single routes, and go and come back', async () => {
    const { routes, digest } = (await daemon.get<RouteSetBody>('/routes')).body;
    const none = ['how much sugar is in a burger', 'is pizza healthy', 'why is fast food unhealthy'];
    const sent = async (): Promise<string | null> =>
      (await daemon.post<Decision>('/classify', { text: none[1] ?? '' })).body.route;
    expect(await sent()).toBe('food');
    const put = await edit.change('PUT', '/routes', { routes, none });
    expect(put).toMatchObject({ status: 200, body: { changed: true, routes: routes.length } });
    expect(await sent()).toBeNull();
    await edit.change('PUT', '/routes/drinks', drinks);
    expect((await daemon.get('/routes')).body).toMatchObject({ none });
    const { versions } = (await edit.send<{ versions: { version: number }[] }>('GET', '/routes/versions'))
      .body;
    const kept = await edit.send('GET', `/routes/versions/${versions[0]?.version}`);
    expect(kept.body).toMatchObject({ none });

    const draft = { routes, none: [...none, 'Order a pizza!'] };
    const { body } = await edit.send<LintReport>('POST', '/routes/lint', draft);
    expect(body.findings).toContainEqual(
      expect.objectContaining({ severity: 'error', kind: 'none_collision', routes: ['food'] }),
    );
    const wrong = await edit.change<ProblemBody>('PUT', '/routes', { routes, none: ['x', 3] });
    expect(wrong).toMatchObject({ status: 422, body: { errors: [{ path: 'none[1]' }] } });

    expect((await edit.change('PUT', '/routes', { routes })).body.digest).toBe(digest);
    expect(await sent()).toBe('food');
    expect((await daemon.get('/routes')).body).not.toHaveProperty('none');
  });

  it('gives way to an edit of the file, which is said', async () => {
    await edit.change('PUT', '/routes/drinks', drinks);
    await writeFile(
      join(folder, 'routes.yaml'),
      `${FILE}  - name: play\n    utterances: [a game of chess, deal the cards]\n`,
    );
    await eventually(async () => {
      const { body } = await daemon.get<RouteSetBody>('/routes');
      expect(body.source).toMatchObject({ kind: 'file', file: { digest: body.digest } });
      expect(body.routes.map(({ name }) => name)).toEqual(['food', 'sleep', 'play']);
    });
    await eventually(() =>
      expect(
        daemon.lines.some(({ msg }) => /file differs from the one before and is served again/.test(msg)),
      ).toBe(true),
    );
    const back = await edit.change('POST', '/routes/rollback');
    expect(back.body.source.kind).toBe('version');
    const { body } = await daemon.get<{ checks: { routes: { detail: string } } }>('/health');
    expect(body.checks.routes.detail).toMatch(/version \d+ on top of routes\.yaml/);
  });
});

describe('a request that comes again and again', () => {
  it('gets the same answer, the new one after a change, and its own options count', async () => {
    const { body: set } = await daemon.get<RouteSetBody>('/routes');
    await edit.change('PUT', '/routes', { routes: set.routes.filter(({ name }) => name !== 'drinks') });
    const ask = (options = {}) =>
      daemon.post<Decision>('/classify', { text: 'a strong coffee, quickly', ...options });
    const asked = async (): Promise<Decision[]> => {
      const answers: Decision[] = [];
      for (let round = 0; round < 4; round += 1) answers.push((await ask()).body);
      return answers;
    };
    const counters = ['tokens', 'embedding_cache_hits'].map((name) => `ai_router_${name}_total`);
    const count = (): Promise<number[]> =>
      Promise.all([...counters, 'ai_router_request_texts_sum'].map((name) => metricOf(daemon.url, name)));
    const counted = await count();
    const before = await asked();
    expect(new Set(before.map((answer) => JSON.stringify(answer))).size).toBe(1);
    expect(before[0]?.route).not.toBe('drinks');
    const tokens = before[0]?.usage.tokens ?? 0;
    // The first was embedded, the others were not.
    const more = (await count()).map((value, index) => value - (counted[index] ?? 0));
    expect(more).toEqual([4 * tokens, 3, 4]);
    expect((await ask({ top_k: 1 })).body.candidates).toHaveLength(1);
    expect((await ask({ threshold: 1 })).body.route).toBeNull();
    await edit.change('PUT', '/routes/drinks', drinks);
    const after = await asked();
    expect(new Set(after.map((answer) => JSON.stringify(answer))).size).toBe(1);
    expect(after[0]).toMatchObject({ route: 'drinks' });
    expect(`"${after[0]?.routes_digest}"`).toBe(await edit.etag());
  });
});

describe('lint over HTTP', () => {
  it('looks over what is served, and a draft, which is not kept', async () => {
    const { body } = await daemon.get<LintReport>('/routes/lint');
    const { body: set } = await daemon.get<RouteSetBody>('/routes');
    expect(body).toMatchObject({ digest: set.digest, routes: set.routes.length });
    const draft = { routes: [...set.routes, { name: 'twin', utterances: ['Order a pizza!', 'more of it'] }] };
    const answer = await daemon.post<LintReport>('/routes/lint', draft);
    expect(answer.status).toBe(200);
    expect(answer.body.findings[0]).toMatchObject({
      severity: 'error',
      kind: 'duplicate_across',
      routes: ['food', 'twin'],
    });
    expect((await daemon.get<RouteSetBody>('/routes')).body.digest).toBe(set.digest);
    expect((await daemon.post<ProblemBody>('/routes/lint', { routes: 7 })).status).toBe(422);
  });
});

describe('without ADMIN_KEYS', () => {
  it('changes are closed, and routes can be read and looked over', async () => {
    const closed = await servingDaemon({ MODEL_CACHE_DIR: join(folder, 'volume') });
    expect(await editor(closed).change<ProblemBody>('DELETE', '/routes/math')).toMatchObject({
      status: 403,
      body: { code: 'forbidden' },
    });
    expect((await closed.get('/routes/versions')).status).toBe(403);
    expect((await closed.get('/routes/lint')).status).toBe(200);
  });
});

describe('kill -9 in the middle of changes', () => {
  it('leaves a next boot with the old routes or the new ones, whole', async () => {
    const volume = join(await temporaryFolder(), 'volume');
    const file = join(await temporaryFolder(), 'routes.yaml');
    await copyFile('routes/smart-home.json', file.replace('yaml', 'json'));
    const env = {
      MODEL_CACHE_DIR: volume,
      ROUTES_FILE: file.replace('yaml', 'json'),
      CLASSIFY_METHOD: 'nearest',
      ADMIN_KEYS: KEY,
      INFERENCE_WORKERS: '1',
    };
    const acknowledged: string[] = [];
    let asked: string | undefined;
    for (let round = 0; round < 4; round += 1) {
      const victim = await servingDaemon(env);
      const { body } = await victim.get<RouteSetBody>('/routes');
      if (acknowledged.length > 0) {
        // What was answered is there; what was under way may be.
        expect(body.problem).toBeNull();
        const rest = body.routes.find(({ name }) => name === 'counter')?.utterances[0];
        expect([acknowledged.at(-1), asked]).toContain(rest);
        const { body: decision } = await victim.post<Decision>('/classify', { text: 'count', threshold: 0 });
        expect(decision.routes_digest).toBe(body.digest);
      }
      const put = editor(victim);
      let killed = false;
      const loop = (async () => {
        for (let step = 0; !killed; step += 1) {
          asked = `the counter stands at ${round} and ${step}`;
          const { status } = await put.change('PUT', '/routes/counter', { utterances: [asked, 'count'] });
          if (status < 300) acknowledged.push(asked);
        }
      })().catch(() => undefined);
      await eventually(() => expect(acknowledged.at(-1)).toMatch(`at ${round} and`));
      await sleep(7 + 31 * round);
      killed = true;
      await victim.stop('SIGKILL');
      await loop;
    }
    const history = JSON.parse(await readFile(join(volume, 'routes', 'current.json'), 'utf8'));
    expect(history.history.length).toBeGreaterThan(4);
  });
});
