/**
 * The names that somebody who wrote `word` may have meant, the nearest first: those within about a third of
 * its letters by optimal string alignment distance (insert, delete, replace, swap two neighbours), upper and
 * lower case being equal.
 * @param limit how many at most
 */
export function closestNames(word: string, names: Iterable<string>, limit = 3): string[] {
  const wanted = word.toLowerCase();
  const found: { name: string; distance: number }[] = [];
  let comparisons = 0;
  for (const name of names) {
    const bound = Math.max(1, Math.floor(Math.max(wanted.length, name.length) / 3));
    // The length alone rules most names out, and saves the quadratic comparison.
    if (Math.abs(name.length - wanted.length) > bound) continue;
    comparisons += wanted.length * name.length;
    if (comparisons > MAX_COMPARISONS) break;
    const distance = alignmentDistance(wanted, name.toLowerCase());
    if (distance <= bound) found.push({ name, distance });
  }
  found.sort((a, b) => a.distance - b.distance || compareText(a.name, b.name));
  return found.slice(0, limit).map(({ name }) => name);
}

/** Letters compared with letters before the other names are left out: 3 ms of the thread. */
const MAX_COMPARISONS = 300_000;

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

function alignmentDistance(a: string, b: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let row = 1; row <= a.length; row += 1) {
    const current = [row];
    for (let column = 1; column <= b.length; column += 1) {
      const same = a[row - 1] === b[column - 1] ? 0 : 1;
      let best = Math.min(
        (last[column] ?? 0) + 1,
        (current[column - 1] ?? 0) + 1,
        (last[column - 1] ?? 0) + same,
      );
      if (row > 1 && column > 1 && a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1]) {
        best = Math.min(best, (beforeLast[column - 2] ?? 0) + 1);
      }
      current.push(best);
    }
    beforeLast = last;
    last = current;
  }
  return last[b.length] ?? 0;
}
