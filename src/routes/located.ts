/**
 * A parsed value that remembers where it stood. YAML and JSON both arrive in this shape, so that one reader
 * validates both and can name the line of every fault. Aliases make it a directed graph, never a cycle:
 * whoever walks one without bounds of its own may visit a shared value many times.
 */
export type Located =
  | { readonly kind: 'scalar'; readonly value: string | number | boolean | null; readonly offset: number }
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

/** What came of parsing: a value only when there was no fault. */
export type LocatedResult =
  | { readonly ok: true; readonly root: Located }
  | { readonly ok: false; readonly faults: readonly SyntaxFault[] };

/** Mappings and lists nest at most this deep: no route set comes near it, and no recursion overflows on it. */
export const MAX_DEPTH = 64;

/** What a value is, in words for an error message. */
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
