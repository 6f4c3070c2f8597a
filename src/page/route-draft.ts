import { byId } from './dom.js';
import type { Route, RouteSet } from './wire.js';

/** Stands for a line break within an utterance, where each line is an utterance. */
const BREAK = '↵';

/** What somebody wrote cannot be a route; the message says why. */
export class DraftFault extends Error {}

/** Puts a route into the fields. */
export function fillFields(route: Route | undefined): void {
  const fields = fieldsOf();
  fields.name.value = route?.name ?? '';
  fields.name.readOnly = route !== undefined;
  fields.description.value = route?.description ?? '';
  fields.utterances.value = (route?.utterances ?? [])
    .map((utterance) => utterance.replace(/\r\n?|\n/g, BREAK))
    .join('\n');
  fields.threshold.value = route?.score_threshold === undefined ? '' : String(route.score_threshold);
  fields.metadata.value = route?.metadata === undefined ? '' : JSON.stringify(route.metadata, null, 2);
}

/**
 * Makes a route of the fields.
 * @throws DraftFault
 */
export function readFields(): Route {
  const { name, description, utterances, threshold, metadata } = fieldsOf();
  const lines = utterances.value.split('\n').filter((line) => line.trim() !== '');
  if (name.value.trim() === '') throw new DraftFault('Give the route a name.');
  if (lines.length === 0) throw new DraftFault('Write an utterance or more, one a line.');
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

function readMetadata(text: string): Readonly<Record<string, unknown>> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new DraftFault(`The metadata is not JSON: ${error instanceof Error ? error.message : error}`);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new DraftFault('The metadata must be a JSON object, such as {"model": "small"}.');
  }
  return value as Readonly<Record<string, unknown>>;
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
