import { distance } from 'fastest-levenshtein';

/** Names are compared by so many characters at most, so that thousands of long ones cost milliseconds. */
const MAX_CHARS = 64;

/**
 * Returns the names that are near to `word`, the nearest first: those within about a third of its letters by
 * Levenshtein distance, upper and lower case being equal.
 * @param limit maximum number of names
 */
export function closestNames(word: string, names: Iterable<string>, limit = 3): string[] {
  const wanted = word.slice(0, MAX_CHARS).toLowerCase();
  const found: { name: string; away: number }[] = [];
  for (const name of names) {
    const other = name.slice(0, MAX_CHARS).toLowerCase();
    const bound = Math.max(2, Math.floor(Math.max(wanted.length, other.length) / 3));
    // The length alone rules most names out.
    if (Math.abs(other.length - wanted.length) > bound) continue;
    const away = distance(wanted, other);
    if (away <= bound && away < wanted.length) found.push({ name, away });
  }
  found.sort((a, b) => a.away - b.away || compareText(a.name, b.name));
  return found.slice(0, limit).map(({ name }) => name);
}

/** `; did you mean "x" or "y"?`, or nothing where no name is near. */
export function didYouMean(word: string, names: Iterable<string>): string {
  const near = closestNames(word, names);
  return near.length === 0 ? '' : `; did you mean ${near.map((name) => `"${name}"`).join(' or ')}?`;
}

/** Orders text by UTF-16 code units: the same everywhere, whatever the machine's language. */
export function compareText(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}
