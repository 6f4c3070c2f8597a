import { ROUTE_LIMITS } from '../api/limits.js';
import type { ScoringMethod } from '../config/parsers.js';
import { closestNames, didYouMean } from '../shared/closest.js';
import { AppError } from '../shared/errors.js';
import { type Located, parseLocatedJson, parseLocatedYaml, type RouteFinding } from './located.js';
import { RouteReader, type UnknownField } from './reader.js';
import { createRouteSet, type Route, type RouteSet, type RouteWarning, routeSetToJson } from './set.js';

/** So many faults are told, and so many of them in the message. */
const MAX_FAULTS_SHOWN = 50;
const MAX_FAULT_LINES = 10;
/** Longest message of one fault: a parser may quote a whole text, which of 50 faults made 8 MB of an answer. */
const MAX_FAULT_CHARS = 500;

/** Options of {@link parseRouteSet}. */
export interface ParseRouteSetOptions {
  /** How the text is called in messages: a file's base name, without its folder. */
  readonly origin: string;
  /** JSON is read strictly; YAML accepts JSON as well. Default: `json` where `origin` ends in `.json`. */
  readonly format?: 'yaml' | 'json';
  /**
   * Whether a daemon serves the text, which may be of a newer version. Unknown fields are then dropped with a warning if the
   * digest that the text states still matches, because no decision depends on them. Without a digest they are faults.
   */
  readonly isServed?: boolean;
}

/**
 * Parses and validates a route set in semantic-router's format: a mapping with `routes`, or the bare list,
 * in YAML or JSON. What else semantic-router writes into its files is accepted and ignored.
 *
 * Blocks the thread while it works: 10,000 utterances of YAML take 0.2 to 0.5 s, of JSON a tenth of that.
 * @throws AppError `routes_invalid`, every fault with its line (`routes.yaml:12:5: utterances: …`)
 */
export function parseRouteSet(text: string, options: ParseRouteSetOptions): RouteSet {
  const { source, routes, method, none, warnings, unknown, digest } = readRoutes(
    text,
    options,
    (root) => root,
  );
  const placed = (findings: readonly RouteFinding[]) => findings.map((finding) => place(source, finding));
  if (unknown.length === 0) return createRouteSet(routes, { method, none, warnings: placed(warnings) });
  const set = createRouteSet(routes, { method, none, warnings: placed([...warnings, leftOut(unknown)]) });
  if (set.digest === digest) return set;
  // Of a newer version, or a slip in what someone edited by hand.
  const hint =
    '; the digest does not hold without it: if this was served by a newer version, upgrade this daemon';
  throw invalid(
    options.origin,
    source,
    unknown.map((fault) => ({ ...fault, message: fault.message + hint })),
  );
}

/** One remark on all fields of a newer version that change no decision. */
function leftOut(unknown: readonly UnknownField[]): RouteFinding {
  const [first] = unknown;
  const names = new Set(unknown.map(({ path, key }) => (path === '' ? key : `routes[].${key}`)));
  const message = `left out, as this version does not know them and no decision depends on them: ${[...names].join(', ')}`;
  return { offset: first?.offset ?? 0, path: '', message };
}

/**
 * Parses and validates one route, which need not repeat its name.
 * @param name the name that it is to have
 * @throws AppError `routes_invalid`, with paths inside the route (`utterances[2]`)
 */
export function parseRoute(text: string, name: string, options: ParseRouteSetOptions): Route {
  const { routes } = readRoutes(text, options, (root) => ({
    kind: 'list',
    offset: root.offset,
    items: [root.kind === 'map' ? named(root, name) : root],
  }));
  const [route] = routes;
  if (!route) throw new AppError('internal', 'a route without faults was not read');
  if (route.name === name) return route;
  const message = `is "${route.name}", but the route is addressed as "${name}"; put it under its new name and delete the old one`;
  throw new AppError('routes_invalid', `name: ${message}`, { issues: [{ path: 'name', message }] });
}

function named(route: Located & { kind: 'map' }, name: string): Located {
  if (route.entries.some(({ key }) => key === 'name')) return route;
  const { offset } = route;
  const value = { kind: 'scalar', value: name, offset } as const;
  return { ...route, entries: [{ key: 'name', keyOffset: offset, value }, ...route.entries] };
}

interface ReadRoutes {
  readonly source: SourceText;
  readonly routes: readonly Route[];
  readonly method: ScoringMethod | undefined;
  readonly none: readonly string[];
  readonly warnings: readonly RouteFinding[];
  /** Fields that are not known, where they are no faults. */
  readonly unknown: readonly UnknownField[];
  /** The digest that the text states. */
  readonly digest: string | undefined;
}

/** @param rootOf makes the value that is read as a set of the one that was parsed */
function readRoutes(
  text: string,
  options: ParseRouteSetOptions,
  rootOf: (parsed: Located) => Located,
): ReadRoutes {
  const { origin } = options;
  if (text.length > ROUTE_LIMITS.textChars) {
    throw new AppError('routes_invalid', `${origin}: longer than ${ROUTE_LIMITS.textChars} characters`);
  }
  const source = new SourceText(text.startsWith('\uFEFF') ? text.slice(1) : text);
  const format = options.format ?? (/\.json$/i.test(origin) ? 'json' : 'yaml');
  const parsed = format === 'json' ? parseLocatedJson(source.text) : parseLocatedYaml(source.text);
  if (!parsed.ok) {
    throw invalid(
      origin,
      source,
      parsed.faults.map((fault) => ({ ...fault, path: '' })),
      format,
    );
  }
  const root = rootOf(parsed.root);
  const reader = new RouteReader();
  const routes = reader.read(root);
  const { method, none, warnings, digest } = reader;
  // A field that is there under a wrong name is one fault.
  const isNotMisspelt = ({ path, message }: RouteFinding): boolean =>
    message !== 'is missing' ||
    !reader.unknown.some(
      ({ path: at, key }) =>
        path.startsWith(`${at}.`) && closestNames(key, [path.slice(at.length + 1)]).length > 0,
    );
  const isTolerant = options.isServed === true && digest !== undefined;
  const faults = isTolerant ? reader.faults : [...reader.unknown, ...reader.faults.filter(isNotMisspelt)];
  if (faults.length > 0) {
    // Of a single route, the place in a list that it does not stand in would only confuse.
    const inside = (path: string): string =>
      root === parsed.root ? path : path.replace(/^routes\[0\]\.?/, '');
    throw invalid(
      origin,
      source,
      faults.map((fault) => ({ ...fault, path: inside(fault.path) })),
      format,
    );
  }
  return { source, routes, method, none, warnings, unknown: reader.unknown, digest };
}

function place(source: SourceText, { offset, path, message }: RouteFinding): RouteWarning {
  return { path: clip(path), message: clip(message), ...source.positionOf(offset) };
}

function clip(text: string): string {
  return text.length <= MAX_FAULT_CHARS ? text : `${text.slice(0, MAX_FAULT_CHARS - 1)}…`;
}

/** @param format of YAML a person has the line, and need not count routes from 0 */
function invalid(
  origin: string,
  source: SourceText,
  faults: readonly RouteFinding[],
  format: 'yaml' | 'json' = 'json',
): AppError {
  const ordered = [...faults].sort((a, b) => a.offset - b.offset);
  const issues = ordered.slice(0, MAX_FAULTS_SHOWN).map((fault) => place(source, fault));
  const lines = issues.slice(0, MAX_FAULT_LINES).map(({ line, column, path, message }) => {
    const field = format === 'json' ? path : path.replace(/^routes\[\d+\]\.?/, '');
    return `${origin}:${line}:${column}: ${field === '' ? '' : `${field}: `}${message}`;
  });
  const hidden = faults.length - lines.length;
  if (hidden > 0) lines.push(`… and ${hidden} more`);
  return new AppError('routes_invalid', lines.join('\n'), { issues });
}

/** The set with this route in it, in the place of the one of the same name, or at the end. */
export function withRoute(set: RouteSet, route: Route): RouteSet {
  const index = set.indexOf.get(route.name);
  if (index === undefined) return validated(set, [...set.routes, route]);
  return validated(set, set.routes.with(index, route));
}

/**
 * The set without a route.
 * @throws AppError `not_found`; `routes_invalid` when it is the last one
 */
export function withoutRoute(set: RouteSet, name: string): RouteSet {
  routeOf(set, name);
  return validated(
    set,
    set.routes.filter((route) => route.name !== name),
  );
}

/**
 * A route of the set.
 * @throws AppError `not_found`, naming what may have been meant
 */
export function routeOf(set: RouteSet, name: string): Route {
  const route = set.routes[set.indexOf.get(name) ?? -1];
  if (route) return route;
  const hint = didYouMean(name.slice(0, 128), set.indexOf.keys());
  throw new AppError('not_found', `there is no route "${name.slice(0, 128)}"${hint}`);
}

/** Sent through the reader of files, which alone knows what holds for a set as a whole. */
function validated({ method, none }: RouteSet, routes: readonly Route[]): RouteSet {
  return parseRouteSet(JSON.stringify(routeSetToJson({ method, routes, none })), {
    origin: 'routes',
    format: 'json',
  });
}

/** A place in a text as a person counts: both from 1, columns in UTF-16 code units. */
export interface TextPosition {
  readonly line: number;
  readonly column: number;
}

/** A text together with the offsets at which its lines start, so that a fault can be given as line and column. */
export class SourceText {
  readonly text: string;
  readonly #lineStarts: readonly number[];

  /** @param text without a byte-order mark, which would shift every offset on the first line */
  constructor(text: string) {
    this.text = text;
    const starts = [0];
    for (let at = text.indexOf('\n'); at >= 0; at = text.indexOf('\n', at + 1)) starts.push(at + 1);
    this.#lineStarts = starts;
  }

  /** Line and column of an offset in UTF-16 code units; an offset past the end counts as the end. */
  positionOf(offset: number): TextPosition {
    const at = Math.max(0, Math.min(offset, this.text.length));
    let low = 0;
    let high = this.#lineStarts.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if ((this.#lineStarts[middle] ?? 0) <= at) low = middle;
      else high = middle - 1;
    }
    return { line: low + 1, column: at - (this.#lineStarts[low] ?? 0) + 1 };
  }
}
