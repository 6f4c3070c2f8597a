import * as z from 'zod';
import { maxInputs, textsOf } from '../../api/embeddings.js';
import { OPTION_LIMITS } from '../../api/limits.js';
import {
  decodeRequest,
  decodeResponse,
  embedRequestSchema,
  embedResponse,
  infoResponse,
  predictRequest,
  predictResponse,
  similarityRequest,
  similarityResponse,
  type TeiInfo,
  tokenizeRequest,
  tokenizeResponse,
} from '../../api/tei.js';
import type { TokenView } from '../../inference/token-view.js';
import { AppError } from '../../shared/errors.js';
import { readJson } from '../body.js';
import { reserveAnswer, reserveTokens } from '../gates.js';
import { type ContractSettings, type Endpoint, json, jsonBody } from '../openapi.js';
import { noteTimings, type RequestContext, sendJson, sendJsonParts, withDeadline } from '../request.js';
import type { ClassifyPorts } from './classify.js';
import { type EmbeddingPorts, embedTexts, pathOf, vectorJson } from './embeddings.js';

export interface TeiPorts extends EmbeddingPorts, Pick<ClassifyPorts, 'classifier'> {
  /** Made when it is asked for; rejects with `not_ready` where there is no model yet. */
  readonly tokenView: () => Promise<TokenView>;
}

/**
 * Endpoints for clients of Text Embeddings Inference: `/embed`, `/`, `/info`, `/tokenize`, `/decode`, `/similarity` and
 * `/predict`. No prompts, no other lengths of vectors, no cuts on the left.
 */
export function teiEndpoints(settings: ContractSettings): Endpoint<TeiPorts>[] {
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
        'numbers',
        pathOf('inputs', inputs),
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
      summary: 'Embeddings, compatible with Text Embeddings Inference',
    },
    {
      ...embed,
      path: '/',
      ...operation,
      id: 'embedAtRoot',
      summary: 'The same as `POST /embed`, at the path that some clients use',
    },
    {
      ...common,
      method: 'GET',
      path: '/info',
      id: 'info',
      summary: 'The model and its limits, compatible with Text Embeddings Inference',
      answers: { 200: json('It', infoResponse) },
      handle(context, ports) {
        sendJson(context, infoOf(ports));
      },
    },
    ...textEndpoints(settings),
  ];
}

/** Those that answer in other forms than vectors. */
function textEndpoints(settings: ContractSettings): Endpoint<TeiPorts>[] {
  const common = { method: 'POST', access: 'key', dialect: 'tei' } as const;
  const problems = [400, 413, 415, 422] as const;
  const tokenize = tokenizeRequest(settings);
  const similarity = similarityRequest(settings);
  const predict = predictRequest(settings);
  return [
    {
      ...common,
      tag: 'Embeddings',
      path: '/tokenize',
      id: 'tokenize',
      summary: 'The tokens of texts, compatible with Text Embeddings Inference; nothing is truncated',
      body: jsonBody(tokenize, { one: { value: { inputs: 'ping' } } }),
      answers: { 200: json('The tokens of each text', tokenizeResponse) },
      problems,
      async handle(context, ports) {
        const { inputs, add_special_tokens: addSpecialTokens } = await readJson(context, tokenize, ports);
        const texts = textsOf(inputs);
        const view = await ports.tokenView();
        // A token has a character at least, and few have fewer than three.
        reserveTokens(
          context,
          ports.bytes,
          texts.reduce((sum, { length }) => sum + length + 2, 0),
        );
        sendEach(context, texts, (text) => view.encode(text, addSpecialTokens !== false));
      },
    },
    {
      ...common,
      tag: 'Embeddings',
      path: '/decode',
      id: 'decode',
      summary: 'The text of token ids',
      body: jsonBody(decodeRequest, { one: { value: { ids: [101, 17852, 102] } } }),
      answers: { 200: json('One text for each list', decodeResponse) },
      problems,
      async handle(context, ports) {
        const { ids, skip_special_tokens: skip } = await readJson(context, decodeRequest, ports);
        const lists = isNested(ids) ? ids : [ids];
        const view = await ports.tokenView();
        sendEach(context, lists, (list) => view.decode(list, skip !== false));
      },
    },
    {
      ...common,
      tag: 'Embeddings',
      inference: true,
      path: '/similarity',
      id: 'similarity',
      summary: 'Cosine similarity of sentences to a source sentence',
      body: jsonBody(similarity, {
        one: { value: { inputs: { source_sentence: 'a ship', sentences: ['a boat', 'a chair'] } } },
      }),
      answers: { 200: json('A cosine similarity for each sentence', similarityResponse) },
      problems,
      async handle(context, ports) {
        const { inputs } = await readJson(context, similarity, ports);
        const texts = [inputs.source_sentence, ...inputs.sentences];
        const { results } = await embedTexts(
          context,
          ports,
          texts,
          ({ vector }) => toUnitLength(vector),
          'numbers',
          (index) => (index === 0 ? 'inputs.source_sentence' : `inputs.sentences[${index - 1}]`),
        );
        const [source = new Float32Array(), ...others] = results;
        sendJson(
          context,
          others.map((vector) => vector.reduce((sum, value, at) => sum + value * (source[at] ?? 0), 0)),
        );
      },
    },
    {
      ...common,
      tag: 'Classification',
      inference: true,
      path: '/predict',
      id: 'predict',
      summary: 'Scores of the served routes, compatible with Text Embeddings Inference; it never abstains',
      body: jsonBody(predict, { one: { value: { inputs: 'my card was charged twice' } } }),
      answers: { 200: json('The routes, the highest score first', predictResponse) },
      problems,
      async handle(context, ports) {
        const { inputs } = await readJson(context, predict, ports);
        const isNested = Array.isArray(inputs) && Array.isArray(inputs[0]);
        const at = pathOf('inputs', inputs);
        const texts = [inputs]
          .flat(2)
          .map((text, index) => ({ text, path: isNested ? `${at(index)}[0]` : at(index) }));
        const { classifier, metrics, requestTimeoutMs } = ports;
        const options = { top_k: OPTION_LIMITS.topK };
        reserveAnswer(context, ports.bytes, texts.length, options, classifier.active?.set);
        const { decisions, timing, usage } = await withDeadline(context, requestTimeoutMs, (call) =>
          classifier.classifyBatch(texts, options, call),
        );
        noteTimings(context, timing);
        metrics.read(usage);
        for (const { route } of decisions) metrics.decided(route, 'routes');
        const all = decisions.map(({ candidates }) =>
          candidates.map(({ score, route }) => ({ score, label: route })),
        );
        sendJson(context, isNested ? all : (all[0] ?? []));
      },
    },
  ];
}

/** Answers a list that is made one by one, and gives way in between. */
function sendEach<T>(context: RequestContext, list: readonly T[], partOf: (item: T) => unknown): void {
  function* parts(): Generator<string> {
    for (const [index, item] of list.entries()) yield (index > 0 ? ',' : '') + JSON.stringify(partOf(item));
  }
  sendJsonParts(context, '[', parts(), ']');
}

function isNested(
  ids: readonly number[] | readonly (readonly number[])[],
): ids is readonly (readonly number[])[] {
  return Array.isArray(ids[0]);
}

function toUnitLength(vector: Float32Array): Float32Array {
  const length = Math.hypot(...vector);
  return length === 0 ? vector : vector.map((value) => value / length);
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
    max_client_batch_size: maxInputs(limits),
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
