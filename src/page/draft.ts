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
  constructor(
    readonly field: FieldId,
    message: string,
  ) {
    super(message);
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
  const lines = utterances.value.split('\n').filter((line) => line.trim() !== '');
  if (name.value.trim() === '') throw new DraftFault('edit-name', 'Give the route a name.');
  if (taken.includes(name.value.trim())) {
    const message = `There is a route called ${name.value.trim()} already: edit that one, or choose another name.`;
    throw new DraftFault('edit-name', message);
  }
  if (lines.length === 0) throw new DraftFault('edit-utterances', 'Write an utterance or more, one a line.');
  if (threshold.validity.badInput || Number(threshold.value) < 0 || Number(threshold.value) > 1)
    throw new DraftFault('edit-threshold', 'Write a number from 0 to 1, or nothing.');
  return {
    name: name.value.trim(),
    ...(description.value.trim() !== '' && { description: description.value }),
    utterances: lines.map((line) => line.replaceAll(BREAK, '\n')),
    ...(threshold.value !== '' && { score_threshold: Number(threshold.value) }),
    ...(metadata.value.trim() !== '' && { metadata: readMetadata(metadata.value) }),
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

function readMetadata(text: string): JsonObject {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new DraftFault(
      'edit-metadata',
      `This is not JSON: ${error instanceof Error ? error.message : error}`,
    );
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new DraftFault('edit-metadata', 'This must be a JSON object, such as {"model": "small"}.');
  }
  return value as JsonObject;
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

/** Describes the differences between two states of a route. */
export function changesOf(before: Route | undefined, now: Route): string {
  const what = [
    ...textChanges(before?.utterances, now.utterances, 'utterance'),
    before?.description !== now.description && 'another description',
    before?.score_threshold !== now.score_threshold &&
      `threshold ${before?.score_threshold ?? 'default'} → ${now.score_threshold ?? 'default'}`,
    JSON.stringify(before?.metadata) !== JSON.stringify(now.metadata) && 'other metadata',
  ].filter((each) => typeof each === 'string');
  return what.join('; ') || 'the order of its utterances';
}
