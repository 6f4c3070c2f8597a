import { once } from 'node:events';
import { Agent, type IncomingMessage, request } from 'node:http';
import { beforeAll, describe, expect, it } from 'vitest';
import { useDaemon } from '../support/daemon.js';
import { eventually } from '../support/eventually.js';
import { suiteEnd } from '../support/suite.js';

const atEnd = suiteEnd();
const GREEDY = 'the-key-of-a-greedy-client';
const MODEST = 'the-key-of-a-modest-client';
/** Greedy requests that are open at any time, of which the queue holds two. */
const AT_ONCE = 40;

const daemon = useDaemon({
  API_KEYS: `${GREEDY},${MODEST}`,
  INFERENCE_WORKERS: '1',
  MAX_QUEUE: '2',
  // On a busy machine one long text may take longer than the default.
  MAX_QUEUE_MS: '60000',
  CORS_ORIGINS: 'https://app.example.org',
});
let texts = 0;
/** Answers of the flood by status. */
const answers = new Map<number, number>();

interface Sent {
  readonly key: string;
  readonly path?: string;
  readonly body?: string;
  readonly headers?: Record<string, string>;
}

/** Asks; the default body cannot be read. */
function ask({ key, path = '/classify', body = 'not JSON', headers = {} }: Sent): Promise<Response> {
  return fetch(daemon.url + path, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${key}`, ...headers },
    body,
  });
}

/**
 * Asks until the answer has this status; a flood takes its time to begin, and breathes.
 * @param sent made anew each time: a text that was let in once is known, and never refused again
 */
async function askUntil(status: number, sent: () => Sent): Promise<Response> {
  const attempt = async (): Promise<Response> => {
    const response = await ask(sent());
    if (response.status !== status) await response.body?.cancel();
    expect(response.status).toBe(status);
    return response;
  };
  return eventually(attempt, { every: 1 });
}

beforeAll(async () => {
  let flooding = true;
  atEnd(() => {
    flooding = false;
  });
  for (let one = 0; one < AT_ONCE; one += 1) {
    void (async () => {
      while (flooding) {
        texts += 1;
        const text = `${'a long text that takes its time, '.repeat(20)} ${texts}`;
        const { status, body } = await ask({ key: GREEDY, body: JSON.stringify({ text }) });
        await body?.cancel();
        answers.set(status, (answers.get(status) ?? 0) + 1);
      }
    })().catch(() => undefined);
  }
});

describe('a client that floods', () => {
  it('is refused before its request is read, as it is afterwards', async () => {
    const early = await askUntil(503, () => ({ key: GREEDY, headers: { 'x-request-id': 'my-own' } }));
    const body = await early.json();
    expect(body).toEqual({
      type: 'about:blank',
      title: 'Overloaded',
      status: 503,
      detail: expect.stringMatching(/texts are waiting already/),
      instance: 'my-own',
      code: 'overloaded',
      gate: 'queue',
    });
    expect(early.headers.get('content-type')).toBe('application/problem+json');
    expect(Number(early.headers.get('retry-after'))).toBeGreaterThanOrEqual(1);
    expect(early.headers.get('x-request-id')).toBe('my-own');
    expect(early.headers.get('server-timing')).toMatch(/^total;dur=\d+\.\d\d$/);
    // Pages are told in the way that takes longer; it has the same headers, and two of its own.
    const origin = 'https://app.example.org';
    const usual = await askUntil(503, () => {
      texts += 1;
      return { key: GREEDY, body: JSON.stringify({ text: `one more ${texts}` }), headers: { origin } };
    });
    expect(usual.headers.get('access-control-allow-origin')).toBe(origin);
    const names = ({ headers }: Response) =>
      [...headers.keys()].filter((name) => !name.startsWith('access-control-')).sort();
    expect(names(early)).toEqual(names(usual));
  });

  it('is answered in the format of the API that it speaks', async () => {
    const openAi = await askUntil(503, () => ({ key: GREEDY, path: '/v1/embeddings' }));
    expect(await openAi.json()).toMatchObject({ error: { type: 'server_error', code: 'overloaded' } });
    const tei = await askUntil(429, () => ({ key: GREEDY, path: '/embed' }));
    expect(await tei.json()).toMatchObject({ error_type: 'Overloaded' });
    expect(tei.headers.get('retry-after')).toMatch(/^\d+$/);
  });

  it.each(['/classify?again', '/Classify', '/classify/'])('is refused at %s, too', async (path) => {
    expect(await (await askUntil(503, () => ({ key: GREEDY, path }))).json()).toMatchObject({
      code: 'overloaded',
    });
  });

  it('keeps its connection, however much of a body is still to come', async () => {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    atEnd(() => agent.destroy());
    const headers = { 'content-type': 'application/json', authorization: `Bearer ${GREEDY}` };
    const send = async (method: string, path: string, body = ''): Promise<[number | undefined, number]> => {
      const outgoing = request(daemon.url + path, { agent, method, headers });
      outgoing.end(body);
      const [response] = (await once(outgoing, 'response')) as [IncomingMessage];
      const { localPort = 0 } = response.socket;
      response.resume();
      await once(response, 'end');
      return [response.statusCode, localPort];
    };
    const long = JSON.stringify({ texts: ['much '.repeat(200_000)] });
    let refused = await send('POST', '/classify/batch', long);
    // What is read has a text that is too long.
    while (refused[0] === 422) refused = await send('POST', '/classify/batch', long);
    expect(refused[0]).toBe(503);
    expect(await send('GET', '/livez')).toEqual([200, refused[1]]);
  });

  it('gets answers all the same', async () => {
    const before = answers.get(200) ?? 0;
    await eventually(() => expect((answers.get(200) ?? 0) - before).toBeGreaterThan(5));
    expect([...answers.keys()].sort()).toEqual([200, 503]);
  });

  it('is logged and counted', async () => {
    const early = await askUntil(503, () => ({ key: GREEDY, headers: { 'x-request-id': 'to-be-found' } }));
    await early.body?.cancel();
    const logged = { msg: 'request', method: 'POST', path: '/classify', status: 503 };
    await eventually(() =>
      expect(daemon.lines.findLast((line) => line.request_id === 'to-be-found')).toMatchObject(logged),
    );
    const response = await fetch(`${daemon.url}/metrics`, { headers: { authorization: `Bearer ${MODEST}` } });
    const metrics = await response.text();
    const count = (pattern: RegExp): number => Number(pattern.exec(metrics)?.[1]);
    expect(count(/^ai_router_errors_total\{code="overloaded"\} (\d+)$/m)).toBeGreaterThan(10);
    // What is open are the flood, this one, and no refusal of before.
    expect(count(/^ai_router_http_requests_open (\d+)$/m)).toBeLessThanOrEqual(AT_ONCE + 1);
  });
});

describe('beside a client that floods', () => {
  it('another one is read and answered', async () => {
    for (let time = 0; time < 8; time += 1) {
      const unreadable = await ask({ key: MODEST });
      expect(unreadable.status).toBe(400);
      await unreadable.body?.cancel();
      const text = `a modest text, the ${time}th`;
      const answered = await ask({ key: MODEST, body: JSON.stringify({ text }) });
      expect(answered.status).toBe(200);
      await answered.body?.cancel();
    }
  });

  it('a client without a key does not learn of it', async () => {
    const response = await ask({ key: 'no-key-at-all' });
    expect(response.status).toBe(401);
    await response.body?.cancel();
  });
});
