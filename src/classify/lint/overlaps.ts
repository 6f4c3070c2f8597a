import type { Closeness } from './closeness.js';
import type { Compared } from './comparison.js';
import { type Finding, percent } from './finding.js';

/** From when two routes count as overlapping: which part of their utterances go to the other one, or how close they are. */
const OVERLAP = { share: 0.1, warnShare: 0.2, minCount: 2, closeness: 0.92, warnCloseness: 1 } as const;

/** How many utterances of one route another one would take. */
export interface Confusion {
  readonly from: string;
  readonly to: string;
  readonly count: number;
}

/** Counts of leave-one-out confusions, the most frequent first; what goes right is not among them. */
export function confusionsOf(names: readonly string[], compared: readonly Compared[]): Confusion[] {
  const counts = new Map<number, number>();
  for (const { route, taken, own } of compared) {
    if (taken === route || own.row < 0) continue;
    const key = route * names.length + taken;
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  return [...counts]
    .map(([key, count]) => ({
      from: names[Math.floor(key / names.length)] ?? '',
      to: names[key % names.length] ?? '',
      count,
    }))
    .sort((a, b) => b.count - a.count);
}

/** Pairs of routes that take each other's utterances, or whose utterances are as near to the other's as to their own. */
export function findOverlaps(
  names: readonly string[],
  examined: readonly number[],
  confusions: readonly Confusion[],
  closeness: Closeness,
): Finding[] {
  const indexOf = new Map(names.map((name, index) => [name, index]));
  const counts = new Map<string, number>();
  const pairOf = (a: number, b: number): string => (a < b ? `${a} ${b}` : `${b} ${a}`);
  for (const { from, to, count } of confusions) {
    const pair = pairOf(indexOf.get(from) ?? 0, indexOf.get(to) ?? 0);
    counts.set(pair, (counts.get(pair) ?? 0) + count);
  }
  const findings: { finding: Finding; weight: number }[] = [];
  for (let a = 0; a < names.length; a += 1) {
    for (let b = a + 1; b < names.length; b += 1) {
      const count = counts.get(pairOf(a, b)) ?? 0;
      const all = (examined[a] ?? 0) + (examined[b] ?? 0);
      const share = count >= OVERLAP.minCount ? count / all : 0;
      const near = closeness.between(a, b);
      if (share < OVERLAP.share && near < OVERLAP.closeness) continue;
      const serious = share >= OVERLAP.warnShare || near >= OVERLAP.warnCloseness;
      const confused = count === 0 ? 'none of their utterances' : `${count} of their ${all} utterances`;
      const finding: Finding = {
        severity: serious ? 'warning' : 'info',
        kind: 'overlap',
        routes: [names[a] ?? '', names[b] ?? ''],
        utterances: [],
        similarity: Math.min(1, near),
        message: `"${names[a]}" and "${names[b]}" overlap: ${confused} would go to the other one; two texts of both are ${percent(near)} as alike as two texts of one`,
        advice:
          'Give each utterances that say what sets it apart from the other; if even people cannot tell them apart, merge them.',
      };
      findings.push({ finding, weight: share + near });
    }
  }
  return findings.sort((x, y) => y.weight - x.weight).map(({ finding }) => finding);
}
