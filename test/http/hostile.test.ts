import { setTimeout as sleep } from 'node:timers/promises';
import { beforeAll, describe, expect, it } from 'vitest';
import type { Decision, Decisions } from '../../src/api/classify.js';
import { MAX_ANSWER_BYTES } from '../../src/api/limits.js';
import type { ProblemBody } from '../../src/api/schema.js';
import { useDaemon } from '../support/daemon.js';
import { eventually } from '../support/eventually.js';
import { metricOf } from '../support/metric.js';
import { cpuMsOf, sizeOf } from '../support/processes.js';
import { type Answer, open, Wire } from '../support/wire.js';

const KEY = 'an-admin-key-that-must-stay-secret';
const TOKEN = 'a-hub-token-that-must-stay-secret';

const daemon = useDaemon({
  HF_TOKEN: TOKEN,
  ADMIN_KEYS: KEY,
  HEADERS_TIMEOUT_MS: '1000',
  MAX_HEADERS: '20',
  LOG_LEVEL: 'trace',
  SERVE_MODEL: 'true',
});
let wire: Wire;

beforeAll(() => {
  wire = new Wire(daemon.url);
  return () => wire.close();
});

async function ask(
  text: string,
  finish = false,
): Promise<{ answer: Answer | undefined; problem: ProblemBody }> {
  const answer = await wire.ask(Buffer.from(text, 'latin1'), { alone: true, finish });
  return { answer, problem: JSON.parse(answer?.body.toString('utf8') || '{}') as ProblemBody };
}

describe('what never becomes a request is refused with a document all the same', () => {
  const get = (lines: string): string => `GET /livez HTTP/1.1\r\n${lines}\r\n`;
  const post = (lines: string): string => `POST /classify HTTP/1.1\r\nHost: a\r\n${lines}\r\n`;
  const json = 'Content-Type: application/json\r\n';
  it.each<[string, string, number?, string?]>([
    ['no HTTP', '\x00\x01\x02\r\n\r\n'],
    ['an unknown method', 'BREW /coffee HTTP/1.1\r\nHost: a\r\n\r\n'],
    ['a bad chunk', post(`${json}Transfer-Encoding: chunked\r\n\r\nzz`)],
    ['a request in a request', post('Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n')],
    ['long headers', get(`Host: a\r\nX: ${'a'.repeat(20_000)}\r\n`), 431, 'headers_too_large'],
    ['many headers', get(`Host: a\r\n${'X: a\r\n'.repeat(20)}`), 431, 'headers_too_large'],
    ['no host', get('')],
    ['two hosts', get('Host: a\r\nHost: b\r\n')],
    ['a URL to nowhere', 'GET http:// HTTP/1.1\r\nHost: a\r\n\r\n'],
    ['another version', 'GET /livez HTTP/2.0\r\nHost: a\r\n\r\n'],
    ['a tunnel', 'CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n'],
    ['an expectation', post('Expect: wonders\r\nContent-Length: 0\r\n'), 417, 'expectation_failed'],
    ['headers that do not come', 'GET /livez HTTP/1.1\r\nHost:', 408, 'request_timeout'],
  ])('%s', async (_, text, status = 400, code = 'bad_request') => {
    const { answer, problem } = await ask(text);
    expect(answer?.status).toBe(status);
    expect(answer?.headers.get('content-type')).toMatch(/^application\/problem\+json/);
    expect(problem).toMatchObject({ status, code, instance: answer?.headers.get('x-request-id') });
  });
});

describe('bodies that cost more than they weigh', () => {
  it('a draft of broken YAML does not delay other requests', async () => {
    const stop = new AbortController();
    let answered = false;
    const lint = fetch(`${daemon.url}/routes/lint`, {
      method: 'POST',
      headers: { 'content-type': 'application/yaml' },
      body: ': : :\n'.repeat(600_000),
      signal: stop.signal,
    }).then(
      () => {
        answered = true;
      },
      () => undefined,
    );
    for (let round = 0; round < 5; round += 1) {
      expect((await daemon.get('/livez')).status).toBe(200);
      expect((await daemon.post<Decision>('/classify', { text: 'play some jazz' })).status).toBe(200);
    }
    expect(answered).toBe(false);
    stop.abort();
    await lint;
  });

  it('a draft that repeats a key a hundred thousand times', async () => {
    const body = `{${'"a":0,'.repeat(200_000)}"a":0}`;
    await eventually(async () => {
      const answer = await daemon.post<ProblemBody>('/routes/lint', body);
      // The draft of the test before, whose client went away, may not have ended yet.
      expect(answer).toMatchObject({ status: 422, body: { code: 'validation_failed' } });
      expect(JSON.stringify(answer.body).length).toBeLessThan(20_000);
    });
  });

  it('a set and a route of hostile YAML for administrators', async () => {
    const { headers } = await daemon.get('/routes');
    const put = (path: string): Promise<Response> =>
      fetch(daemon.url + path, {
        method: 'PUT',
        headers: {
          'content-type': 'application/yaml',
          'if-match': headers.get('etag') ?? '',
          authorization: `Bearer ${KEY}`,
        },
        body: ': - ? ! & * | > % @\n'.repeat(200_000),
      });
    const puts = Promise.all([put('/routes'), put('/routes/new')]);
    let ended = false;
    void puts.finally(() => {
      ended = true;
    });
    for (let round = 0; round < 5; round += 1) expect((await daemon.get('/livez')).status).toBe(200);
    expect(ended).toBe(false);
    for (const { status } of await puts) expect(status).toBe(422);
  });

  it('drafts beside a draft of the same client', async () => {
    const draft = (): Promise<{ status: number; body: ProblemBody }> =>
      daemon.post('/routes/lint', ': : :\n'.repeat(200_000), { 'content-type': 'application/yaml' });
    const answers = await Promise.all([draft(), draft(), draft()]);
    const refused = answers.filter(({ status }) => status === 503);
    expect(refused.length).toBe(2);
    for (const { body } of refused) expect(body).toMatchObject({ code: 'overloaded', gate: 'queue' });
  });

  it('a draft that names types of code', async () => {
    const yaml = 'routes:\n  - name: !!js/function "function () { process.exit() }"\n    utterances: [a]\n';
    const answer = await daemon.post<ProblemBody>('/routes/lint', yaml, {
      'content-type': 'application/yaml',
    });
    expect(answer).toMatchObject({ status: 422, body: { code: 'validation_failed' } });
  });
});

describe('a thousand connections that end before their answers', () => {
  const post = (path: string, body: string, type = 'application/json'): string =>
    `POST ${path} HTTP/1.1\r\nHost: a\r\nContent-Type: ${type}\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
  const get = (path: string): string => `GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`;
  const long = JSON.stringify({ texts: Array.from({ length: 64 }, (_, n) => `${n} ${'word '.repeat(200)}`) });
  const half = post('/classify', JSON.stringify({ text: 'a'.repeat(10_000) })).slice(0, -5_000);
  const model = `/models/Xenova/all-MiniLM-L6-v2/resolve/main/tokenizer.json`;

  it.each([
    ['files of the viewer', get('/docs/swagger-ui-bundle.js').repeat(4)],
    ['files of the model', get(model).repeat(4)],
    ['the contract', get('/openapi.json').repeat(4)],
    ['texts', post('/classify', JSON.stringify({ text: 'hello' })).repeat(4)],
    ['batches', post('/classify/batch', long).repeat(2)],
    ['embeddings', post('/v1/embeddings', JSON.stringify({ input: ['a', 'b'] })).repeat(4)],
    ['drafts', post('/routes/lint', ': : :\n'.repeat(10_000), 'application/yaml').repeat(2)],
    ['half of a body', half],
    ['half of a head', 'GET /livez HTTP/1.1\r\nHos'],
  ])('%s: nothing is held or worked on afterwards', async (_, sent) => {
    await (await fetch(`${daemon.url}/docs/swagger-ui-bundle.js`)).arrayBuffer();
    const pid = daemon.child.pid ?? 0;
    const before = sizeOf(pid).descriptors;
    for (let wave = 0; wave < 10; wave += 1) {
      const sockets = await Promise.all(
        Array.from({ length: 100 }, () => open(Number(new URL(daemon.url).port))),
      );
      for (const socket of sockets) {
        socket.pause().on('error', () => undefined);
        socket.write(sent);
      }
      await sleep(20);
      for (const socket of sockets) socket.destroy();
    }
    await eventually(() => expect(sizeOf(pid).descriptors).toBeLessThan(before + 20));
    const busy = async (): Promise<number> => {
      const from = cpuMsOf(pid);
      await sleep(200);
      return cpuMsOf(pid) - from;
    };
    await eventually(async () => expect(await busy()).toBeLessThan(50));
    // The one that asks.
    await eventually(async () => expect(await metricOf(daemon.url, 'ai_router_http_requests_open')).toBe(1));
  });
});

describe('answers that would be far larger than their requests', () => {
  const texts = Array.from({ length: 256 }, () => 'hello');

  it('are refused before any work, by how much they are too large', async () => {
    const utterances = ['b', 'c', 'd'].map((first) => first + 'a'.repeat(4_000));
    const labels = Array.from({ length: 100 }, (_, n) => ({ name: `label ${n}`, utterances }));
    const request = { texts, labels, top_k: 1_000, explain: true };
    const { status, body } = await daemon.post<ProblemBody>('/classify/batch', request);
    expect({ ...body, status }).toMatchObject({ status: 422, code: 'answer_too_large' });
    const [, bytes, allowed, fitting] =
      /could have (\d+) bytes, and (\d+) .* at most (\d+) texts/.exec(body.detail) ?? [];
    expect(Number(bytes)).toBeGreaterThan(300e6);
    expect(Number(allowed)).toBe(MAX_ANSWER_BYTES);
    const fewer = { ...request, texts: texts.slice(0, Number(fitting)) };
    const answer = await daemon.post<Decisions>('/classify/batch', fewer);
    expect(answer.status).toBe(200);
    expect(answer.body.results).toHaveLength(Number(fitting));
    expect(JSON.stringify(answer.body).length).toBeLessThan(MAX_ANSWER_BYTES);
  });

  it('are the same as the answers to each text where they are sent in pieces', async () => {
    const { body } = await daemon.post<Decisions>('/classify/batch', { texts, explain: true, top_k: 16 });
    const { body: alone } = await daemon.post<Decision>('/classify', {
      text: 'hello',
      explain: true,
      top_k: 16,
    });
    expect(body.results).toEqual(texts.map(() => alone));
  });
});

describe('names that are members of every object', () => {
  it('are labels like any other', async () => {
    const labels = ['__proto__', 'constructor', 'toString', 'hasOwnProperty'];
    const { status, body } = await daemon.post<Decision>('/classify', {
      text: 'who built this?',
      labels,
      top_k: 4,
      threshold: 0,
    });
    expect(status).toBe(200);
    expect(body.candidates.map(({ route }) => route).sort()).toEqual([...labels].sort());
  });

  it('are unknown routes', async () => {
    expect(await daemon.get('/routes/__proto__')).toMatchObject({ status: 404 });
    expect(await daemon.post('/classify', { text: 'a', routes: ['constructor'] })).toMatchObject({
      status: 422,
    });
  });
});

describe('secrets', () => {
  const SECRETS = [
    'my secret sentence',
    KEY,
    TOKEN,
    'a-wrong-key-of-good-length',
    'in-the-query',
    'a-cookie',
  ];

  it('is in no answer to a mistake, and in no line of the log', async () => {
    const answers = [
      await daemon.post('/classify', { text: 'my secret sentence' }),
      await daemon.post('/classify', '{"text": "my secret sentence'),
      await daemon.post('/classify', '{"text": my secret sentence}'),
      await daemon.post('/classify', { text: 'my secret sentence', top_k: 'x' }),
      await daemon.post('/classify/batch', { texts: ['my secret sentence', 7] }),
      await daemon.post('/routes/lint', 'my secret sentence: [', { 'content-type': 'application/yaml' }),
      await daemon.post('/cache/verify', {}, { authorization: `Bearer ${KEY}` }),
      await daemon.post('/cache/verify', {}, { authorization: 'Bearer a-wrong-key-of-good-length' }),
      await daemon.post('/cache/verify', {}, { authorization: `Basic ${KEY}` }),
      await daemon.get('/routes/none?key=in-the-query'),
      await daemon.post('/nowhere', {}, { cookie: 'session=a-cookie' }),
    ];
    for (const { status, body } of answers) {
      if (status >= 400) for (const secret of SECRETS) expect(JSON.stringify(body)).not.toContain(secret);
      expect(JSON.stringify(body)).not.toMatch(/node_modules|\\n {4}at /);
    }
    await ask(`GET /livez HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${KEY}\r\nbroken\r\n\r\n`);
    const last = await daemon.get('/livez');
    const id = last.headers.get('x-request-id');
    await eventually(() => expect(daemon.lines.some(({ request_id }) => request_id === id)).toBe(true));
    const log = JSON.stringify(daemon.lines);
    for (const secret of SECRETS) expect(log).not.toContain(secret);
    expect(daemon.stderr()).toBe('');
  });

  it('forges no line of the log', async () => {
    const before = daemon.lines.length;
    await ask(
      'GET /%0d%0a%7b%22level%22:60%7d%1b%5b2J HTTP/1.1\r\nHost: a\r\nX-Request-Id: x"}\\n{"level":60\r\n\r\n',
    );
    const { answer } = await ask('GET /the-last-one HTTP/1.1\r\nHost: a\r\n\r\n');
    const id = answer?.headers.get('x-request-id');
    await eventually(() => expect(daemon.lines.some(({ request_id }) => request_id === id)).toBe(true));
    const lines = daemon.lines.slice(before);
    expect(lines.every(({ level }) => level < 60)).toBe(true);
    expect(lines.some(({ path }) => path === '/%0d%0a%7b%22level%22:60%7d%1b%5b2J')).toBe(true);
  });
});
