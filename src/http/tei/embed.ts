import type Router from '@koa/router';
import type { Context } from 'koa';
import { embedRequestSchema } from '../../api/tei.js';
import { textsOf } from '../../api/text-input.js';
import { AppError } from '../../shared/errors.js';
import { readJson } from '../body.js';
import { type EmbeddingsDeps, embedRequest, vectorJson } from '../embeddings.js';

/**
 * `POST /embed` of Text Embeddings Inference, and `POST /`, where some of its clients send the same. Its other paths
 * (`/embed_all`, `/embed_sparse`, `/rerank`, `/predict`, `/similarity`, `/tokenize`) are not here, nor are prompts,
 * cutting on the left, token ids as inputs, and vectors of another length than the model's.
 */
export function teiEmbed(router: Router, deps: EmbeddingsDeps): void {
  const { limits, embeddings } = deps;
  const { model } = embeddings;
  const schema = embedRequestSchema(limits, model);

  const answer = async (context: Context): Promise<void> => {
    const { inputs, truncate, normalize } = await readJson(context, schema, limits.maxBodyBytes);
    const scale = !model.normalized && normalize !== false;
    const { results, usage } = await embedRequest(
      context,
      deps,
      textsOf(inputs),
      ({ vector, tokens, truncatedTokens }) => {
        if (truncate === false && truncatedTokens > 0)
          throw tooLong(tokens + truncatedTokens, model.maxTokens);
        return vectorJson(scale ? toUnitLength(vector) : vector);
      },
    );
    context.set('X-Compute-Tokens', String(usage.tokens));
    context.set('X-Truncated-Tokens', String(usage.truncatedTokens));
    context.type = 'application/json';
    context.body = `[${results.join(',')}]`;
  };
  router.post('/embed', answer);
  router.post('/', answer);
}

function tooLong(tokens: number, maxTokens: number): AppError {
  return new AppError(
    'text_too_long',
    `\`inputs\` must have at most ${maxTokens} tokens each, special tokens included; one has ${tokens} ` +
      '(send "truncate": true to cut it)',
  );
}

function toUnitLength(vector: Float32Array): Float32Array {
  const length = Math.hypot(...vector);
  return length === 0 ? vector : vector.map((value) => value / length);
}
