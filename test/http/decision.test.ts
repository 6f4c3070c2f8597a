import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, expect, it } from 'vitest';
import type { Decision } from '../../src/api/classify.js';
import { parseRouteSet } from '../../src/routes/parse.js';
import { useDaemon } from '../support/daemon.js';

const TEXT = 'I am really hungry';
let decision: Decision;

const daemon = useDaemon(async (folder) => {
  const file = join(folder, 'routes.yaml');
  await writeFile(file, '- { name: Essen & mehr é, utterances: [I am hungry] }\n');
  return { ROUTES_FILE: file, CLASSIFY_METHOD: 'nearest', MAX_TEXT_CHARS: '200' };
});

beforeAll(async () => {
  decision = (await daemon.post<Decision>('/classify', { text: TEXT })).body;
});

async function ask(
  path: string,
  body?: unknown,
): Promise<{ status: number; route: string | null; score: string | null }> {
  const response = await fetch(daemon.url + path, {
    ...(body !== undefined && {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: typeof body === 'string' ? body : JSON.stringify(body),
    }),
  });
  const text = await response.text();
  if (response.status === 200) expect(text).toBe('');
  return {
    status: response.status,
    route: response.headers.get('x-ai-router-route'),
    score: response.headers.get('x-ai-router-score'),
  };
}

it.each<[string, string, unknown?]>([
  ['the query', `/decision?text=${encodeURIComponent(TEXT)}`],
  ['a text', '/decision', { text: TEXT }],
  ['a prompt, below the path of the request', '/decision/v1/completions', { model: 'auto', prompt: TEXT }],
  [
    'the last message of the user',
    '/decision/v1/chat/completions',
    {
      messages: [
        { role: 'user', content: 'what is the weather like' },
        { role: 'assistant', content: 'sunny' },
        { role: 'user', content: [{ type: 'text', text: TEXT }, { type: 'image_url' }] },
      ],
    },
  ],
])('answers the decision of %s in headers', async (_, path, body) => {
  expect(decision.route).not.toBeNull();
  expect(await ask(path, body)).toEqual({
    status: 200,
    route: 'Essen%20&%20mehr%20%C3%A9',
    score: String(decision.score),
  });
});

it.each<[string, string, unknown?]>([
  ['no text at all', '/decision/v1/models'],
  ['JSON of another kind', '/decision', { messages: 'none', text: 7 }],
  ['a JSON list', '/decision', [1]],
  ['the type of JSON and no body', '/decision', ''],
  ['an empty text', '/decision?text=%20'],
])('lets a request with %s pass, with empty headers over those of the client', async (_, path, body) => {
  expect(await ask(path, body)).toEqual({ status: 200, route: '', score: '' });
});

it('lets no name of a route into a header but as visible ASCII, nor a control character into a name', () => {
  for (let start = 0; start < 0x1_10000; start += 100) {
    const points = Array.from({ length: Math.min(100, 0x1_10000 - start) }, (_, index) => start + index);
    const characters = points
      .filter((point) => !(point >= 0xd800 && point <= 0xdfff))
      .map((each) => String.fromCodePoint(each));
    if (characters.length > 0) expect(encodeURI(characters.join(''))).toMatch(/^[!-~]+$/);
  }
  for (const name of ['a\r\nx-admin: 1', 'a\nb', 'a\0', 'a\x7f', 'a\x85', '\ud800', 'a\udfff']) {
    const text = JSON.stringify({ routes: [{ name, utterances: ['x'] }] });
    expect(() => parseRouteSet(text, { origin: 'x.json', format: 'json' }), JSON.stringify(name)).toThrow(
      /routes\[0\]\.name/,
    );
  }
});

it('cuts a text that is longer than a request may have, and refuses broken JSON', async () => {
  expect((await ask('/decision', { text: `${TEXT} `.repeat(100) })).status).toBe(200);
  expect((await ask('/decision', '{"text":')).status).toBe(400);
});
