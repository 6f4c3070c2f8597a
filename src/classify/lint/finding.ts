/** How much a finding matters: an error contradicts itself, a warning costs answers, an info is worth a look. */
export const SEVERITIES = ['error', 'warning', 'info'] as const;

/** See {@link SEVERITIES}. */
export type Severity = (typeof SEVERITIES)[number];

/** What can be found. */
export type FindingKind =
  | 'duplicate_across'
  | 'near_duplicate_across'
  | 'duplicate_within'
  | 'near_duplicate_within'
  | 'nearer_elsewhere'
  | 'outlier'
  | 'overlap'
  | 'too_small'
  | 'lopsided'
  | 'single_route'
  | 'hard_to_tell_apart';

/** An utterance and the route that it stands in. */
export interface Place {
  readonly route: string;
  readonly utterance: string;
}

/** One thing about a route set that could be better, with what to do about it. */
export interface Finding {
  readonly severity: Severity;
  readonly kind: FindingKind;
  readonly routes: readonly string[];
  readonly utterances: readonly Place[];
  /** A cosine, where there is one to tell. */
  readonly similarity?: number;
  readonly message: string;
  readonly advice: string;
}

/** A text in quotes, short enough for a line. */
export function quoted(text: string): string {
  return `"${text.length <= 70 ? text : `${text.slice(0, 69)}…`}"`;
}

/** A share of 1 as people read it. */
export function percent(share: number): string {
  return `${Math.round(share * 100)} %`;
}
