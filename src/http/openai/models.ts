import type Router from '@koa/router';
import type { Context } from 'koa';
import type { EmbeddingModel } from '../../api/embedding-model.js';
import type { OpenAiModel, OpenAiModelList } from '../../api/openai.js';
import type { EmbeddingsDeps } from '../embeddings.js';
import { pathParam } from '../path-param.js';
import { requireModel } from './model-name.js';

/** `GET /v1/models` and `GET /v1/models/{id}`, where the id's `/` may be written as it is or as `%2F`. */
export function openAiModels(router: Router, { embeddings: { model } }: EmbeddingsDeps): void {
  const described = describe(model);

  router.get('/v1/models', (context) => {
    context.body = { object: 'list', data: [described] } satisfies OpenAiModelList;
  });

  router.get('/v1/models/*id', (context: Context) => {
    requireModel(pathParam(context, 'id'), model.id);
    context.body = described;
  });
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
