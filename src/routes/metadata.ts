import { describeKind, type Located, MAX_DEPTH, type RouteFinding } from './located.js';
import type { JsonObject, JsonValue } from './route-set.js';

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
