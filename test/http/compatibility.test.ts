import OpenAI from 'openai';
import { beforeAll, describe, expect, it } from 'vitest';
import { embeddingResponse, modelList, modelObject, openAiError } from '../../src/api/embeddings.js';
import { embedResponse, infoResponse, teiError } from '../../src/api/tei.js';
import { SMALL, startDaemon, type TestDaemon } from '../support/daemon.js';
import { eventually } from '../support/eventually.js';
import { serveHttp } from '../support/listen.js';
import { cosine, goldenCases } from '../support/model.js';
import { suiteEnd } from '../support/suite.js';
import { temporaryFolder } from '../support/volume.js';

const atEnd = suiteEnd();
const ID = 'Xenova/all-MiniLM-L6-v2';
/** Secrets that must appear in answers only: one text for each way in, and keys. */
const PRIVATE = 'bluebottle';
const KEY = 'an-admin-key-of-good-length';
const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736';
const PARENT = '00f067aa0ba902b7';

let daemon: TestDaemon;
/** One that never gets a model. */
let empty: TestDaemon;
let collector: Collector;
let client: OpenAI;

beforeAll(async () => {
  collector = await startCollector(atEnd);
  const volumes = await Promise.all([temporaryFolder(atEnd), temporaryFolder(atEnd)]);
  [daemon, empty] = await Promise.all([
    startDaemon(
      {
        MODEL_CACHE_DIR: volumes[0],
        HF_TOKEN: `hf_${PRIVATE}`,
        LOG_LEVEL: 'trace',
        ...SMALL,
        MAX_BODY_BYTES: '100000',
        ADMIN_KEYS: KEY,
        OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
        OTEL_EXPORTER_OTLP_HEADERS: `authorization=${PRIVATE}`,
        OTEL_RESOURCE_ATTRIBUTES: 'deployment.environment.name=test',
        OTEL_BSP_SCHEDULE_DELAY: '50',
      },
      { atEnd },
    ),
    startDaemon({ MODEL_CACHE_DIR: volumes[1], MODEL_SOURCES: 'hub', HF_HUB_OFFLINE: '1' }, { atEnd }),
  ]);
  await daemon.ready(50_000);
  client = new OpenAI({ baseURL: `${daemon.url}/v1`, apiKey: 'none', maxRetries: 0 });
});

describe("OpenAI's own client", () => {
  it('gets the vectors of the model, though it asks for base64 and for a model of OpenAI', async () => {
    const [golden] = goldenCases;
    if (!golden) throw new Error('no golden case');
    const { data, response } = await client.embeddings
      .create({ model: 'text-embedding-3-small', input: golden.text })
      .withResponse();
    expect(data.data).toHaveLength(1);
    expect(cosine(data.data[0]?.embedding ?? [], golden.fp32)).toBeGreaterThan(0.97);
    expect(data.model).toBe(ID);
    expect(data.usage.prompt_tokens).toBe(golden.input_ids.length);
    expect(response.headers.get('server-timing')).toMatch(
      /^queue;dur=[\d.]+, tokenize;dur=[\d.]+, inference;dur=[\d.]+, total;dur=[\d.]+$/,
    );
    expect(response.headers.get('x-model-digest')).toMatch(/^sha256:/);
  });

  it('gets the same for floats, and for several texts in their order', async () => {
    const input = ['a ship', 'a chair', 'a ship'];
    const options = { model: 'all-MiniLM-L6-v2', dimensions: 384, user: PRIVATE } as const;
    const floats = await client.embeddings.create({ ...options, input, encoding_format: 'float' });
    const alone = await client.embeddings.create({ ...options, input: 'a chair' });
    expect(embeddingResponse.parse(floats)).toBeTruthy();
    expect(floats.data.map(({ index }) => index)).toEqual([0, 1, 2]);
    expect(floats.data[1]?.embedding).toEqual(alone.data[0]?.embedding);
    expect(floats.data[0]?.embedding).toEqual(floats.data[2]?.embedding);
    expect(floats.data[0]?.embedding).not.toEqual(alone.data[0]?.embedding);
  });

  it('gets the cut tokens of a text that is too long', async () => {
    const { usage } = await client.embeddings.create({ model: ID, input: 'word '.repeat(300) });
    expect(usage).toEqual({ prompt_tokens: 256, total_tokens: 256, truncated_tokens: 46 });
  });

  it('lists the model and finds it', async () => {
    const list = await client.models.list();
    expect(list.data.map(({ id }) => id)).toEqual([ID]);
    expect(modelList.parse((await daemon.get('/v1/models')).body).models[0]?.name).toBe('jev-latest');
    expect(modelObject.parse(await client.models.retrieve(ID))).toMatchObject({ dimension: 384 });
    // Python's client leaves the slash as it is.
    expect((await daemon.get(`/v1/models/${ID}`)).body).toMatchObject({ id: ID });
    await expect(client.models.retrieve('gpt-5')).rejects.toMatchObject({
      status: 404,
      code: 'model_not_found',
      param: 'model',
    });
  });

  it.each<[string, object, number, object, RegExp]>([
    ['token ids', { input: [1, 2, 3] }, 400, { param: 'input' }, /token ids.*check_embedding_ctx_length/],
    ['arrays of token ids', { input: [[1, 2], [3]] }, 400, { param: 'input' }, /token ids/],
    ['mixed input', { input: ['a', 7] }, 400, { param: 'input' }, /item 1 is of type number/],
    ['no text', { input: [] }, 400, { param: 'input' }, /at least one/],
    ['too many texts', { input: Array(2_049).fill('a') }, 400, { param: 'input' }, /2048 texts at most/],
    ['other dimensions', { input: 'a', dimensions: 256 }, 400, { param: 'dimensions' }, /384/],
    ['another model', { input: 'a', model: 'bge-small' }, 404, { code: 'model_not_found' }, /Xenova/],
    ['an unknown field', { input: 'a', inptu: 'b' }, 400, { code: 'validation_failed' }, /inptu/],
    ['a large body', { input: 'a'.repeat(200_000) }, 413, { code: 'body_too_large' }, /100000 bytes/],
  ])('learns what is wrong with %s', async (_, fields, status, error, message) => {
    const request = { model: ID, ...fields } as OpenAI.EmbeddingCreateParams;
    await expect(client.embeddings.create(request)).rejects.toMatchObject({
      status,
      type: 'invalid_request_error',
      ...error,
      message: expect.stringMatching(message),
    });
  });

  it('learns that there is no model', async () => {
    const early = new OpenAI({ baseURL: `${empty.url}/v1`, apiKey: 'none', maxRetries: 0 });
    const error = await early.embeddings.create({ model: ID, input: 'a' }).catch((thrown) => thrown);
    expect(error).toBeInstanceOf(OpenAI.InternalServerError);
    expect(error).toMatchObject({ status: 503, type: 'server_error', code: 'not_ready' });
    expect(error.headers.get('retry-after')).toBe('1');
    expect(error.headers.get('server-timing')).toMatch(/^total;dur=/);
  });
});

describe('paths below /v1', () => {
  it.each<[string, RequestInit, number, string]>([
    ['/v1/embeddings', { method: 'DELETE' }, 405, 'method_not_allowed'],
    ['/v1/embeddings', { method: 'POST', body: 'x' }, 415, 'unsupported_media_type'],
    ['/v1/chat/completions', { method: 'POST' }, 404, 'unknown_url'],
  ])("%s answers errors in OpenAI's shape (%o)", async (path, init, status, code) => {
    const response = await fetch(daemon.url + path, init);
    expect(response.status).toBe(status);
    expect(response.headers.get('x-request-id')).toBeTruthy();
    expect(openAiError.parse(await response.json()).error.code).toBe(code);
  });
});

describe('Text Embeddings Inference', () => {
  it.each(['/embed', '/'])('POST %s answers its clients', async (path) => {
    const inputs = ['a ship', 'a chair'];
    const { body, headers } = await daemon.post(path, { inputs, truncate: true, prompt_name: null });
    const vectors = embedResponse.parse(body);
    const openAi = await client.embeddings.create({ model: ID, input: inputs, encoding_format: 'float' });
    expect(vectors).toEqual(openAi.data.map(({ embedding }) => embedding));
    expect(headers.get('x-compute-tokens')).toBe(String(openAi.usage.prompt_tokens));
    expect((await daemon.post<number[][]>(path, { inputs: 'a chair' })).body).toEqual([vectors[1]]);
  });

  it('GET /info tells the model', async () => {
    const { body } = await daemon.get('/info');
    expect(infoResponse.parse(body)).toMatchObject({ model_id: ID, max_input_length: 256 });
  });

  it.each<[object, number, RegExp]>([
    [{ inputs: 'word '.repeat(300), truncate: false }, 413, /256 tokens.*302/],
    [{ inputs: 'a', normalize: false }, 422, /length 1/],
    [{ inputs: 'a', truncation_direction: 'Left' }, 422, /at their end/],
    [{ inputs: 'a', prompt_name: 'query' }, 422, /no prompts/],
    [{ inputs: [[1, 2]] }, 422, /token ids/],
  ])('is refused clearly what is not there: %o', async (request, status, message) => {
    const response = await daemon.post('/embed', request);
    expect(response.status).toBe(status);
    expect(teiError.parse(response.body)).toMatchObject({
      error: expect.stringMatching(message),
      error_type: 'Validation',
    });
  });
});

it('the health paths of the open inference protocol tell life and readiness', async () => {
  expect(await daemon.get('/v2/health/live')).toMatchObject({ status: 200, body: { live: true } });
  expect(await daemon.get('/v2/health/ready')).toMatchObject({ status: 200, body: { ready: true } });
  expect(await empty.get('/v2/health/live')).toMatchObject({ status: 200, body: { live: true } });
  expect(await empty.get('/v2/health/ready')).toMatchObject({ status: 503, body: { ready: false } });
});

describe('a trace', () => {
  it('goes on here: in the log and at the collector', async () => {
    const { headers } = await daemon.post(
      '/classify',
      { text: 'a text of a trace' },
      { traceparent: `00-${TRACE}-${PARENT}-01`, tracestate: 'vendor=1' },
    );
    const span = await eventually(() => {
      const found = collector.spans.find(({ traceId }) => traceId === TRACE);
      if (!found) throw new Error('no span came');
      return found;
    });
    expect(span).toMatchObject({ name: 'POST /classify', kind: 2, parentSpanId: PARENT });
    expect(span.attributes).toMatchObject({
      'http.route': '/classify',
      'http.request.method': 'POST',
      'ai_router.request_id': headers.get('x-request-id'),
      'ai_router.inference_ms': expect.any(Number),
    });
    expect(span.resource).toMatchObject({
      'service.name': 'ai-router',
      'deployment.environment.name': 'test',
    });
    await eventually(() => {
      const line = daemon.lines.find(({ request_id }) => request_id === headers.get('x-request-id'));
      expect(line).toMatchObject({ trace_id: TRACE, span_id: span.spanId });
    });
    expect([...collector.authorizations]).toEqual([PRIVATE]);
  });

  it('that cannot be exported is no secret', () => {
    expect(collector.refused).toBe(1);
    expect(daemon.lines.filter(({ msg }) => msg === 'trace export failed')).toHaveLength(1);
  });

  it("is logged without a collector too, with the caller's span", async () => {
    const traceparent = `00-${TRACE}-${PARENT}-01`;
    const headers = { traceparent, 'x-request-id': 'mine' };
    expect((await empty.post('/classify', { text: 'a' }, headers)).status).toBe(503);
    await empty.post('/classify', { text: 'a' }, { 'x-request-id': 'without' });
    await eventually(() => expect(empty.lines.some((line) => line.request_id === 'without')).toBe(true));
    const line = (id: string) => empty.lines.find(({ request_id }) => request_id === id);
    expect(line('mine')).toMatchObject({ trace_id: TRACE, span_id: PARENT });
    expect(line('without')).not.toHaveProperty('trace_id');
  });
});

it('no text and no key leaves the process but in answers', async () => {
  const text = `${PRIVATE} word`;
  const wrongKey = { authorization: `Bearer ${PRIVATE}-key` };
  const posts: [string, unknown, Record<string, string>?][] = [
    ['/classify', { text, explain: true }],
    ['/classify', { text, labels: [PRIVATE, { name: 'x', utterances: [text] }], multi: true }],
    ['/classify', { text: { [PRIVATE]: text } }],
    ['/classify', `{"text": "${text}`],
    ['/classify', { text, routes: [PRIVATE] }],
    [`/classify?q=${PRIVATE}`, { text }],
    ['/classify/batch', { texts: [text, text] }],
    ['/v1/embeddings', { input: text, user: PRIVATE }],
    ['/v1/embeddings', { input: text, model: PRIVATE }],
    ['/embed', { inputs: text }],
    ['/embed', { inputs: text, prompt_name: PRIVATE }],
    ['/tokenize', { inputs: text }],
    ['/predict', { inputs: text }],
    ['/similarity', { inputs: { source_sentence: text, sentences: [text] } }],
    ['/embeddings', { input: text }],
    ['/cache/verify', {}, wrongKey],
    ['/cache/verify', {}, { authorization: `Bearer ${KEY}` }],
  ];
  const ids = posts.map((_, index) => `private-${index}`);
  for (const [index, [path, body, headers]] of posts.entries()) {
    await daemon.post(path, body, { ...headers, 'x-request-id': ids[index] ?? '' });
  }
  await eventually(() => {
    const logged = new Set(daemon.lines.map(({ request_id }) => request_id));
    const sent = new Set(collector.spans.map(({ attributes }) => attributes['ai_router.request_id']));
    expect(ids.filter((id) => !logged.has(id) || !sent.has(id))).toEqual([]);
  });
  const metrics = await (await fetch(`${daemon.url}/metrics`)).text();
  expect(metrics).toContain('ai_router_decisions_total{route="(labels)"} 1');
  for (const trail of [
    JSON.stringify(daemon.lines),
    daemon.stderr(),
    JSON.stringify(collector.spans),
    metrics,
  ]) {
    expect(trail).not.toContain(PRIVATE);
    expect(trail).not.toContain(KEY);
  }
});

/** A span as it came over OTLP/HTTP, with its attributes as one object. */
interface CollectedSpan {
  readonly name: string;
  readonly kind: number;
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId?: string;
  readonly status: { readonly code?: number };
  readonly attributes: Readonly<Record<string, unknown>>;
  /** Attributes of the resource that sent it. */
  readonly resource: Readonly<Record<string, unknown>>;
}

/** An OpenTelemetry collector on this machine, which refuses the first batch that it gets. */
interface Collector {
  readonly url: string;
  readonly spans: CollectedSpan[];
  readonly refused: number;
  /** The `authorization` headers that came. */
  readonly authorizations: Set<string | undefined>;
}

interface Attribute {
  readonly key: string;
  readonly value: Readonly<Record<string, unknown>>;
}

type Sent = Omit<CollectedSpan, 'attributes' | 'resource'> & { readonly attributes: Attribute[] };

interface Body {
  readonly resourceSpans: {
    readonly resource: { readonly attributes: Attribute[] };
    readonly scopeSpans: { readonly spans: Sent[] }[];
  }[];
}

/** Starts one; `atEnd` gets what ends it. */
async function startCollector(atEnd: (end: () => void) => void): Promise<Collector> {
  const spans: CollectedSpan[] = [];
  const authorizations = new Set<string | undefined>();
  let refused = 0;
  const url = await serveHttp(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    if (refused === 0) {
      refused += 1;
      response.writeHead(400).end('not yet');
      return;
    }
    authorizations.add(request.headers.authorization);
    if (request.url === '/v1/traces') {
      const { resourceSpans }: Body = JSON.parse(Buffer.concat(chunks).toString());
      for (const { resource, scopeSpans } of resourceSpans) {
        for (const span of scopeSpans.flatMap((scope) => scope.spans)) {
          const attributes = objectOf(span.attributes);
          spans.push({ ...span, attributes, resource: objectOf(resource.attributes) });
        }
      }
    }
    response.writeHead(200, { 'content-type': 'application/json' }).end('{}');
  }, atEnd);
  return {
    url,
    spans,
    authorizations,
    get refused() {
      return refused;
    },
  };
}

function objectOf(attributes: readonly Attribute[]): Record<string, unknown> {
  return Object.fromEntries(attributes.map(({ key, value }) => [key, Object.values(value)[0]]));
}
