import type { JsonObject } from './route-set.js';
import type { Contribution, ScorerIdentity } from './scorer.js';

/** What a caller may choose about a classification, as it stands in a request. */
export interface ClassifyOptions {
  /** How many candidates to return, at least 1. Default: 3. */
  readonly top_k?: number;
  /** Lowest score with which a route is chosen, 0..1. Comes before that of the route and the default. */
  readonly threshold?: number;
  /** Only these routes of the set are candidates. */
  readonly routes?: readonly string[];
  /** Takes the place of the route set for this request. */
  readonly labels?: readonly Label[];
  /** Adds every route that reaches its threshold, not only the best. */
  readonly multi?: boolean;
  /** Adds to each candidate its threshold, the utterances nearest to the text, and what its score is made of. */
  readonly explain?: boolean;
}

/** One text to classify. */
export interface ClassifyRequest extends ClassifyOptions {
  readonly text: string;
}

/** A class that a request brings along: its name alone, or with example texts or a description of it. */
export type Label =
  | string
  | { readonly name: string; readonly description?: string; readonly utterances?: readonly string[] };

/** An utterance and its cosine to the text. */
export interface NearestUtterance {
  readonly utterance: string;
  readonly similarity: number;
}

/** One route that was considered. */
export interface Candidate {
  readonly route: string;
  /** Confidence that this route is right, 0..1, to six digits. */
  readonly score: number;
  /** Best cosine of the route's utterances, -1..1, to six digits. */
  readonly similarity: number;
  /** With `explain`: lowest score with which it is chosen. */
  readonly threshold?: number;
  /** With `explain`: the nearest first. */
  readonly nearest?: readonly NearestUtterance[];
  /** With `explain`, where a trained head scored. */
  readonly contribution?: Contribution;
}

/** One of several routes that reached their thresholds. */
export type RouteMatch = Pick<Candidate, 'route' | 'score' | 'similarity'> & {
  readonly metadata?: JsonObject;
};

/** Which model gave an answer. */
export interface ModelIdentity {
  readonly id: string;
  readonly revision: string;
  readonly variant: string;
  readonly digest: string;
}

/** What became of the text on its way into the model. */
export interface Usage {
  /** Tokens that the model saw, special tokens included. */
  readonly tokens: number;
  readonly truncated_tokens: number;
}

/** The answer to one text; serialized as it is. */
export interface Decision {
  /** The route, or `null` when none reached its threshold. */
  readonly route: string | null;
  /** Score of the route; of the best candidate when there is no route. */
  readonly score: number;
  /** Similarity of the same. */
  readonly similarity: number;
  /**
   * The best candidates by score. The chosen route is not always the first: a better one may have missed
   * a higher threshold of its own.
   */
  readonly candidates: readonly Candidate[];
  /** With `multi`: every route whose score reached its threshold, the best first; none: an abstention. */
  readonly routes?: readonly RouteMatch[];
  readonly usage: Usage;
  readonly model: ModelIdentity;
  /** Digest of the route set, or of the labels that took its place. */
  readonly routes_digest: string;
  /** What scored, so that the answer can be reproduced. */
  readonly scorer: ScorerIdentity;
  /** Metadata of the chosen route, where it has some. */
  readonly route_metadata?: JsonObject;
}

/** Where the time went, in milliseconds. Of a batch: the longest wait, and the sums of the work. */
export interface ClassifyTiming {
  readonly queueMs: number;
  readonly tokenizeMs: number;
  readonly inferenceMs: number;
  readonly scoreMs: number;
}
