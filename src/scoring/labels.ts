import { createHash } from 'node:crypto';
import type { Label } from '../api/classify.js';
import { LABEL_LIMITS } from '../api/limits.js';
import { createRouteSet, type Route, type RouteSet } from '../routes/set.js';
import { AppError, type FieldIssue } from '../shared/errors.js';

/** A text of a request. */
export interface RequestText {
  readonly text: string;
  /** Its field, for messages. */
  readonly path: string;
}

/** Labels as a route set of their own. */
export interface LabelSet {
  readonly set: RouteSet;
  /** The field that each text of the set is made of. */
  readonly paths: ReadonlyMap<string, string>;
  /**
   * Whether some label is known by its name or description only. Such texts are less similar to what
   * people write than examples are, so they are scored on another scale.
   */
  readonly named: boolean;
}

/**
 * Makes a route set of a request's labels. A label with utterances is what those say; any other is put
 * into sentences, because a bare word is a poor example of what people write.
 * @throws AppError `validation_failed` with the path of each fault that its schema does not see (`labels[2].name`)
 */
export function labelSetOf(labels: readonly Label[]): LabelSet {
  const issues: FieldIssue[] = [];
  const names = new Set<string>();
  const paths = new Map<string, string>();
  let named = false;
  const routes = labels.map((label, index): Route => {
    const at = `labels[${index}]`;
    const path = typeof label === 'string' ? at : `${at}.name`;
    const { name: given, description, utterances } = typeof label === 'string' ? { name: label } : label;
    const name = given.trim();
    if (names.has(name)) issues.push({ path, message: `the label "${name}" stands twice` });
    names.add(name);
    named ||= utterances === undefined;
    const texts =
      utterances?.map((text, position) => ({ text, path: `${at}.utterances[${position}]` })) ??
      optionTexts(
        { text: name, path },
        description === undefined ? undefined : { text: description, path: `${at}.description` },
      );
    return {
      ...{ name, description: undefined, utterances: textsOf(texts, paths) },
      ...{ scoreThreshold: undefined, metadata: undefined },
    };
  });
  if (routes.reduce((sum, { utterances }) => sum + utterances.length, 0) > LABEL_LIMITS.utterances) {
    const message = `have more than ${LABEL_LIMITS.utterances} utterances together`;
    issues.push({ path: 'labels', message });
  }
  if (issues.length > 0) {
    const list = issues.map(({ path, message }) => `${path}: ${message}`).join('; ');
    throw new AppError('validation_failed', list, { issues });
  }
  const set = createRouteSet(routes);
  return named ? { named, paths, set: { ...set, digest: digestOfNamed(set.digest) } } : { named, paths, set };
}

/** Returns each of the texts once, and notes the field of those that are new. */
export function textsOf(texts: readonly RequestText[], paths: Map<string, string>): readonly string[] {
  const distinct = new Set<string>();
  for (const { text, path } of texts) {
    const trimmed = text.trim();
    distinct.add(trimmed);
    if (!paths.has(trimmed)) paths.set(trimmed, path);
  }
  return [...distinct];
}

/** The sentences of an option, each with the field that would leave it empty: the first is the name alone. */
export function optionTexts(name: RequestText, description: RequestText | undefined): readonly RequestText[] {
  return optionSentences(name.text, description?.text).map((text, index) => ({
    text,
    path: index === 0 ? name.path : (description ?? name).path,
  }));
}

/**
 * Sentences for a label without examples. Measured on the default route set's held-out texts, of which the
 * bare name gets 53 % right: with the sentence about help 61 %; with a description, in these three forms,
 * 69 % (the description alone: 64 %).
 */
export function sentencesOf(name: string, description: string | undefined): string[] {
  // billing_disputes and billingDisputes are words to people, but not to a tokenizer.
  const words = name
    .replace(/[_-]+/g, ' ')
    .replace(/(\p{Ll})(\p{Lu})/gu, '$1 $2')
    .trim()
    .toLowerCase();
  const plain = words === '' ? name : words;
  if (description === undefined) return [plain, `I want help with ${plain}`];
  return [plain, description, `${plain}: ${description}`];
}

/** Parts of a description that lists things, and characters of the shortest of them. */
const PARTS = { most: 8, chars: 3 } as const;

/**
 * Sentences for an option, or a label without examples: those of {@link sentencesOf}, and of a description that lists things
 * each thing. Chosen on one half of the texts of Banking77 and of the shipped route sets (`npm run bench:routing`), where
 * instructions beside them made no difference.
 */
export function optionSentences(name: string, description: string | undefined): readonly string[] {
  const parts = description?.split(/[,;]| and /, PARTS.most).map((part) => part.trim()) ?? [];
  return [...sentencesOf(name, description), ...parts.filter(({ length }) => length >= PARTS.chars)];
}

/** The same texts given as examples are scored otherwise, so they must not share a digest. */
function digestOfNamed(digest: string): string {
  return `sha256:${createHash('sha256').update(`named ${digest}`).digest('hex')}`;
}
