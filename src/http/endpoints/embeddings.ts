import * as z from 'zod';
import {
  type EmbeddingModel,
  embeddingRequest,
  embeddingResponse,
  embedRequestSchema,
  embedResponse,
  infoResponse,
  modelList,
  modelObject,
  type OpenAiModel,
  type OpenAiModelList,
  type TeiInfo,
  textsOf,
} from '../../api/embeddings.js';
import type { RequestLimits } from '../../api/limits.js';
import type { Embedding } from '../../inference/embedder.js';
import type { EmbeddedTexts } from '../../scoring/embed-texts.js';
import { AppError } from '../../shared/errors.js';
import type { RequestMetrics } from '../../telemetry/ports.js';
import { type BodyDeps, readJson } from '../body.js';
import type { Endpoint } from '../endpoint.js';
import { reserveVectors } from '../gates.js';
import { type ContractSettings, json, jsonBody } from '../openapi.js';
import {
  type CallContext,
  noteTimings,
  type RequestContext,
  sendJson,
  sendJsonParts,
  withDeadline,
} from '../request.js';

/** Embeds texts. */
export interface EmbeddingsPort {
  readonly model: EmbeddingModel;
  /** @param each makes the result of one text, as soon as its vector is there */
  embed<Result>(
    texts: readonly string[],
    each: (embedding: Embedding, index: number) => Result,
    call: CallContext,
  ): Promise<EmbeddedTexts<Result>>;
}

export interface EmbeddingPorts extends BodyDeps {
  readonly limits: RequestLimits;
  readonly embeddings: EmbeddingsPort;
  readonly metrics: RequestMetrics;
  readonly requestTimeoutMs: number;
  readonly version: string;
  readonly maxQueue: number;
  readonly workers: number;
}

/** OpenAI's own embedding models: a client that changes nothing but the base URL asks for one of these. */
const OPENAI_MODEL = /^text-embedding-/;

/**
 * `/v1/embeddings` and `/v1/models` as OpenAI's clients call them, and `/embed`, `/` and `/info` of Text Embeddings
 * Inference. Neither takes token ids, prompts, other lengths of vectors, or cuts on the left.
 */
export function embeddingEndpoints(settings: ContractSettings): Endpoint<EmbeddingPorts>[] {
  return [...openAiEndpoints(settings), ...teiEndpoints(settings)];
}

/** Texts that are too long are cut (and counted in `usage.truncated_tokens`) where OpenAI refuses them. */
function openAiEndpoints(settings: ContractSettings): Endpoint<EmbeddingPorts>[] {
  const schema = embeddingRequest(settings, settings.model);
  const common = { access: 'key', dialect: 'openai', tag: 'Embeddings' } as const;
  return [
    {
      ...common,
      method: 'POST',
      path: '/v1/embeddings',
      inference: true,
      id: 'createEmbedding',
      summary: "The vectors of texts, as OpenAI's clients ask for them",
      body: jsonBody(schema, {
        two: { value: { input: ['my card was charged twice', 'what is the weather?'] } },
      }),
      answers: { 200: json('One vector for each text, in order', embeddingResponse) },
      problems: [400, 404, 413, 415],
      async handle(context, ports) {
        const { id } = ports.embeddings.model;
        const request = await readJson(context, schema, ports);
        if (request.model) requireModel(request.model, id);
        const encode = request.encoding_format === 'base64' ? base64Json : vectorJson;
        const { results, usage } = await embedTexts(
          context,
          ports,
          textsOf(request.input),
          ({ vector }, index) =>
            `${index > 0 ? ',' : ''}{"object":"embedding","index":${index},"embedding":${encode(vector)}}`,
        );
        const counts = {
          prompt_tokens: usage.tokens,
          total_tokens: usage.tokens,
          truncated_tokens: usage.truncatedTokens,
        };
        const end = `],"model":${JSON.stringify(id)},"usage":${JSON.stringify(counts)}}`;
        sendJsonParts(context, '{"object":"list","data":[', results, end);
      },
    },
    {
      ...common,
      method: 'GET',
      path: '/v1/models',
      id: 'listModels',
      summary: 'The one model that is served',
      answers: { 200: json('It', modelList) },
      handle(context, { embeddings }) {
        sendJson(context, { object: 'list', data: [describe(embeddings.model)] } satisfies OpenAiModelList);
      },
    },
    {
      ...common,
      method: 'GET',
      // The id's `/` may be written as it is or as `%2F`.
      path: '/v1/models/{model+}',
      id: 'retrieveModel',
      summary: 'The model by its name',
      params: {
        path: z.object({ model: z.string().min(1).max(200).meta({ example: settings.model.id }) }),
      },
      answers: { 200: json('It', modelObject) },
      problems: [400, 404],
      handle(context, { embeddings }, { model = '' }) {
        requireModel(model, embeddings.model.id);
        sendJson(context, describe(embeddings.model));
      },
    },
  ];
}

function teiEndpoints(settings: ContractSettings): Endpoint<EmbeddingPorts>[] {
  const schema = embedRequestSchema(settings, settings.model);
  const common = { access: 'key', dialect: 'tei', tag: 'Embeddings' } as const;
  const operation = {
    body: jsonBody(schema, { one: { value: { inputs: 'my card was charged twice' } } }),
    answers: {
      200: json('One vector for each text, in order', embedResponse, {
        headers: { 'X-Compute-Tokens': z.string(), 'X-Truncated-Tokens': z.string() },
      }),
    },
    problems: [400, 413, 415, 422, 424, 429],
  } as const;
  const embed = {
    ...common,
    method: 'POST',
    inference: true,
    async handle(context: RequestContext, ports: EmbeddingPorts): Promise<void> {
      const { model } = ports.embeddings;
      const { inputs, truncate, normalize } = await readJson(context, schema, ports);
      const scale = !model.normalized && normalize !== false;
      const { results, usage } = await embedTexts(
        context,
        ports,
        textsOf(inputs),
        ({ vector, tokens, truncatedTokens }, index) => {
          if (truncate === false && truncatedTokens > 0)
            throw tooLong(tokens + truncatedTokens, model.maxTokens);
          return (index > 0 ? ',' : '') + vectorJson(scale ? toUnitLength(vector) : vector);
        },
      );
      context.set('X-Compute-Tokens', String(usage.tokens));
      context.set('X-Truncated-Tokens', String(usage.truncatedTokens));
      sendJsonParts(context, '[', results, ']');
    },
  } as const;
  return [
    {
      ...embed,
      path: '/embed',
      ...operation,
      id: 'embed',
      summary: 'Vectors, as Text Embeddings Inference gives them',
    },
    {
      ...embed,
      path: '/',
      ...operation,
      id: 'embedAtRoot',
      summary: 'The same, where some of its clients send it',
    },
    {
      ...common,
      method: 'GET',
      path: '/info',
      id: 'info',
      summary: 'The model and its limits, as Text Embeddings Inference tells them',
      answers: { 200: json('It', infoResponse) },
      handle(context, ports) {
        sendJson(context, infoOf(ports));
      },
    },
  ];
}

/** Embeds the texts of one request. Each vector is written as JSON as it comes: hundreds at once would hold up others. */
async function embedTexts(
  context: RequestContext,
  { embeddings, metrics, bytes, requestTimeoutMs }: EmbeddingPorts,
  texts: readonly string[],
  write: (embedding: Embedding, index: number) => string,
): Promise<EmbeddedTexts<string>> {
  const { model } = embeddings;
  reserveVectors(context, bytes, texts.length, model.dimension);
  const embedded = await withDeadline(context, requestTimeoutMs, (call) =>
    embeddings.embed(texts, write, call),
  );
  noteTimings(context, embedded.timing);
  metrics.read(embedded.usage);
  // The bodies of these APIs have no place for it, and every answer names the bytes that gave it.
  context.set('X-Model-Revision', model.revision);
  context.set('X-Model-Digest', model.digest);
  return embedded;
}

function vectorJson(vector: Float32Array): string {
  return JSON.stringify(Array.from(vector));
}

/** The bytes of a vector; they are little-endian on every platform that the runtime supports. */
function base64Json({ buffer, byteOffset, byteLength }: Float32Array): string {
  return `"${Buffer.from(buffer, byteOffset, byteLength).toString('base64')}"`;
}

function toUnitLength(vector: Float32Array): Float32Array {
  const length = Math.hypot(...vector);
  return length === 0 ? vector : vector.map((value) => value / length);
}

/**
 * Accepts the names that stand for the one model that is served: its id, its bare name, the same model of another
 * organisation, and OpenAI's own (the answer's `model` tells which one it was). Vectors of another model than the one
 * that was named would be wrong silently.
 * @throws AppError `not_found`
 */
function requireModel(asked: string, served: string): void {
  if (OPENAI_MODEL.test(asked) || bareName(asked) === bareName(served)) return;
  const message = `the model "${asked}" does not exist here: this daemon serves "${served}"`;
  throw new AppError('not_found', message, { issues: [{ path: 'model', message }] });
}

function bareName(id: string): string {
  return id.slice(id.lastIndexOf('/') + 1).toLowerCase();
}

function describe(model: EmbeddingModel): OpenAiModel {
  return {
    id: model.id,
    object: 'model',
    created: 0,
    owned_by: model.id.split('/')[0] ?? model.id,
    revision: model.revision,
    variant: model.variant,
    digest: model.digest,
    dimension: model.dimension,
    max_tokens: model.maxTokens,
  };
}

function infoOf({ embeddings: { model }, limits, version, maxQueue, workers }: EmbeddingPorts): TeiInfo {
  return {
    model_id: model.id,
    model_sha: model.revision,
    model_dtype: model.variant === 'fp32' ? 'float32' : model.variant,
    model_type: { embedding: { pooling: model.pooling } },
    max_concurrent_requests: maxQueue,
    max_input_length: model.maxTokens,
    // Texts run one at a time, so that what is beside a text never changes its vector.
    max_batch_tokens: model.maxTokens,
    max_batch_requests: 1,
    max_client_batch_size: limits.maxBatch,
    auto_truncate: true,
    tokenization_workers: workers,
    version,
    sha: null,
    docker_label: null,
  };
}

function tooLong(tokens: number, maxTokens: number): AppError {
  return new AppError(
    'text_too_long',
    `\`inputs\` must have at most ${maxTokens} tokens each, special tokens included; one has ${tokens} ` +
      '(send "truncate": true to cut it)',
  );
}
