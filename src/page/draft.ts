import type { JsonObject, Route, RouteSet } from '../../packages/client/src/index.js';
import { byId, plural, setText } from './dom.js';

/** Stands for a line break within an utterance, where each line is an utterance. */
const BREAK = '↵';

export const FIELDS = [
  'edit-name',
  'edit-description',
  'edit-utterances',
  'edit-threshold',
  'edit-metadata',
] as const;
type FieldId = (typeof FIELDS)[number];

/** The fields make no route: what is wrong with which. */
export class DraftFault extends Error {
  constructor(readonly faults: ReadonlyMap<FieldId, string>) {
    super('the fields make no route');
  }
}

/** Puts a route into the fields. */
export function fillFields(route: Route | undefined): void {
  const fields = fieldsOf();
  fields.name.value = route?.name ?? '';
  fields.name.readOnly = route !== undefined;
  setText(byId('edit-name-hint'), route ? 'stays as it is: to rename, add a route and delete this one' : '');
  fields.description.value = route?.description ?? '';
  fields.utterances.value = (route?.utterances ?? [])
    .map((utterance) => utterance.replace(/\r\n?|\n/g, BREAK))
    .join('\n');
  fields.threshold.value = route?.score_threshold === undefined ? '' : String(route.score_threshold);
  fields.metadata.value = route?.metadata === undefined ? '' : JSON.stringify(route.metadata, null, 2);
}

/**
 * Makes a route of the fields.
 * @param taken names that it must not have
 * @throws DraftFault
 */
export function readFields(taken: readonly string[]): Route {
  const { name, description, utterances, threshold, metadata } = fieldsOf();
  const title = name.value.trim();
  const lines = utterances.value.split('\n').filter((line) => line.trim() !== '');
  const read = metadata.value.trim() === '' ? undefined : readMetadata(metadata.value);
  const faults = new Map<FieldId, string>();
  if (title === '') faults.set('edit-name', 'Give the route a name.');
  if (taken.includes(title))
    faults.set(
      'edit-name',
      `There is a route called ${title} already: edit that one, or choose another name.`,
    );
  if (lines.length === 0) faults.set('edit-utterances', 'Write an utterance or more, one a line.');
  if (threshold.validity.badInput || Number(threshold.value) < 0 || Number(threshold.value) > 1)
    faults.set('edit-threshold', 'Write a number from 0 to 1, or nothing.');
  if (typeof read === 'string') faults.set('edit-metadata', read);
  if (faults.size > 0) throw new DraftFault(faults);
  return {
    name: title,
    ...(description.value.trim() !== '' && { description: description.value }),
    utterances: lines.map((line) => line.replaceAll(BREAK, '\n')),
    ...(threshold.value !== '' && { score_threshold: Number(threshold.value) }),
    ...(typeof read === 'object' && { metadata: read }),
  };
}

/** Whether a route says something that the fields cannot say. */
export function isBeyondFields({ utterances }: Route): boolean {
  return utterances.some((utterance) => utterance.includes(BREAK));
}

/** The set with this route in it, where the old one was or at the end. */
export function withRoute(set: RouteSet, route: Route): readonly Route[] {
  const isThere = set.routes.some(({ name }) => name === route.name);
  return isThere
    ? set.routes.map((each) => (each.name === route.name ? route : each))
    : [...set.routes, route];
}

/** Whether two routes say the same. */
export function isSame(a: Route | undefined, b: Route | undefined): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

/** The fields as text, to tell whether anything was written. */
export function fieldsText(): string {
  return Object.values(fieldsOf())
    .map(({ value }) => value)
    .join('\0');
}

/** The metadata, or what is wrong with it. */
function readMetadata(text: string): JsonObject | string {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value)
      ? (value as JsonObject)
      : 'This must be a JSON object, such as {"model": "small"}.';
  } catch (error) {
    return `This is not JSON: ${error instanceof Error ? error.message : error}`;
  }
}

function fieldsOf() {
  return {
    name: byId<HTMLInputElement>('edit-name'),
    description: byId<HTMLInputElement>('edit-description'),
    utterances: byId<HTMLTextAreaElement>('edit-utterances'),
    threshold: byId<HTMLInputElement>('edit-threshold'),
    metadata: byId<HTMLTextAreaElement>('edit-metadata'),
  };
}

/** Describes the differences between two lists of texts; at most three of each kind are quoted. */
export function textChanges(
  before: readonly string[] | undefined,
  now: readonly string[] | undefined,
  noun: string,
): string[] {
  const old = new Set(before);
  const current = new Set(now);
  const added = [...current].filter((text) => !old.has(text));
  const removed = [...old].filter((text) => !current.has(text));
  const list = (texts: string[]): string =>
    texts
      .slice(0, 3)
      .map((text) => `“${text}”`)
      .join(', ') + (texts.length > 3 ? ', …' : '');
  const what = [
    added.length > 0 && `${plural(added.length, noun)} added: ${list(added)}`,
    removed.length > 0 && `${plural(removed.length, noun)} removed: ${list(removed)}`,
  ];
  return what.filter((each) => typeof each === 'string');
}

function metadataChanges(before: JsonObject = {}, now: JsonObject = {}): string[] {
  const text = (value: unknown): string => JSON.stringify(value) ?? 'none';
  return [...new Set([...Object.keys(before), ...Object.keys(now)])]
    .filter((name) => text(before[name]) !== text(now[name]))
    .map((name) => `${name} ${text(before[name])} → ${text(now[name])}`);
}

/** Describes the differences between two states of a route. */
export function changesOf(before: Route | undefined, now: Route): string {
  const what = [
    ...textChanges(before?.utterances, now.utterances, 'utterance'),
    before?.description !== now.description && 'another description',
    before?.score_threshold !== now.score_threshold &&
      `threshold ${before?.score_threshold ?? 'default'} → ${now.score_threshold ?? 'default'}`,
    ...metadataChanges(before?.metadata, now.metadata),
  ].filter((each) => typeof each === 'string');
  return what.join('; ') || 'the order of its utterances';
}
