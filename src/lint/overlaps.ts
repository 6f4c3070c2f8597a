import type { Closeness } from './closeness.js';
import type { Compared } from './comparison.js';
import { type Finding, percent } from './finding.js';

/** From when two routes count as overlapping: which part of their utterances go to the other one, or how close they are. */
const OVERLAP = { share: 0.1, warnShare: 0.2, minCount: 2, closeness: 0.92, warnCloseness: 1 } as const;

/** Overlaps that are told, at most: of 2,000 routes that are all alike, every one overlaps with every other. */
const MAX_OVERLAPS = 2_000;

interface Overlap {
  readonly a: number;
  readonly b: number;
  /** Utterances of both that would go to the other one, and their part of all. */
  readonly count: number;
  readonly share: number;
  readonly near: number;
}

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
  const counts = new Map<number, number>();
  const pairOf = (a: number, b: number): number => Math.min(a, b) * names.length + Math.max(a, b);
  for (const { from, to, count } of confusions) {
    const pair = pairOf(indexOf.get(from) ?? 0, indexOf.get(to) ?? 0);
    counts.set(pair, (counts.get(pair) ?? 0) + count);
  }
  let overlaps: Overlap[] = [];
  const strongest = (): Overlap[] =>
    overlaps.sort((x, y) => y.share + y.near - x.share - x.near).slice(0, MAX_OVERLAPS);
  for (let a = 0; a < names.length; a += 1) {
    for (let b = a + 1; b < names.length; b += 1) {
      const count = counts.get(pairOf(a, b)) ?? 0;
      const all = (examined[a] ?? 0) + (examined[b] ?? 0);
      const share = count >= OVERLAP.minCount ? count / all : 0;
      const near = closeness.between(a, b);
      if (share < OVERLAP.share && near < OVERLAP.closeness) continue;
      overlaps.push({ a, b, count, share, near });
      if (overlaps.length > 8 * MAX_OVERLAPS) overlaps = strongest();
    }
  }
  return strongest().map((overlap) => findingOf(overlap, names, examined));
}

function findingOf(
  { a, b, count, share, near }: Overlap,
  names: readonly string[],
  examined: readonly number[],
): Finding {
  const all = (examined[a] ?? 0) + (examined[b] ?? 0);
  const serious = share >= OVERLAP.warnShare || near >= OVERLAP.warnCloseness;
  const confused = count === 0 ? 'none of their utterances' : `${count} of their ${all} utterances`;
  return {
    severity: serious ? 'warning' : 'info',
    kind: 'overlap',
    routes: [names[a] ?? '', names[b] ?? ''],
    utterances: [],
    similarity: Math.min(1, near),
    message: `"${names[a]}" and "${names[b]}" overlap: ${confused} would go to the other one; two texts of both are ${percent(near)} as alike as two texts of one`,
    advice:
      'Give each utterances that say what sets it apart from the other; if even people cannot tell them apart, merge them.',
  };
}
