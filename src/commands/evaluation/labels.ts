import { closestNames } from '../../routes/closest.js';
import { AppError } from '../../shared/errors.js';
import type { Example } from './labelled-file.js';

/** Words that data sets use for "none of these". A route of that name comes first. */
const OUT_OF_SCOPE = new Set(['none', 'null', 'oos', 'ood', 'out_of_scope', 'out-of-scope', 'out of scope']);

/** What becomes of labels that no route has. */
export const UNKNOWN_LABELS = ['error', 'oos', 'skip'] as const;

/** See {@link UNKNOWN_LABELS}. */
export type UnknownLabels = (typeof UNKNOWN_LABELS)[number];

/** A text and where it belongs: a route's name, or `null` when to none. */
export interface Case {
  readonly text: string;
  readonly expected: string | null;
  readonly line: number;
}

/**
 * Matches labels with the names of routes.
 * @throws AppError `config_invalid`, naming the labels that no route has, unless they are allowed
 */
export function resolveLabels(
  examples: readonly Example[],
  names: ReadonlySet<string>,
  unknown: UnknownLabels,
): { readonly cases: readonly Case[]; readonly skipped: number } {
  const strangers = new Map<string, number>();
  const cases = examples.flatMap(({ text, label, line }): Case[] => {
    if (label === null) return [{ text, expected: null, line }];
    if (names.has(label)) return [{ text, expected: label, line }];
    if (OUT_OF_SCOPE.has(label.toLowerCase())) return [{ text, expected: null, line }];
    strangers.set(label, (strangers.get(label) ?? 0) + 1);
    return unknown === 'oos' ? [{ text, expected: null, line }] : [];
  });
  if (strangers.size > 0 && unknown === 'error') {
    const listed = [...strangers].slice(0, 10).map(([label, count]) => {
      const [near] = closestNames(label.slice(0, 128), names, 1);
      return `"${label}" (${count}×${near === undefined ? '' : `; is it "${near}"?`})`;
    });
    const more = strangers.size > listed.length ? ` and ${strangers.size - listed.length} more` : '';
    throw new AppError(
      'config_invalid',
      `no route has these labels: ${listed.join(', ')}${more}; --unknown-labels oos counts their texts as out of scope, skip leaves them out`,
    );
  }
  return { cases, skipped: examples.length - cases.length };
}
