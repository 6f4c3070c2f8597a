import type Router from '@koa/router';
import type { Context } from 'koa';
import { embeddingRequest } from '../../api/openai.js';
import { textsOf } from '../../api/text-input.js';
import { readJson } from '../body.js';
import { type EmbeddingsDeps, embedRequest, vectorJson } from '../embeddings.js';
import { requireModel } from './model-name.js';

/**
 * `POST /v1/embeddings` as OpenAI's clients speak it. It has one model, cuts texts that are too long (and counts it in
 * `usage.truncated_tokens`) where OpenAI refuses them, takes no token ids, and shortens no vectors.
 */
export function openAiEmbeddings(router: Router, deps: EmbeddingsDeps): void {
  const { limits, embeddings } = deps;
  const { id } = embeddings.model;
  const schema = embeddingRequest(limits, embeddings.model);

  router.post('/v1/embeddings', async (context: Context) => {
    const request = await readJson(context, schema, limits.maxBodyBytes);
    if (request.model) requireModel(request.model, id);
    const encode = request.encoding_format === 'base64' ? base64Json : vectorJson;
    const { results, usage } = await embedRequest(
      context,
      deps,
      textsOf(request.input),
      ({ vector }, index) => `{"object":"embedding","index":${index},"embedding":${encode(vector)}}`,
    );
    const rest = {
      model: id,
      usage: {
        prompt_tokens: usage.tokens,
        total_tokens: usage.tokens,
        truncated_tokens: usage.truncatedTokens,
      },
    };
    context.type = 'application/json';
    context.body = `{"object":"list","data":[${results.join(',')}],${JSON.stringify(rest).slice(1)}`;
  });
}

/** The bytes of a vector, as a JSON string; they are little-endian on every platform that the runtime supports. */
function base64Json({ buffer, byteOffset, byteLength }: Float32Array): string {
  return `"${Buffer.from(buffer, byteOffset, byteLength).toString('base64')}"`;
}
