import type Router from '@koa/router';
import type { TeiInfo } from '../../api/tei.js';
import type { EmbeddingsDeps } from '../embeddings.js';

/** What `/info` tells besides the model. */
export interface InfoDeps extends EmbeddingsDeps {
  readonly maxQueue: number;
  readonly workers: number;
}

/** `GET /info` of Text Embeddings Inference. */
export function teiInfo(router: Router, { embeddings, limits, version, maxQueue, workers }: InfoDeps): void {
  const { model } = embeddings;
  const info: TeiInfo = {
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
  router.get('/info', (context) => {
    context.body = info;
  });
}
