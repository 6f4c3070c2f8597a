import type { RouteSet } from '../routes/route-set.js';
import { type Finding, percent } from './finding.js';

/** Fewer utterances than this say too little; fewer than that could do with more. */
const TOO_FEW = 3;
const FEW = 5;
/** A route with so many times the median and so many utterances outweighs the others. */
const LOPSIDED = { times: 10, from: 50 } as const;
/** Leave-one-out accuracy below which a whole set is in trouble. */
const LOW_ACCURACY = 0.7;

/** Routes that are too small or too large, and sets that cannot work. */
export function findSizes(set: RouteSet, accuracy: number | null): Finding[] {
  const findings: Finding[] = [];
  const add = (finding: Omit<Finding, 'utterances'>): void =>
    void findings.push({ ...finding, utterances: [] });
  const sizes = set.routes.map(({ utterances }) => utterances.length).sort((a, b) => a - b);
  const median = sizes[Math.floor(sizes.length / 2)] ?? 1;
  for (const { name, utterances } of set.routes) {
    const size = utterances.length;
    if (size < FEW) {
      add({
        severity: size < TOO_FEW ? 'warning' : 'info',
        kind: 'too_small',
        routes: [name],
        message: `"${name}" has ${size === 1 ? 'a single utterance' : `only ${size} utterances`}`,
        advice: 'Five to ten of different wording make it much more certain; take some from real requests.',
      });
    }
    if (size >= LOPSIDED.from && size > LOPSIDED.times * median) {
      add({
        severity: 'info',
        kind: 'lopsided',
        routes: [name],
        message: `"${name}" has ${size} utterances, half of the routes have ${median} or fewer`,
        advice: 'Add utterances to the small routes; texts in between tend to go to the large one.',
      });
    }
  }
  if (set.routes.length === 1) {
    add({
      severity: 'warning',
      kind: 'single_route',
      routes: [set.routes[0]?.name ?? ''],
      message: 'there is only one route',
      advice: 'Everything that reaches the threshold goes there; a second route makes it a decision.',
    });
  } else if (accuracy !== null && accuracy < LOW_ACCURACY) {
    add({
      severity: 'warning',
      kind: 'hard_to_tell_apart',
      routes: [],
      message: `left out in turn, only ${percent(accuracy)} of the utterances find their way back`,
      advice: 'Look at the overlaps first, then at the routes with the lowest share below.',
    });
  }
  return findings;
}
