import { request } from 'node:http';
import { text } from 'node:stream/consumers';
import Koa from 'koa';
import { beforeAll, describe, expect, it } from 'vitest';
import * as z from 'zod';
import { JSON_TYPES, readJson, readText } from '../../src/http/body.js';
import { ByteBudget } from '../../src/http/gates.js';
import type { RequestState } from '../../src/http/request.js';
import { AppError } from '../../src/shared/errors.js';
import { serveHttp } from '../support/listen.js';
import { suiteEnd } from '../support/suite.js';

const atEnd = suiteEnd();
let url: string;

beforeAll(async () => {
  const deps = { limits: { maxBodyBytes: 100 }, bytes: new ByteBudget(100) };
  const app = new Koa<RequestState>();
  app.use(async (context) => {
    context.state.client = 'a client';
    try {
      context.body =
        context.path === '/json'
          ? await readJson(context, z.strictObject({ text: z.string() }), deps)
          : await readText(context, [...JSON_TYPES, 'application/yaml', '+yaml'], 'JSON or YAML', deps);
    } catch (error) {
      if (!(error instanceof AppError)) throw error;
      context.body = { code: error.code, message: error.message };
    }
  });
  url = await serveHttp(app.callback(), atEnd);
});

const body = '{"text":"a"}';

/** The server's reading of a request; without a body the request has no length either. */
async function ask(
  path: string,
  contentType: string | undefined,
  payload: string | undefined,
  headers: Record<string, string> = {},
): Promise<unknown> {
  const sent = request(url + path, { method: payload === undefined ? 'GET' : 'POST', headers });
  if (contentType !== undefined) sent.setHeader('Content-Type', contentType);
  sent.end(payload);
  const answer = await new Promise<NodeJS.ReadableStream>((resolve, reject) => {
    sent.on('response', resolve).on('error', reject);
  });
  return JSON.parse(await text(answer));
}

describe('JSON', () => {
  it.each([
    'application/json',
    'application/json; charset=utf-8',
    'application/json;charset=UTF-8',
    'Application/JSON',
    'application/problem+json',
  ])('is what %s says, whole or in pieces', async (type) => {
    expect(await ask('/json', type, body)).toEqual({ text: 'a' });
    expect(await ask('/json', type, body, { 'Transfer-Encoding': 'chunked' })).toEqual({ text: 'a' });
  });

  it.each([
    '+json',
    'application/jsonp',
    'application/yaml',
    'text/plain',
    'application/json, text/plain',
    undefined,
  ])('is not what %s says', async (type) => {
    expect(await ask('/json', type, body)).toEqual({
      code: 'unsupported_media_type',
      message: expect.stringMatching(type === undefined ? /json"$/ : /, not "/),
    });
  });

  it.each(['application/json', 'application/json; charset=utf-8', undefined])(
    'without a body is refused the same way, whatever its type: %s',
    async (type) => {
      expect(await ask('/json', type, undefined)).toEqual({
        code: 'unsupported_media_type',
        message: 'send JSON with "Content-Type: application/json"; there is no body',
      });
    },
  );

  it.each(['application/json', 'application/json; charset=utf-8'])(
    'of no bytes is malformed: %s',
    async (type) => {
      expect(await ask('/json', type, '')).toMatchObject({ code: 'malformed_json' });
    },
  );
});

describe('a text of several types', () => {
  it.each([
    ['application/json', 'application/json'],
    ['application/json; charset=utf-8', 'application/json'],
    ['application/yaml', 'application/yaml'],
    ['application/openapi+yaml', 'application/openapi+yaml'],
    ['application/problem+json', 'application/problem+json'],
  ])('says which it is: %s', async (given, type) => {
    expect(await ask('/text', given, body)).toEqual({ text: body, type });
  });

  it.each(['+yaml', '+json'])('has a whole media type, not %s', async (type) => {
    expect(await ask('/text', type, body)).toMatchObject({ code: 'unsupported_media_type' });
  });
});
