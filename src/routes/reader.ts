import { ROUTE_LIMITS } from '../api/limits.js';
import { SCORING_METHODS, type ScoringMethod } from '../config/parsers.js';
import { didYouMean } from '../shared/closest.js';
import { describeKind, type Located, type LocatedEntry, MAX_DEPTH, type RouteFinding } from './located.js';
import type { JsonObject, JsonValue, Route } from './set.js';

const SET_FIELDS = ['routes', 'method', 'none'];
/** Owner of the texts under `none`; no route has an empty name. */
const NO_OWNER = '';
const ROUTE_FIELDS = ['name', 'description', 'utterances', 'score_threshold', 'metadata'];
/** Written by semantic-router: which encoder its own thresholds were meant for, and where it keeps vectors. */
const FOREIGN_SET_FIELDS = new Set([
  'encoder_type',
  'encoder_name',
  'encoder',
  'router_type',
  'index',
  // Version 1.
  'sparse_encoder',
  'alpha',
  'top_k',
  'aggregation',
  'calibrator',
  'refresh_interval',
  'model',
  'instructions',
  'routers',
  'weights',
]);
/** Files of its version 1 that hold no utterances, by their `router_type`. */
const FOREIGN_TYPES: Readonly<Record<string, string>> = {
  indexed: 'a semantic-router file whose routes are in its index, and not here',
  decision:
    'a decision router of semantic-router, whose routes have descriptions and no utterances: add some',
  chain: 'a chain of semantic-router: save its indexed router alone',
  merge: 'a merge of semantic-router: save its indexed router alone',
};
/** Written by `GET /routes`, whose answer is a routes file, too. */
const SERVED_SET_FIELDS = new Set(['digest', 'source', 'problem', 'utterances', 'default_threshold']);
/** semantic-router's function calling, which has no counterpart here. */
const FOREIGN_ROUTE_FIELDS = new Set([
  'function_schema',
  'function_schemas',
  'openai_function_schema',
  'llm',
]);
/** The name of `score_threshold` in version 1 of semantic-router, of a route and of all of them. */
const FOREIGN_THRESHOLD = 'confidence_threshold';

/** Keys for people and editors. */
function isNote(key: string): boolean {
  return key === '$schema' || key === '_comment' || key.startsWith('x-');
}

/** A field that no version up to this one has; `path` is that of the set or route in which it stands. */
export interface UnknownField extends RouteFinding {
  readonly key: string;
}

/**
 * Reads routes from a located value, collecting every fault instead of stopping at the first. The
 * routes count only when `faults` is empty, and, unless unknown fields are tolerated, `unknown` as well.
 */
export class RouteReader {
  readonly faults: RouteFinding[] = [];
  readonly warnings: RouteFinding[] = [];
  readonly unknown: UnknownField[] = [];
  /** The digest that the text states of its set. */
  digest: string | undefined;
  /** How the set wants to be scored. */
  method: ScoringMethod | undefined;
  /** Texts that belong to no route. */
  none: readonly string[] = [];
  /** Which route said an utterance first. */
  readonly #owners = new Map<string, string>();
  /** Names that are taken. */
  readonly #names = new Set<string>();
  #utterances = 0;
  #foreignEncoder: string | undefined;
  #warnedOfScale = false;
  #foreignType: string | undefined;
  #defaultThreshold: number | undefined;

  read(root: Located): Route[] {
    const list = root.kind === 'map' ? this.#routesField(root.entries, root.offset) : root;
    const routes = list === undefined ? [] : this.#routeList(root, list);
    for (const { key, value } of root.kind === 'map' ? root.entries : []) {
      if (key === 'method') this.#method(value);
      if (key === 'digest' && value.kind === 'scalar') this.digest = String(value.value);
      // After the routes, so that a text of both is reported here.
      if (key === 'none') this.#none(value);
    }
    return routes;
  }

  #routeList(root: Located, list: Located): Route[] {
    if (list.kind !== 'list') {
      const wanted = root === list ? 'a mapping with "routes"' : 'a list of routes';
      this.#fault(list, root === list ? '' : 'routes', `must be ${wanted}, not ${describeKind(list)}`);
      return [];
    }
    if (list.items.length === 0) this.#fault(list, 'routes', 'must hold at least one route');
    if (list.items.length > ROUTE_LIMITS.routes) {
      this.#fault(
        list,
        'routes',
        `has ${list.items.length} routes; at most ${ROUTE_LIMITS.routes} are allowed`,
      );
      return [];
    }
    return list.items.flatMap((item, index) => this.#route(item, `routes[${index}]`) ?? []);
  }

  #routesField(entries: readonly LocatedEntry[], offset: number): Located | undefined {
    let routes: Located | undefined;
    for (const { key, keyOffset, value } of entries) {
      if (key === 'routes') routes = value;
      else if (isNote(key)) continue;
      else if (key === FOREIGN_THRESHOLD) this.#defaultThreshold = this.#threshold(value, key);
      else if (key === 'method' || key === 'none' || SERVED_SET_FIELDS.has(key)) continue;
      else if (FOREIGN_SET_FIELDS.has(key)) this.#foreign(key, value);
      else this.#unknown(keyOffset, '', key, SET_FIELDS);
    }
    if (routes === undefined) {
      const type = this.#foreignType === undefined ? '' : `; this is ${this.#foreignType}`;
      this.faults.push({ offset, path: 'routes', message: `is missing${type}` });
    }
    return routes;
  }

  #method(value: Located): void {
    if (isNull(value)) return;
    const named = value.kind === 'scalar' ? value.value : undefined;
    this.method = SCORING_METHODS.find((method) => method === named);
    const known = SCORING_METHODS.join(', ');
    if (this.method === undefined) {
      const found = typeof named === 'string' ? `"${clip(named)}"` : describeKind(value);
      this.#fault(value, 'method', `must be one of ${known}, not ${found}`);
    }
  }

  #none(value: Located): void {
    if (isNull(value) || (value.kind === 'list' && value.items.length === 0)) return;
    this.none = this.#utteranceList(value, 'none', NO_OWNER) ?? [];
  }

  #foreign(key: string, value: Located): void {
    if (key === 'router_type' && value.kind === 'scalar')
      this.#foreignType = FOREIGN_TYPES[String(value.value)];
    if (!key.startsWith('encoder')) return;
    const named = value.kind === 'scalar' && typeof value.value === 'string' ? value.value : undefined;
    this.#foreignEncoder = named ?? this.#foreignEncoder ?? 'another encoder';
  }

  #route(item: Located, path: string): Route | undefined {
    if (item.kind !== 'map') {
      this.#fault(item, path, `must be a mapping with "name" and "utterances", not ${describeKind(item)}`);
      return undefined;
    }
    const fields = new Map<string, Located>();
    for (const { key, keyOffset, value } of item.entries) {
      if (isNote(key)) continue;
      if (ROUTE_FIELDS.includes(key) || key === FOREIGN_THRESHOLD) fields.set(key, value);
      else if (!FOREIGN_ROUTE_FIELDS.has(key)) this.#unknown(keyOffset, path, key, ROUTE_FIELDS);
      else if (!isNull(value)) this.#ignored(keyOffset, `${path}.${key}`);
    }
    const nameField = fields.get('name');
    const name = nameField ? this.#name(nameField, `${path}.name`) : this.#missing(item, `${path}.name`);
    const list = fields.get('utterances');
    const utterances = list
      ? this.#utteranceList(list, `${path}.utterances`, name ?? path)
      : this.#missing(item, `${path}.utterances`);
    const foreign = this.#threshold(fields.get(FOREIGN_THRESHOLD), `${path}.${FOREIGN_THRESHOLD}`);
    const own = this.#threshold(fields.get('score_threshold'), `${path}.score_threshold`);
    const scoreThreshold = own ?? foreign ?? this.#defaultThreshold;
    const description = this.#description(fields.get('description'), `${path}.description`);
    const metadata = this.#metadata(fields.get('metadata'), `${path}.metadata`);
    if (name === undefined || utterances === undefined) return undefined;
    return { name, description, utterances, scoreThreshold, metadata };
  }

  #name(value: Located, path: string): string | undefined {
    const name = this.#text(value, path, ROUTE_LIMITS.nameChars);
    if (name === undefined) return undefined;
    if (/\p{Cc}/u.test(name)) {
      this.#fault(value, path, 'must not contain line breaks or other control characters');
      return undefined;
    }
    if (this.#names.has(name)) this.#fault(value, path, `"${name}" is already the name of another route`);
    this.#names.add(name);
    return name;
  }

  #utteranceList(value: Located, path: string, owner: string): string[] | undefined {
    if (value.kind !== 'list') {
      this.#fault(value, path, `must be a list of texts, not ${describeKind(value)}`);
      return undefined;
    }
    if (value.items.length === 0) {
      const type = this.#foreignType === undefined ? '' : `; this is ${this.#foreignType}`;
      this.#fault(value, path, `must hold at least one utterance${type}`);
      return undefined;
    }
    const before = this.#utterances;
    this.#utterances += value.items.length;
    if (this.#utterances > ROUTE_LIMITS.utterances) {
      // Said once, by the route that crosses the line; reading on would only cost time.
      if (before <= ROUTE_LIMITS.utterances) {
        this.#fault(value, path, `more than ${ROUTE_LIMITS.utterances} utterances in all routes together`);
      }
      return undefined;
    }
    const texts = new Set<string>();
    for (const [index, item] of value.items.entries()) {
      const at = `${path}[${index}]`;
      const text = this.#text(item, at, ROUTE_LIMITS.utteranceChars);
      if (text === undefined) continue;
      if (item.kind === 'scalar' && item.beforeComment) {
        this.#warn(
          item,
          at,
          `"${clip(text)}" ends at " #", where YAML begins a comment; quote it if more belongs to it`,
        );
      }
      if (texts.has(text)) {
        const where = owner === NO_OWNER ? 'under "none"' : 'in this route';
        this.#warn(item, at, `"${clip(text)}" stands twice ${where}; the second is dropped`);
        continue;
      }
      texts.add(text);
      const other = this.#owners.get(text);
      if (other === undefined) this.#owners.set(text, owner);
      else if (other !== owner) this.#warn(item, at, `"${clip(text)}" is also an utterance of "${other}"`);
    }
    return [...texts];
  }

  #threshold(value: Located | undefined, path: string): number | undefined {
    if (value === undefined || isNull(value)) return undefined;
    if (
      value.kind !== 'scalar' ||
      typeof value.value !== 'number' ||
      !(value.value >= 0 && value.value <= 1)
    ) {
      this.#fault(value, path, `must be a number from 0 to 1, not ${describeKind(value)}`);
      return undefined;
    }
    if (this.#foreignEncoder !== undefined && !this.#warnedOfScale) {
      this.#warnedOfScale = true;
      const encoder = clip(this.#foreignEncoder);
      this.#warn(value, path, `was chosen for similarities of ${encoder}; here it is compared with "score"`);
    }
    return value.value;
  }

  #description(value: Located | undefined, path: string): string | undefined {
    if (value === undefined || isNull(value)) return undefined;
    // An empty description says as much as none, and semantic-router writes some.
    if (value.kind === 'scalar' && value.value === '') return undefined;
    return this.#text(value, path, ROUTE_LIMITS.descriptionChars);
  }

  #metadata(value: Located | undefined, path: string): JsonObject | undefined {
    if (value === undefined || isNull(value)) return undefined;
    const result = readMetadata(value, path, ROUTE_LIMITS.metadataChars);
    if (!result.ok) {
      this.faults.push(result.fault);
      return undefined;
    }
    return Object.keys(result.metadata).length === 0 ? undefined : result.metadata;
  }

  #text(value: Located, path: string, limit: number): string | undefined {
    if (value.kind !== 'scalar' || typeof value.value !== 'string') {
      const advice = value.kind !== 'scalar' || value.value !== null ? '; if it is a text, quote it' : '';
      this.#fault(value, path, `must be text, not ${describeKind(value)}${advice}`);
      return undefined;
    }
    const text = value.value.trim();
    if (text === '') this.#fault(value, path, 'must not be empty');
    else if (text.length > limit)
      this.#fault(value, path, `has ${text.length} characters; at most ${limit} are allowed`);
    else if (/\p{Surrogate}/u.test(text))
      this.#fault(value, path, 'holds half of a surrogate pair, which is no character');
    else return text;
    return undefined;
  }

  #missing(item: Located, path: string): undefined {
    this.#fault(item, path, 'is missing');
  }

  #unknown(offset: number, path: string, key: string, known: readonly string[]): void {
    const shown = clip(key);
    const hint = didYouMean(key.slice(0, 64), known) || `; known are ${known.join(', ')}`;
    const message = `unknown field "${shown}"${hint}`;
    this.unknown.push({ offset, path, message, key: shown });
  }

  #ignored(offset: number, path: string): void {
    this.warnings.push({ offset, path, message: 'belongs to semantic-router and is ignored' });
  }

  #fault(value: Located, path: string, message: string): void {
    this.faults.push({ offset: value.offset, path, message });
  }

  #warn(value: Located, path: string, message: string): void {
    this.warnings.push({ offset: value.offset, path, message });
  }
}

function isNull(value: Located): boolean {
  return value.kind === 'scalar' && value.value === null;
}

function clip(text: string): string {
  return text.length <= 60 ? text : `${text.slice(0, 59)}…`;
}

/** A route's metadata, or the first thing that is wrong with it. */
export type MetadataResult =
  | { readonly ok: true; readonly metadata: JsonObject }
  | { readonly ok: false; readonly fault: RouteFinding };

class MetadataFault extends Error {
  readonly finding: RouteFinding;

  constructor(finding: RouteFinding) {
    super(finding.message);
    this.finding = finding;
  }
}

/**
 * Copies a mapping into plain JSON values whose objects have no prototype.
 * @param limit how many characters it may have as JSON
 */
export function readMetadata(value: Located, path: string, limit: number): MetadataResult {
  const { offset } = value;
  if (value.kind !== 'map') {
    return { ok: false, fault: { offset, path, message: `must be a mapping, not ${describeKind(value)}` } };
  }
  // Aliases let a few lines stand for billions of values. Each value takes a character or more as JSON, so
  // a budget of `limit` visits ends such a bomb and never touches metadata that is short enough.
  const budget = { left: limit };
  const tooLong = `has more than ${limit} characters as JSON`;

  const copy = (node: Located, at: string, depth: number): JsonValue => {
    budget.left -= 1;
    if (budget.left < 0) throw new MetadataFault({ offset, path, message: tooLong });
    if (depth > MAX_DEPTH)
      throw new MetadataFault({ offset, path, message: `nested deeper than ${MAX_DEPTH} levels` });
    if (node.kind === 'scalar') {
      if (typeof node.value === 'number' && !Number.isFinite(node.value)) {
        throw new MetadataFault({ offset: node.offset, path: at, message: 'must be a finite number' });
      }
      return node.value;
    }
    if (node.kind === 'list')
      return node.items.map((item, index) => copy(item, `${at}[${index}]`, depth + 1));
    return copyMap(node, at, depth);
  };

  const copyMap = (node: Located & { kind: 'map' }, at: string, depth: number): JsonObject => {
    const object: Record<string, JsonValue> = Object.create(null);
    for (const entry of node.entries) object[entry.key] = copy(entry.value, `${at}.${entry.key}`, depth + 1);
    return object;
  };

  try {
    const metadata = copyMap(value, path, 0);
    if (JSON.stringify(metadata).length > limit)
      return { ok: false, fault: { offset, path, message: tooLong } };
    return { ok: true, metadata };
  } catch (error) {
    if (error instanceof MetadataFault) return { ok: false, fault: error.finding };
    throw error;
  }
}
