import { writeFile } from 'node:fs/promises';
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import { join } from 'node:path';
import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  decisionResponse,
  type FallbackFailure,
  systemOneRequest,
  systemOneResponse,
} from '../../src/api/decisions.js';
import { CIRCUIT } from '../../src/daemon/fallback.js';
import { SMALL, startDaemon, type TestDaemon } from '../support/daemon.js';
import { eventually } from '../support/eventually.js';
import { serveHttp } from '../support/listen.js';
import { suiteEnd } from '../support/suite.js';
import { temporaryFolder } from '../support/volume.js';

const atEnd = suiteEnd();
const PRIVATE = 'bluebottle';
const KEY = 'a-key-of-the-larger-server';
/** For none of the routes. */
const OFF = 'what is the capital of France?';
/** That no option of any kind is like. */
const UNREAD = 'اكتب لي قصيدة';
const ON = 'turn on the lights';
const CRITERIA = { media: 'Music and films', lights: null };

type Behaviour = (request: IncomingMessage, response: ServerResponse, body: string) => void;

/** Answers that its last option is certain. */
const good: Behaviour = (_, response, body) => {
  const { questions } = systemOneRequest.parse(JSON.parse(body));
  const answers = Object.entries(questions).map(([id, question]) => {
    const names = Object.keys(question.criteria ?? {});
    const probabilities = Object.fromEntries(names.map((name) => [name, name === names.at(-1) ? 0.9 : 0.1]));
    return [id, { type: 'choice', choice: names.at(-1), probabilities, confidence: 0.8 }];
  });
  response.setHeader('content-type', 'application/json');
  response.end(JSON.stringify({ model: 'jev-large', answers: Object.fromEntries(answers), usage: {} }));
};
const sending =
  (text: string, status = 200, headers: Record<string, string> = {}): Behaviour =>
  (_, response) =>
    response.writeHead(status, headers).end(text);

let behave: Behaviour = good;
const seen: { readonly url: string; readonly headers: IncomingMessage['headers']; readonly body: string }[] =
  [];
const serve: RequestListener = (request, response) => {
  let body = '';
  request.setEncoding('utf8').on('data', (piece) => {
    body += piece;
  });
  request.on('end', () => {
    seen.push({ url: request.url ?? '', headers: request.headers, body });
    behave(request, response, body);
  });
};

let daemon: TestDaemon;
/** Its share is the default. */
let sparing: TestDaemon;

beforeAll(async () => {
  const url = await serveHttp(serve, atEnd);
  const keyFile = join(await temporaryFolder(atEnd), 'key');
  await writeFile(keyFile, `${KEY}\n`);
  const common = {
    ...SMALL,
    LOG_LEVEL: 'trace',
    FALLBACK_TIMEOUT_MS: '3000',
  };
  [daemon, sparing] = await Promise.all([
    startDaemon(
      {
        ...common,
        FALLBACK_URL: `${url}/base/?secret=${PRIVATE}`,
        FALLBACK_API_KEY_FILE: keyFile,
        FALLBACK_MODEL: 'large',
        FALLBACK_SHARE: '1',
      },
      { atEnd },
    ),
    startDaemon({ ...common, FALLBACK_URL: url }, { atEnd }),
  ]);
  await Promise.all([daemon.ready(50_000), sparing.ready(50_000)]);
});

beforeEach(async () => {
  behave = good;
  // A good answer ends the count of failures.
  expect((await ask(OFF)).x_fallback).toEqual({ model: 'jev-large' });
  seen.length = 0;
});

async function ask(state: unknown, by = daemon, headers: Record<string, string> = {}) {
  const questions = {
    'a b': { type: 'choice', instructions: 'Which?', criteria: CRITERIA },
    n: { type: 'noul', instructions: 'Light?' },
  };
  const { status, body } = await by.post('/v1/systemone', { model: 'x', state, questions }, headers);
  expect(status).toBe(200);
  const answer = systemOneResponse.parse(body).answers['a b'];
  if (answer?.type !== 'choice') throw new Error('no choice');
  return answer;
}

async function resultOf(name: string): Promise<number> {
  const metrics = await (await fetch(`${daemon.url}/metrics`)).text();
  return Number(
    new RegExp(`^ai_router_fallback_total{result="${name}"} (\\d+)$`, 'm').exec(metrics)?.[1] ?? 0,
  );
}

describe('the fallback', () => {
  it('answers a choice of which no option reaches its threshold, and is marked', async () => {
    const before = await resultOf('answered');
    const response = await daemon.post('/v1/systemone', {
      model: 'x',
      state: { text: OFF },
      questions: { q: { type: 'choice', instructions: ['Which?'], criteria: CRITERIA } },
    });
    expect(systemOneResponse.parse(response.body).answers.q).toMatchObject({
      choice: 'lights',
      probabilities: { media: 0.1, lights: 0.9 },
      confidence: 0.8,
      x_abstained: false,
      x_routes: true,
      x_route_metadata: { service: 'light' },
      x_fallback: { model: 'jev-large' },
    });
    expect(response.headers.get('server-timing')).toMatch(/fallback;dur=/);
    expect(await resultOf('answered')).toBe(before + 1);
    const [call] = seen;
    expect(call).toMatchObject({
      url: `/base/v1/systemone?secret=${PRIVATE}`,
      headers: { authorization: `Bearer ${KEY}`, 'content-type': 'application/json' },
    });
    expect(JSON.parse(call?.body ?? '')).toEqual({
      model: 'large',
      state: { text: OFF },
      questions: { 0: { type: 'choice', instructions: ['Which?'], criteria: CRITERIA } },
    });
  });

  it('is not asked about what is sure, about other questions, or by /classify', async () => {
    expect(await ask(ON)).not.toHaveProperty('x_fallback');
    const questions = { n: { type: 'noul', instructions: 'Light?' } };
    await daemon.post('/v1/systemone', { model: 'x', state: OFF, questions });
    expect((await daemon.post('/classify', { text: OFF })).body).toMatchObject({ route: null });
    expect(seen).toEqual([]);
  });

  it('takes the place of a refusal in /v1/decisions, and gives booleans back', async () => {
    const questions = [
      { type: 'predicate', instructions: 'Light?' },
      {
        type: 'choice',
        instructions: [{ type: 'input_text', text: 'Which?' }],
        choices: Object.keys(CRITERIA).map((value) => ({ value })),
      },
      { type: 'choice', instructions: 'Lamp?', choices: [{ value: 'lamp' }, { value: true }] },
      { type: 'choice', instructions: 'Same?', choices: [{ value: 'true' }, { value: true }] },
    ];
    const input = [
      { role: 'user', content: [{ type: 'input_text', text: UNREAD }] },
      { type: 'function_call_output', output: PRIVATE },
    ];
    const { body } = await daemon.post('/v1/decisions', { model: 'x', input, questions });
    const { answers } = decisionResponse.parse(body);
    expect(answers).toMatchObject([
      { type: 'predicate' },
      { type: 'choice', choice: 'lights', x_fallback: { model: 'jev-large' } },
      {
        type: 'choice',
        choice: true,
        confidence: 0.8,
        probabilities: [{}, { value: true, probability: 0.9 }],
      },
      // Two options of one name are not for others.
      { type: 'refusal' },
    ]);
    expect(answers[3]).not.toHaveProperty('x_fallback');
    expect(JSON.parse(seen[0]?.body ?? '')).toMatchObject({
      state: [{ role: 'user', content: [{ type: 'input_text', text: UNREAD }] }],
      questions: { 1: { instructions: 'Which?' }, 2: { criteria: { lamp: null, true: null } } },
    });
  });

  it.each<[string, FallbackFailure, Behaviour]>([
    ['never answers', 'timeout', () => undefined],
    ['never ends', 'timeout', (_, response) => response.write('{"model":')],
    ['closes', 'unreachable', (request) => request.socket.destroy()],
    ['breaks off', 'unreachable', (request, response) => response.write('{', () => request.socket.destroy())],
    ['fails', 'refused', sending('{}', 500)],
    ['wants another key', 'refused', sending('{}', 401)],
    ['redirects', 'refused', sending('', 307, { location: '/elsewhere' })],
    ['answers no JSON', 'invalid_answer', sending(`<html>${PRIVATE}`)],
    ['answers something else', 'invalid_answer', sending('{"model":"m","answers":{}}')],
    [
      'answers what was no option',
      'invalid_answer',
      sending('{"model":"m","answers":{"0":{"type":"choice","choice":"x","probabilities":{"x":1}}}}'),
    ],
    ['answers too much', 'invalid_answer', sending(`"${'a'.repeat(2 ** 20)}"`)],
    [
      'abstains',
      'abstained',
      sending(
        '{"model":"m","answers":{"0":{"type":"choice","choice":"media","probabilities":{},"x_abstained":true}}}',
      ),
    ],
  ])('that %s leaves the own answer, marked %s', async (_, failed, behaviour) => {
    behave = behaviour;
    const before = await resultOf(failed);
    const { x_fallback, ...own } = await ask(OFF);
    expect(x_fallback).toEqual({ failed });
    expect(own).toMatchObject({ x_abstained: true, x_routes: true });
    expect(await resultOf(failed)).toBe(before + 1);
    expect(seen).toHaveLength(1);
    // It is the answer of a call that is not for a fallback at all.
    expect(await ask(OFF, daemon, { 'x-ai-router-fallback': '1' })).toEqual(own);
    expect(seen).toHaveLength(1);
  });

  it('that fails leaves a refusal in /v1/decisions', async () => {
    behave = sending('', 503);
    const { body } = await daemon.post('/v1/decisions', {
      model: 'x',
      input: OFF,
      questions: [
        { type: 'choice', instructions: '?', choices: Object.keys(CRITERIA).map((value) => ({ value })) },
      ],
    });
    expect(decisionResponse.parse(body).answers).toEqual([
      { type: 'refusal', name: null, x_fallback: { failed: 'refused' } },
    ]);
  });

  it('that leads back here is not asked again', async () => {
    behave = (request, response, body) => {
      const { 'content-type': type = '', 'x-ai-router-fallback': mark } = request.headers;
      const headers = { 'content-type': type, 'x-ai-router-fallback': String(mark) };
      fetch(`${daemon.url}/v1/systemone`, { method: 'POST', headers, body }).then(
        async (answer) => response.end(await answer.text()),
        () => response.destroy(),
      );
    };
    expect((await ask(OFF)).x_fallback).toEqual({ failed: 'abstained' });
    expect(seen).toHaveLength(1);
  });

  it('is asked about no more than its share', async () => {
    const results = [];
    for (let call = 0; call < 30; call += 1) results.push((await ask(OFF, sparing)).x_fallback);
    const answered = results.filter((mark) => mark?.model !== undefined);
    // One at the start, and a tenth.
    expect(answered).toHaveLength(4);
    expect(results.filter((mark) => mark?.failed === 'share_exceeded')).toHaveLength(26);
  });

  it('is left alone after failures, and asked again after a pause', { timeout: 60_000 }, async () => {
    behave = sending('', 500);
    for (let call = 0; call < CIRCUIT.failures; call += 1) await ask(OFF);
    expect((await ask(OFF)).x_fallback).toEqual({ failed: 'circuit_open' });
    expect(seen).toHaveLength(CIRCUIT.failures);
    behave = good;
    await eventually(async () => expect((await ask(OFF)).x_fallback).toEqual({ model: 'jev-large' }), {
      within: 3 * CIRCUIT.pauseMs,
    });
    await eventually(() => {
      const messages = new Set(daemon.lines.map(({ msg }) => msg));
      expect(messages.has('fallback paused after failures')).toBe(true);
      expect(messages.has('fallback answers again')).toBe(true);
    });
  });

  it('leaves no text, key or secret address in the log and the metrics', async () => {
    behave = sending(PRIVATE);
    await ask(`${PRIVATE} ${OFF}`);
    await eventually(() =>
      expect(daemon.lines.map(({ msg }) => msg).filter((msg) => msg === 'fallback failed')).not.toEqual([]),
    );
    const metrics = await (await fetch(`${daemon.url}/metrics`)).text();
    const trails = JSON.stringify(daemon.lines) + daemon.stderr() + metrics;
    expect(trails).not.toContain(PRIVATE);
    expect(trails).not.toContain(KEY);
  });
});

describe('settings of the fallback', () => {
  it.each<[Record<string, string>, RegExp]>([
    [{ FALLBACK_URL: 'http://169.254.169.254/' }, /FALLBACK_URL is a machine's metadata service/],
    [{ FALLBACK_URL: 'http://metadata.google.internal/' }, /metadata service/],
    [{ FALLBACK_URL: 'ftp://example.org' }, /FALLBACK_URL must be a URL/],
    [{ FALLBACK_SHARE: '0' }, /FALLBACK_SHARE must be a number above 0/],
    [
      { FALLBACK_URL: 'http://localhost:1', FALLBACK_API_KEY_FILE: '/no/key' },
      /FALLBACK_API_KEY_FILE: .*ENOENT/,
    ],
  ])('%o ends the start', async (env, message) => {
    await expect(startDaemon({ ...env })).rejects.toThrow(message);
  });
});
