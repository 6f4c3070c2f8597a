import * as z from 'zod';
import {
  type EmbeddingModel,
  embeddingRequest,
  embeddingResponse,
  modelList,
  modelObject,
  type OpenAiModel,
  type OpenAiModelList,
  textsOf,
} from '../../api/embeddings.js';
import type { RequestLimits } from '../../api/limits.js';
import { type EmbeddedTexts, type Embedding, requireTokens } from '../../inference/embedder.js';
import type { Classifier } from '../../scoring/classifier.js';
import { AppError } from '../../shared/errors.js';
import type { RequestMetrics } from '../../telemetry/ports.js';
import { type BodyDeps, readJson } from '../body.js';
import { reserveVectors, type VectorFormat } from '../gates.js';
import { type ContractSettings, type Endpoint, json, jsonBody } from '../openapi.js';
import { noteTimings, type RequestContext, sendJson, sendJsonParts, withDeadline } from '../request.js';

export interface EmbeddingsPort {
  readonly model: EmbeddingModel;
  readonly embed: Classifier['embed'];
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
 * `/v1/embeddings` and `/v1/models` as OpenAI's clients call them; `/embeddings` for those whose base URL lacks `/v1`.
 * Takes no token ids and no other length of vectors. Texts that are too long are cut (and counted in
 * `usage.truncated_tokens`) where OpenAI refuses them.
 */
export function embeddingEndpoints(settings: ContractSettings): Endpoint<EmbeddingPorts>[] {
  const schema = embeddingRequest(settings, settings.model);
  const common = { access: 'key', dialect: 'openai', tag: 'Embeddings' } as const;
  const create: Omit<Endpoint<EmbeddingPorts>, 'path' | 'id' | 'summary'> = {
    ...common,
    method: 'POST',
    inference: true,
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
        request.encoding_format === 'base64' ? 'base64' : 'numbers',
        pathOf('input', request.input),
      );
      const counts = {
        prompt_tokens: usage.tokens,
        total_tokens: usage.tokens,
        truncated_tokens: usage.truncatedTokens,
      };
      const end = `],"model":${JSON.stringify(id)},"usage":${JSON.stringify(counts)}}`;
      sendJsonParts(context, '{"object":"list","data":[', results, end);
    },
  };
  return [
    {
      ...create,
      path: '/v1/embeddings',
      id: 'createEmbedding',
      summary: "Embeddings of texts, compatible with OpenAI's clients",
    },
    {
      ...create,
      path: '/embeddings',
      id: 'createEmbeddingAtRoot',
      summary: 'The same, for clients whose base URL lacks `/v1`',
    },
    {
      ...common,
      method: 'GET',
      path: '/v1/models',
      id: 'listModels',
      summary: 'The served model',
      answers: { 200: json('It', modelList) },
      handle(context, { embeddings }) {
        const { model } = embeddings;
        const body = {
          object: 'list',
          data: [describe(model)],
          models: decisionModels(model),
        } satisfies OpenAiModelList;
        sendJson(context, body);
      },
    },
    {
      ...common,
      method: 'GET',
      // The id's `/` may be written as it is or as `%2F`.
      path: '/v1/models/{model+}',
      id: 'retrieveModel',
      summary: 'The served model by its name',
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

/** The path of each text in a request that holds one or several. */
export function pathOf(field: string, texts: string | readonly unknown[]): (index: number) => string {
  return (index) => (typeof texts === 'string' ? field : `${field}[${index}]`);
}

/**
 * Embeds the texts of one request. Each vector is written as JSON as it comes: hundreds at once would hold up others. Of a
 * text longer than MAX_TEXT_CHARS the rest is dropped unread, and counts as one token more that was cut.
 */
export async function embedTexts<Result>(
  context: RequestContext,
  { embeddings, metrics, bytes, limits, requestTimeoutMs }: EmbeddingPorts,
  texts: readonly string[],
  write: (embedding: Embedding, index: number) => Result,
  format: VectorFormat,
  pathOf: (index: number) => string,
): Promise<EmbeddedTexts<Result>> {
  const { model } = embeddings;
  reserveVectors(context, bytes, texts.length, model.dimension, format);
  const read = texts.map((text) => cutText(text, limits.maxTextChars));
  const isCut = (index: number): boolean => read[index]?.length !== texts[index]?.length;
  const cut = texts.filter((_, index) => isCut(index)).length;
  let cutOnly = 0;
  const each = (embedding: Embedding, index: number): Result => {
    requireTokens(embedding, pathOf(index));
    if (!isCut(index)) return write(embedding, index);
    if (embedding.truncatedTokens === 0) cutOnly += 1;
    return write({ ...embedding, truncatedTokens: embedding.truncatedTokens + 1 }, index);
  };
  const embedded = await withDeadline(context, requestTimeoutMs, (call) =>
    embeddings.embed(read, each, call),
  );
  const usage = {
    ...embedded.usage,
    truncatedTexts: embedded.usage.truncatedTexts + cutOnly,
    truncatedTokens: embedded.usage.truncatedTokens + cut,
  };
  noteTimings(context, embedded.timing);
  metrics.read(usage);
  // The bodies of these APIs have no place for it, and every answer names the bytes that gave it.
  context.set('X-Model-Revision', model.revision);
  context.set('X-Model-Digest', model.digest);
  return { ...embedded, usage };
}

/** Returns the first `maxChars` characters (code points) of a text. */
export function cutText(text: string, maxChars: number): string {
  if (text.length <= maxChars) return text;
  let end = 0;
  for (let chars = 0; chars < maxChars && end < text.length; chars += 1) {
    end += (text.codePointAt(end) ?? 0) > 0xffff ? 2 : 1;
  }
  return text.slice(0, end);
}

/** Numbers of a vector as JSON. */
export function vectorJson(vector: Float32Array): string {
  return JSON.stringify(Array.from(vector));
}

/** The bytes of a vector; they are little-endian on every platform that the runtime supports. */
function base64Json({ buffer, byteOffset, byteLength }: Float32Array): string {
  return `"${Buffer.from(buffer, byteOffset, byteLength).toString('base64')}"`;
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

/** The names that `/v1/systemone` lists; it takes any. The date is that of the model's release. */
function decisionModels({ id }: EmbeddingModel): OpenAiModelList['models'] {
  const description = `Routes and zero-shot labels with ${id}, a small encoder: see docs/decisions.md`;
  return ['jev-latest', id].map((name) => ({ name, description, release_date: '2021-08-30' }));
}
