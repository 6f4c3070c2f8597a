import type { Candidate, ClassifyBody, Decision } from '../api/classify.js';

export type { Candidate, Decision, Label, ModelIdentity, RouteMatch } from '../api/classify.js';

/** One text to classify. */
export type ClassifyRequest = ClassifyBody;

/** What a caller may choose about a classification, as it stands in a request. */
export type ClassifyOptions = Omit<ClassifyBody, 'text'>;

/** An utterance and its cosine to the text. */
export type NearestUtterance = NonNullable<Candidate['nearest']>[number];

/** What became of the text on its way into the model. */
export type Usage = Decision['usage'];

/** Where the time went, in milliseconds. Of a batch: the longest wait, and the sums of the work. */
export interface ClassifyTiming {
  readonly queueMs: number;
  readonly tokenizeMs: number;
  readonly inferenceMs: number;
  readonly scoreMs: number;
}
