import { type Document, isAlias, isMap, isScalar, isSeq, type Node, parseDocument } from 'yaml';
import {
  type Located,
  type LocatedEntry,
  type LocatedResult,
  MAX_DEPTH,
  repeatedKeys,
  type SyntaxFault,
} from './located.js';

/** A file uses at most this many aliases (`*name`). */
const MAX_ALIASES = 1000;
const TOO_DEEP = 'nested far too deeply';

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
  const faults: SyntaxFault[] = [...document.errors, ...document.warnings].map(({ code, pos, message }) => ({
    offset: pos[0],
    message: code === 'RESOURCE_EXHAUSTION' ? TOO_DEEP : `not YAML: ${message}`,
  }));
  if (faults.length > 0) return { ok: false, faults };
  const converter = new Converter();
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
      return { kind: 'scalar', value, offset };
    }
    return this.#fault(offset, 'only text, numbers, true, false and null can stand here');
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
