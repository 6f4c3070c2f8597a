import { describe, expect, it } from 'vitest';
import type { Decision } from '../../src/api/classify.js';
import type { ProblemBody } from '../../src/api/schema.js';
import { useDaemon } from '../support/daemon.js';
import { eventually } from '../support/eventually.js';

const daemon = useDaemon({
  MAX_TEXT_CHARS: '2000',
  MAX_BATCH: '3',
  MAX_BODY_BYTES: '10000',
  ADMIN_KEYS: 'an-admin-key-of-good-length,another-key-of-good-length',
});

const text = 'what is the weather in Paris tomorrow?';

async function refusalOf(
  path: string,
  sent: unknown,
  status: number,
  code: string,
  detail: RegExp,
): Promise<ProblemBody> {
  const { status: answered, headers, body } = await daemon.post<ProblemBody>(path, sent);
  expect(answered).toBe(status);
  expect(headers.get('content-type')).toMatch(/^application\/problem\+json/);
  expect(body).toMatchObject({
    status,
    code,
    type: 'about:blank',
    detail: expect.stringMatching(detail),
    instance: headers.get('x-request-id'),
  });
  return body;
}

describe('a request that is wrong gets a problem document', () => {
  const deep = `${'['.repeat(3_000)}${']'.repeat(3_000)}`;
  const misspelt = { text, routes: ['wether'] };
  const large = { text: 'x'.repeat(10_001) };

  it.each<[string, unknown, RegExp]>([
    ['a body that is no object', '[]', /must be an object, not a list/],
    ['null', 'null', /object/],
    ['no text', {}, /^send either "text" or "messages"/],
    ['a number for a text', { text: 7 }, /^text: must be a string/],
    ['a text that is too long', { text: 'x'.repeat(2001) }, /2000 characters/],
    ['an unknown field', { text, txt: 1 }, /txt/],
    ['a __proto__ field', '{"text": "a", "__proto__": {"a": 1}}', /__proto__/],
    ['routes and labels', { text, routes: ['weather'], labels: ['a'] }, /^labels: cannot be combined/],
    ['no labels', { text, labels: [] }, /^labels/],
    ['too many labels', { text, labels: Array.from({ length: 101 }, (_, at) => `l${at}`) }, /^labels/],
    ['a blank label', { text, labels: [' '] }, /^labels\[0\]/],
    [
      'a label without utterances',
      { text, labels: [{ name: 'a', utterances: [] }] },
      /^labels\[0\].utterances/,
    ],
    [
      'a blank utterance',
      { text, labels: [{ name: 'a', utterances: ['x', ''] }] },
      /^labels\[0\].utterances\[1\]/,
    ],
    [
      'a long utterance',
      { text, labels: [{ name: 'a', utterances: ['x'.repeat(5000)] }] },
      /^labels\[0\].utterances\[0\]/,
    ],
    ['a blank description', { text, labels: [{ name: 'a', description: '' }] }, /^labels\[0\].description/],
    ['a negative threshold', { text, threshold: -0.1 }, /^threshold/],
    ['no routes', { text, routes: [] }, /^routes/],
    ['a threshold above 1', { text, threshold: 1.5 }, /^threshold/],
    ['a threshold of another type', { text, threshold: '0' }, /^threshold/],
    ['top_k of 0', { text, top_k: 0 }, /^top_k/],
    ['a broken top_k', { text, top_k: 1.5 }, /^top_k/],
    ['no texts', { texts: [] }, /^texts/],
    ['too many texts', { texts: ['a', 'b', 'c', 'd'] }, /3 texts at most/],
  ])('%s', async (_, body, detail) => {
    const path = Object.hasOwn(Object(body), 'texts') ? '/classify/batch' : '/classify';
    const problem = await refusalOf(path, body, 422, 'validation_failed', detail);
    expect(problem.errors?.length).toBeGreaterThan(0);
  });

  it.each<[string, string, unknown, number, string, RegExp]>([
    ['malformed JSON', '/classify', '{"text": ', 400, 'malformed_json', /not JSON/],
    ['a truncated string', '/classify', '{"text": "abc', 400, 'malformed_json', /not JSON/],
    ['an empty body', '/classify', '', 400, 'malformed_json', /not JSON/],
    ['deep JSON', '/classify', deep, 400, 'bad_request', /deeper than 64 levels/],
    ['an unknown route', '/classify', misspelt, 422, 'unknown_route', /"wether".*did you mean "weather"/],
    ['a body that is too large', '/classify', large, 413, 'body_too_large', /10000 bytes/],
    ['an unknown path', '/clasify', { text }, 404, 'not_found', /\/clasify/],
  ])('%s', async (_, path, body, status, code, detail) => {
    await refusalOf(path, body, status, code, detail);
  });

  it('with every wrong field named', async () => {
    const { body } = await daemon.post<ProblemBody>('/classify', { text: '', top_k: 0, threshold: 7 });
    expect(body.errors?.map(({ path }) => path).sort()).toEqual(['text', 'threshold', 'top_k']);
  });

  it('a compressed body', async () => {
    const answer = await daemon.post<ProblemBody>('/classify', { text }, { 'content-encoding': 'gzip' });
    expect(answer).toMatchObject({ status: 415, body: { code: 'unsupported_media_type' } });
  });

  it('bytes that are not UTF-8', async () => {
    const response = await fetch(`${daemon.url}/classify`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: Buffer.concat([Buffer.from('{"text": "'), Buffer.of(0xff, 0xfe), Buffer.from('"}')]),
    });
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({
      code: 'malformed_json',
      detail: expect.stringMatching(/UTF-8/),
    });
  });

  it.each([
    ['GET', '/classify', 'POST'],
    ['DELETE', '/classify/batch', 'POST'],
    ['POST', '/health', 'GET, HEAD'],
    ['PUT', '/cache/status', 'GET, HEAD'],
  ])('%s %s names the methods that are allowed', async (method, path, allow) => {
    const response = await fetch(daemon.url + path, { method });
    expect(response.status).toBe(405);
    expect(response.headers.get('allow')).toBe(allow);
    expect(await response.json()).toMatchObject({ code: 'method_not_allowed' });
  });
});

describe('odd but valid requests are answered', () => {
  it.each([
    ['a lone surrogate', '{"text": "broken \\ud800 emoji"}'],
    ['NUL', '{"text": "a\\u0000b"}'],
    ['only an emoji', '{"text": "🚀"}'],
    ['a charset', '{"text": "hello"}'],
    ['1,999 CJK characters', JSON.stringify({ text: '東'.repeat(1_999) })],
  ])('%s', async (_, body) => {
    const answer = await daemon.post<Decision>('/classify', body, {
      'content-type': 'application/json; charset=utf-8',
    });
    expect(answer.status).toBe(200);
    expect(answer.body.score).toEqual(expect.any(Number));
  });
});

describe('request ids', () => {
  it('are taken over when they are harmless', async () => {
    const kept = await daemon.post('/classify', { text }, { 'x-request-id': 'abc-123' });
    expect(kept.headers.get('x-request-id')).toBe('abc-123');
    const made = await daemon.post('/classify', { text }, { 'x-request-id': 'evil "quote" <b>' });
    expect(made.headers.get('x-request-id')).toMatch(/^[0-9a-f-]{36}$/);
  });

  it('are logged, and the text is not', async () => {
    await daemon.post('/classify', { text: 'a very secret sentence' }, { 'x-request-id': 'look-for-me' });
    const logged = { msg: 'request', method: 'POST', path: '/classify', status: 200 };
    await eventually(() =>
      expect(daemon.lines.find((line) => line.request_id === 'look-for-me')).toMatchObject(logged),
    );
    expect(JSON.stringify(daemon.lines)).not.toContain('very secret');
  });
});

describe('admin paths', () => {
  it('want a key', async () => {
    expect(await daemon.post('/cache/verify', {})).toMatchObject({
      status: 401,
      body: { code: 'unauthorized' },
    });
    const wrong = await daemon.post('/cache/verify', {}, { authorization: 'Bearer nope' });
    expect(wrong.status).toBe(401);
    expect(wrong.headers.get('www-authenticate')).toBe('Bearer');
    for (const key of ['an-admin-key-of-good-length', 'another-key-of-good-length']) {
      const right = await daemon.post('/cache/verify', {}, { authorization: `Bearer ${key}` });
      expect(right).toMatchObject({ status: 200, body: { reason: 'request', whole: true } });
    }
  });
});
