import type { Finding } from '../api/lint.js';

export { type Finding, SEVERITIES, type Severity } from '../api/lint.js';

/** What can be found. */
export type FindingKind = Finding['kind'];

/** An utterance and the route that it stands in. */
export interface Place {
  readonly route: string;
  readonly utterance: string;
}

/** A text in quotes, short enough for a line. */
export function quoted(text: string): string {
  return `"${text.length <= 70 ? text : `${text.slice(0, 69)}…`}"`;
}

/** A share of 1 as people read it. */
export function percent(share: number): string {
  return `${Math.round(share * 100)} %`;
}
