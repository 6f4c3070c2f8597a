/** The model, as embedding APIs describe it. */
export interface EmbeddingModel {
  /** `organisation/name` on the hub. */
  readonly id: string;
  readonly revision: string;
  readonly variant: string;
  readonly digest: string;
  /** Length of the vectors. */
  readonly dimension: number;
  /** Longest text in tokens, special tokens included; what is longer is cut. */
  readonly maxTokens: number;
  readonly pooling: string;
  /** Whether vectors have length 1. */
  readonly normalized: boolean;
}
