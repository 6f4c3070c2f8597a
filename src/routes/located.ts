import { parse as parseJson, type ValueNode } from '@humanwhocodes/momoa';
import { type Document, isAlias, isMap, isScalar, isSeq, type Node, parseDocument } from 'yaml';
import { messageOf } from '../shared/errors.js';

/**
 * A parsed value that remembers where it stood. YAML and JSON both arrive in this shape, so that one reader
 * validates both and can name the line of every fault. Aliases make it a directed graph, never a cycle:
 * a walk without bounds of its own may visit a shared value many times.
 */
export type Located =
  | {
      readonly kind: 'scalar';
      readonly value: string | number | boolean | null;
      readonly offset: number;
      /** Text without quotes, behind which YAML sees a comment on the same line. */
      readonly beforeComment?: boolean;
    }
  | { readonly kind: 'list'; readonly items: readonly Located[]; readonly offset: number }
  | { readonly kind: 'map'; readonly entries: readonly LocatedEntry[]; readonly offset: number };

/** One `key: value` of a mapping. */
export interface LocatedEntry {
  readonly key: string;
  readonly keyOffset: number;
  readonly value: Located;
}

/** A fault of the text itself (not of what it says), at an offset in UTF-16 code units. */
export interface SyntaxFault {
  readonly offset: number;
  readonly message: string;
}

/** A fault or a remark before its offset is turned into line and column. */
export interface RouteFinding {
  readonly offset: number;
  /** `routes[3].utterances`; empty for the text as a whole. */
  readonly path: string;
  readonly message: string;
}

/** Result of parsing: a value only when there was no fault. */
export type LocatedResult =
  | { readonly ok: true; readonly root: Located }
  | { readonly ok: false; readonly faults: readonly SyntaxFault[] };

/** Mappings and lists nest at most this deep: no route set comes near it, and no recursion overflows on it. */
export const MAX_DEPTH = 64;

/** Describes the kind of a value, for an error message. */
export function describeKind(value: Located): string {
  if (value.kind !== 'scalar') return value.kind === 'list' ? 'a list' : 'a mapping';
  if (value.value === null) return 'nothing';
  if (typeof value.value === 'string') return 'text';
  return `the ${typeof value.value} ${String(value.value)}`;
}

/** The second and later occurrences of a key in one mapping. */
export function repeatedKeys(entries: readonly LocatedEntry[]): SyntaxFault[] {
  const seen = new Set<string>();
  const faults: SyntaxFault[] = [];
  for (const { key, keyOffset } of entries) {
    if (seen.has(key))
      faults.push({ offset: keyOffset, message: `the key ${JSON.stringify(key)} is repeated` });
    seen.add(key);
  }
  return faults;
}

/** A file uses at most this many aliases (`*name`). */
const MAX_ALIASES = 1000;
/** Faults of text that begins or goes on with a sign of YAML, such as `@here` or `[a] b`. */
const QUOTABLE: ReadonlySet<string> = new Set([
  'BAD_SCALAR_START',
  'UNEXPECTED_TOKEN',
  'BLOCK_AS_IMPLICIT_KEY',
  'MISSING_CHAR',
  'MULTILINE_IMPLICIT_KEY',
]);
const QUOTE_IT = '; if this is a text, quote it';
const TOO_DEEP = 'nested far too deeply';

const YAML_FAULTS: Readonly<Record<string, string>> = {
  BAD_INDENT: 'the indentation does not fit the lines above',
  TAB_AS_INDENT: 'a tab stands where spaces indent',
  MULTILINE_IMPLICIT_KEY: 'this is read as the name of a field, and goes over several lines',
  BLOCK_AS_IMPLICIT_KEY: 'the name of a field stands within the value of another one',
  BLOCK_IN_FLOW: 'a list of lines stands within brackets',
  BAD_SCALAR_START: 'a text cannot begin with this sign',
  UNEXPECTED_TOKEN: 'something stands here that does not belong',
  MISSING_CHAR: 'a sign is missing (a dash, quote, comma, colon or bracket), or the indentation is wrong',
  MULTIPLE_DOCS: 'a second document begins here; only one is read',
  BAD_DQ_ESCAPE: 'there is no such escape within double quotes',
  TAG_RESOLVE_FAILED: 'a tag of a type that is not known',
};

function yamlFault({ code, message }: { readonly code: string; readonly message: string }): string {
  if (code === 'RESOURCE_EXHAUSTION') return TOO_DEEP;
  return `not YAML: ${YAML_FAULTS[code] ?? message}${QUOTABLE.has(code) ? QUOTE_IT : ''}`;
}

/**
 * Parses YAML 1.2 (core schema: text, numbers, booleans, null), keeping where each value stood. Tags of
 * other types and merge keys are refused, so nothing but plain values can come out of a file. JSON is YAML,
 * so a JSON text is read as well, though less strictly than by `parseLocatedJson`.
 */
export function parseLocatedYaml(text: string): LocatedResult {
  let document: Document.Parsed;
  try {
    document = compose(text);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    return { ok: false, faults: [{ offset: 0, message: TOO_DEEP }] };
  }
  // Further faults are mostly consequences of the first.
  const [fault] = [...document.errors, ...document.warnings].sort((a, b) => a.pos[0] - b.pos[0]);
  if (fault) return { ok: false, faults: [{ offset: fault.pos[0], message: yamlFault(fault) }] };
  const converter = new Converter(text);
  const root = converter.convert(document.contents, 0, 0);
  return converter.faults.length === 0 ? { ok: true, root } : { ok: false, faults: converter.faults };
}

function compose(text: string): Document.Parsed {
  return parseDocument(text, {
    version: '1.2',
    schema: 'core',
    strict: true,
    stringKeys: true,
    merge: false,
    resolveKnownTags: false,
    // The library compares every key with every other one; a file of a million keys would stall the process.
    uniqueKeys: false,
    prettyErrors: false,
    // Not "silent": that would also swallow the fault of a second document in the file.
    logLevel: 'error',
  });
}

class Converter {
  readonly faults: SyntaxFault[] = [];
  readonly #anchors = new Map<string, Node>();
  /** Converted anchors: each alias shares its target, so that aliases of aliases cost nothing. */
  readonly #done = new Map<Node, Located>();
  readonly #open = new Set<Node>();
  #aliases = 0;
  readonly #text: string;

  constructor(text: string) {
    this.#text = text;
  }

  /** @param fallback the offset of a value that is not there, such as that of a key with nothing after it */
  convert(node: unknown, fallback: number, depth: number): Located {
    const offset = offsetOf(node) ?? fallback;
    if (depth > MAX_DEPTH) return this.#fault(offset, `nested deeper than ${MAX_DEPTH} levels`);
    if (isAlias(node)) return this.#alias(node.source, offset);
    if ((isScalar(node) || isMap(node) || isSeq(node)) && node.anchor) this.#anchors.set(node.anchor, node);
    if (isMap(node) || isSeq(node)) {
      this.#open.add(node);
      const value = isMap(node)
        ? this.#map(node.items, offset, depth)
        : {
            kind: 'list' as const,
            items: node.items.map((item) => this.convert(item, offset, depth + 1)),
            offset,
          };
      this.#open.delete(node);
      this.#done.set(node, value);
      return value;
    }
    const value = isScalar(node) ? node.value : node;
    if (value === null || value === undefined) return { kind: 'scalar', value: null, offset };
    if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean') {
      const beforeComment = isScalar(node) && node.type === 'PLAIN' && this.#isBeforeComment(node.range?.[1]);
      return { kind: 'scalar', value, offset, ...(beforeComment && { beforeComment }) };
    }
    return this.#fault(offset, 'only text, numbers, true, false and null can stand here');
  }

  #isBeforeComment(end: number | undefined): boolean {
    if (end === undefined) return false;
    let at = end;
    while (this.#text[at] === ' ' || this.#text[at] === '\t') at += 1;
    return this.#text[at] === '#';
  }

  #map(items: readonly { key: unknown; value: unknown }[], offset: number, depth: number): Located {
    const entries: LocatedEntry[] = [];
    for (const pair of items) {
      const keyOffset = offsetOf(pair.key) ?? offset;
      const key = isScalar(pair.key) ? pair.key.value : pair.key;
      if (typeof key !== 'string') {
        this.#fault(keyOffset, 'a key must be text');
        continue;
      }
      if (key === '<<') {
        this.#fault(keyOffset, 'merge keys ("<<") are not supported: write the fields out');
        continue;
      }
      entries.push({ key, keyOffset, value: this.convert(pair.value, keyOffset, depth + 1) });
    }
    // Not spread into one call: a mapping may repeat more keys than a call takes arguments.
    for (const fault of repeatedKeys(entries)) this.faults.push(fault);
    return { kind: 'map', entries, offset };
  }

  #alias(name: string, offset: number): Located {
    this.#aliases += 1;
    if (this.#aliases > MAX_ALIASES) {
      // Once is enough: a file with a million aliases needs no million messages.
      if (this.#aliases > MAX_ALIASES + 1) return { kind: 'scalar', value: null, offset };
      return this.#fault(offset, `more than ${MAX_ALIASES} aliases`);
    }
    const target = this.#anchors.get(name);
    if (!target) return this.#fault(offset, `the alias *${name} has no anchor before it`);
    if (this.#open.has(target)) return this.#fault(offset, `the alias *${name} contains itself`);
    return this.#done.get(target) ?? { ...this.convert(target, offset, 0), offset };
  }

  #fault(offset: number, message: string): Located {
    this.faults.push({ offset, message });
    return { kind: 'scalar', value: null, offset };
  }
}

function offsetOf(node: unknown): number | undefined {
  return isScalar(node) || isMap(node) || isSeq(node) || isAlias(node) ? node.range?.[0] : undefined;
}

/**
 * Parses strict JSON (RFC 8259), keeping where each value stood. `JSON.parse` cannot: its messages often
 * carry no position, and of repeated keys it silently keeps the last.
 */
export function parseLocatedJson(text: string): LocatedResult {
  const faults: SyntaxFault[] = [];
  const convert = (node: ValueNode, depth: number): Located => {
    const { offset } = node.loc.start;
    if (depth > MAX_DEPTH) throw new RangeError(TOO_DEEP);
    if (node.type === 'Array') {
      return { kind: 'list', items: node.elements.map(({ value }) => convert(value, depth + 1)), offset };
    }
    if (node.type === 'Object') {
      const entries = node.members.map(({ name, value }) => ({
        key: name.type === 'String' ? name.value : name.name,
        keyOffset: name.loc.start.offset,
        value: convert(value, depth + 1),
      }));
      // Not spread into one call: a mapping may repeat more keys than a call takes arguments.
      for (const fault of repeatedKeys(entries)) faults.push(fault);
      return { kind: 'map', entries, offset };
    }
    if (node.type === 'Null') return { kind: 'scalar', value: null, offset };
    if (node.type === 'NaN' || node.type === 'Infinity') throw new RangeError('not JSON');
    return { kind: 'scalar', value: node.value, offset };
  };
  try {
    const root = convert(parseJson(text, { mode: 'json' }).body, 0);
    // Refuses what the parser with positions lets pass, such as control characters in strings.
    JSON.parse(text);
    return faults.length === 0 ? { ok: true, root } : { ok: false, faults };
  } catch (error) {
    return { ok: false, faults: [...faults, jsonFault(text, error)] };
  }
}

function jsonFault(text: string, error: unknown): SyntaxFault {
  if (error instanceof RangeError) return { offset: 0, message: TOO_DEEP };
  const reason = messageOf(error);
  if (/end of input/i.test(reason))
    return { offset: text.length, message: 'not JSON: the text ends too early' };
  if (error instanceof Error && 'offset' in error) {
    const offset = Number(error.offset);
    return { offset, message: `not JSON: unexpected ${JSON.stringify(text[offset])}` };
  }
  const offset = Number(/position (\d+)/.exec(reason)?.[1] ?? 0);
  return { offset, message: `not JSON: ${reason}` };
}
