import { createHash } from 'node:crypto';
import type { RouteBody } from '../api/routes.js';
import type { JsonObject, JsonValue } from '../api/schema.js';
import type { ScoringMethod } from '../config/parsers.js';
import { compareText } from '../shared/closest.js';
import type { FieldIssue } from '../shared/errors.js';

export type { JsonObject, JsonValue } from '../api/schema.js';

/** One destination, with the texts that stand for it. */
export interface Route {
  readonly name: string;
  readonly description: string | undefined;
  /** At least one; trimmed; none twice. */
  readonly utterances: readonly string[];
  /** Lowest score, 0..1, with which this route is chosen; `undefined`: the default. 0 is a value. */
  readonly scoreThreshold: number | undefined;
  /** Handed back with a decision for this route; `undefined` where there is none. */
  readonly metadata: JsonObject | undefined;
}

/** A remark on a route set that does not keep it from being used, with its place in the file. */
export interface RouteWarning extends FieldIssue {
  /** From 1. */
  readonly line: number;
  /** From 1, in UTF-16 code units. */
  readonly column: number;
}

/** A validated set of routes. Deeply frozen. */
export interface RouteSet {
  readonly routes: readonly Route[];
  /** How they are to be scored, whatever the setting says; `undefined`: as that says. */
  readonly method: ScoringMethod | undefined;
  /** Texts that belong to no route: trimmed; none twice; often empty. */
  readonly none: readonly string[];
  /** Position of each route in `routes` by its name. */
  readonly indexOf: ReadonlyMap<string, number>;
  /** Utterances of all routes together. */
  readonly utteranceCount: number;
  /**
   * `sha256:<hex>` over everything that can be seen in an answer or in the set itself, independent of the
   * order of routes, utterances and keys, of comments and of formatting.
   */
  readonly digest: string;
  readonly warnings: readonly RouteWarning[];
}

/**
 * Builds a set from routes that were checked already (by `parseRouteSet`, or as labels of a request).
 * Takes the objects over and freezes them.
 */
export function createRouteSet(
  routes: readonly Route[],
  { method, none = [], warnings = [] }: Partial<Pick<RouteSet, 'method' | 'none' | 'warnings'>> = {},
): RouteSet {
  return deepFreeze({
    routes,
    method,
    none,
    indexOf: new Map(routes.map((route, index) => [route.name, index])),
    utteranceCount: routes.reduce((sum, route) => sum + route.utterances.length, 0),
    digest: digestOf(routes, method, none),
    warnings,
  });
}

/** A route as it is written in a file and shown over HTTP. */
export function routeToJson(route: Route): RouteBody {
  return {
    name: route.name,
    ...(route.description === undefined ? {} : { description: route.description }),
    utterances: route.utterances,
    ...(route.scoreThreshold === undefined ? {} : { score_threshold: route.scoreThreshold }),
    ...(route.metadata === undefined ? {} : { metadata: route.metadata }),
  };
}

/** A set as it is written in a file and shown over HTTP. */
export function routeSetToJson({ method, routes, none }: Pick<RouteSet, 'method' | 'routes' | 'none'>): {
  readonly method?: ScoringMethod;
  readonly routes: readonly RouteBody[];
  readonly none?: readonly string[];
} {
  return {
    ...(method === undefined ? {} : { method }),
    routes: routes.map(routeToJson),
    ...(none.length === 0 ? {} : { none }),
  };
}

function digestOf(
  routes: readonly Route[],
  method: ScoringMethod | undefined,
  none: readonly string[],
): string {
  const hash = createHash('sha256');
  for (const route of [...routes].sort((a, b) => compareText(a.name, b.name))) {
    const sorted = { ...route, utterances: [...route.utterances].sort(compareText) };
    hash.update(`${canonicalJson(routeToJson(sorted))}\n`);
  }
  if (method !== undefined) hash.update(`${canonicalJson({ method })}\n`);
  if (none.length > 0) hash.update(`${canonicalJson({ none: [...none].sort(compareText) })}\n`);
  return `sha256:${hash.digest('hex')}`;
}

/** JSON with the keys of every object in code-unit order: equal values give equal text. */
export function canonicalJson(value: JsonValue): string {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const entries = Object.entries(value).sort(([a], [b]) => compareText(a, b));
  return `{${entries.map(([key, item]) => `${JSON.stringify(key)}:${canonicalJson(item)}`).join(',')}}`;
}

function deepFreeze<T>(value: T): T {
  if (typeof value !== 'object' || value === null || Object.isFrozen(value)) return value;
  for (const item of Object.values(value)) deepFreeze(item);
  return Object.freeze(value);
}
