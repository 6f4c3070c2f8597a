import type { Embedder } from '../inference/embedder.js';
import type { ModelIdentity } from './decision.js';
import type { HeadCache } from './head/head-cache.js';
import type { VectorCache } from './vector-cache.js';

/**
 * A model as the classifier needs it. Vectors of different models must never meet, so what belongs to one
 * model stays together.
 */
export interface Encoder {
  /** Bound to this model: it must not begin to answer with another one. */
  readonly embedder: Embedder;
  /** Shown with every decision. */
  readonly model: ModelIdentity;
  /** Vectors of route utterances that outlive the process. Labels of requests are not kept in it. */
  readonly cache?: VectorCache;
  /** The same for texts that heads are trained and calibrated with besides utterances. */
  readonly auxiliary?: VectorCache;
  /** The vectors of the background texts that came with the program for this model: texts × dimension. */
  readonly background?: () => Promise<Float32Array | undefined>;
  /** Trained heads that outlive the process. */
  readonly heads?: HeadCache;
  /** What decides about vectors beside the model's digest (runtime, processor), so that heads are kept apart. */
  readonly modelKey?: string;
}
