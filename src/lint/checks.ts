import type { Finding } from '../api/lint.js';
import type { RouteSet } from '../routes/set.js';
import type { Slices } from '../shared/concurrent.js';
import { type Closeness, COMPARISON_DEFAULTS, type Compared, type Comparison } from './comparison.js';

/** An utterance and the route that it stands in. */
export interface Place {
  readonly route: string;
  readonly utterance: string;
}

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
      advice:
        'Look at routes that overlap first; then give those with the lowest share more utterances of different wording.',
    });
  }
  return findings;
}

/** Texts that are the same but for case, punctuation and spaces, and texts that are nearly the same to the model. */
export function findDuplicates(set: RouteSet, places: readonly Place[], comparison: Comparison): Finding[] {
  const findings: Finding[] = [];
  for (const group of groupsOf(set)) {
    const routes = [...new Set(group.map(({ route }) => route))];
    const [first] = group;
    if (!first) continue;
    const across = routes.length > 1;
    findings.push({
      severity: across ? 'error' : 'info',
      kind: across ? 'duplicate_across' : 'duplicate_within',
      routes,
      utterances: group,
      similarity: 1,
      message: across
        ? `${quoted(first.utterance)} stands in ${routes.map((route) => `"${route}"`).join(' and ')}`
        : `${quoted(first.utterance)} stands ${group.length} times in "${routes[0]}", but for case, punctuation or spaces`,
      advice: across
        ? 'Keep it where it belongs and delete it elsewhere: as it is, the set contradicts itself.'
        : 'Keep one of them; another wording would teach more.',
    });
  }
  for (const { a, b, similarity } of comparison.pairs) {
    const one = places[a];
    const two = places[b];
    if (!one || !two || plain(one.utterance) === plain(two.utterance)) continue;
    const across = one.route !== two.route;
    findings.push({
      severity: across ? 'warning' : 'info',
      kind: across ? 'near_duplicate_across' : 'near_duplicate_within',
      routes: across ? [one.route, two.route] : [one.route],
      utterances: [one, two],
      similarity,
      message: across
        ? `${quoted(one.utterance)} in "${one.route}" and ${quoted(two.utterance)} in "${two.route}" are nearly the same to the model (cosine ${similarity.toFixed(2)})`
        : `${quoted(one.utterance)} and ${quoted(two.utterance)} in "${one.route}" are nearly the same to the model (cosine ${similarity.toFixed(2)})`,
      advice: across
        ? 'Move one of them, or reword both so that each says what sets its route apart.'
        : 'Replace one with something that people say in other words.',
    });
  }
  return findings;
}

/** Texts of `none` that are the same as an utterance but for case, punctuation and spaces, or nearly so to the model. */
export function findCollisions(
  none: readonly string[],
  places: readonly Place[],
  comparison: Comparison,
): Finding[] {
  const owners = new Map(none.length === 0 ? [] : places.map((place) => [plain(place.utterance), place]));
  return none.flatMap((text, index): Finding[] => {
    const same = owners.get(plain(text));
    const nearest = comparison.none[index];
    const place = same ?? places[nearest?.row ?? -1];
    const similarity = same ? 1 : (nearest?.similarity ?? -1);
    if (!place || similarity < COMPARISON_DEFAULTS.nearDuplicate) return [];
    return [
      {
        severity: same ? 'error' : 'warning',
        kind: 'none_collision',
        routes: [place.route],
        utterances: [place],
        similarity,
        message: same
          ? `${quoted(text)} stands under "none" and in "${place.route}"`
          : `${quoted(text)} under "none" and ${quoted(place.utterance)} in "${place.route}" are nearly the same to the model (cosine ${similarity.toFixed(2)})`,
        advice: 'Keep it in one of the two places; a text cannot belong to a route and to none.',
      },
    ];
  });
}

/** Utterances that are equal once case, punctuation and spaces are gone, two or more at a time. */
function groupsOf(set: RouteSet): Place[][] {
  const groups = new Map<string, Place[]>();
  for (const { name, utterances } of set.routes) {
    for (const utterance of utterances) {
      const key = plain(utterance);
      const group = groups.get(key);
      if (group) group.push({ route: name, utterance });
      else groups.set(key, [{ route: name, utterance }]);
    }
  }
  return [...groups.values()].filter((group) => group.length > 1);
}

function plain(text: string): string {
  const letters = text
    .normalize('NFKC')
    .toLowerCase()
    .replace(/[^\p{L}\p{M}\p{N}]+/gu, ' ')
    .trim();
  // Texts of signs alone ("?", "😀") are distinguished by them.
  return letters === '' ? text : letters;
}

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

/**
 * Pairs of routes that take each other's utterances, or whose utterances are as near to the other's as to their own.
 * @throws AppError `aborted`
 */
export async function findOverlaps(
  names: readonly string[],
  examined: readonly number[],
  confusions: readonly Confusion[],
  closeness: Closeness,
  slices: Slices,
): Promise<Finding[]> {
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
      // Of so few nothing can be told but that they are few.
      if (Math.min(examined[a] ?? 0, examined[b] ?? 0) < TOO_FEW) continue;
      const count = counts.get(pairOf(a, b)) ?? 0;
      const all = (examined[a] ?? 0) + (examined[b] ?? 0);
      const share = count >= OVERLAP.minCount ? count / all : 0;
      const near = closeness.between(a, b);
      if (share < OVERLAP.share && near < OVERLAP.closeness) continue;
      overlaps.push({ a, b, count, share, near });
      if (overlaps.length > 8 * MAX_OVERLAPS) overlaps = strongest();
    }
    if (slices.over) await slices.giveWay();
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
  const reasons = [
    share >= OVERLAP.share && `${count} of their ${all} utterances read like the other’s`,
    near >= OVERLAP.closeness &&
      (near >= 1
        ? 'texts of both are as alike as texts of one'
        : `texts of both are nearly as alike (${percent(near)}) as texts of one`),
  ];
  return {
    severity: serious ? 'warning' : 'info',
    kind: 'overlap',
    routes: [names[a] ?? '', names[b] ?? ''],
    utterances: [],
    similarity: Math.min(1, near),
    message: `"${names[a]}" and "${names[b]}" overlap: ${reasons.filter(Boolean).join(', and ')}`,
    advice:
      'Give each utterances that say what sets it apart from the other; if even people cannot tell them apart, merge them.',
  };
}

/**
 * From where another route counts as nearer, in cosine: it leads by its nearest utterances and by its mean, and the two
 * texts are alike enough for people to see it. An utterance is suspected to stand in the wrong route if both leads
 * together are overwhelming, or if they are clear, the nearest texts agree and no third route is as near. Chosen with
 * utterances that were put into wrong routes; `npm run bench:lint` says how many warnings a person would follow.
 */
const ELSEWHERE = { lead: 0.05, similarity: 0.35 } as const;
const MISPLACED = { overwhelming: 0.65, clear: 0.3, clearance: 0.06 } as const;

function isMisplaced({ lead, meanLead, clearance, unanimous }: Compared): boolean {
  const both = lead + meanLead;
  if (both >= MISPLACED.overwhelming) return true;
  return both >= MISPLACED.clear && unanimous && clearance >= MISPLACED.clearance;
}

/** An outlier is this many standard deviations less like its route than the others are… */
const OUTLIER_DEVIATIONS = 2.5;
/** …and less like it than this cosine, and stands in a route with so many others. */
const OUTLIER_BELOW = 0.5;
const OUTLIER_MIN_SIZE = 5;

/**
 * Utterances that another route would take, and those that are unlike anything else in their route. What another finding
 * says already is left out, or no warning: two texts that are nearly the same, and two routes that are one.
 * @param examined utterances of each route
 * @param overlaps what {@link findOverlaps} found
 */
export function findStrays(
  names: readonly string[],
  places: readonly Place[],
  compared: readonly Compared[],
  examined: readonly number[],
  overlaps: readonly Finding[],
): Finding[] {
  const findings: Finding[] = [];
  const limits = outlierLimits(names.length, compared);
  const alike = new Set(
    overlaps.filter(({ severity }) => severity === 'warning').map(({ routes }) => pairKey(routes)),
  );
  for (const each of compared) {
    const { row, route, taken, lead, meanLead, own, other } = each;
    const place = places[row];
    const away = places[other.row];
    const home = names[route] ?? '';
    const goal = names[taken] ?? '';
    if (!place || own.row < 0) continue;
    const isElsewhere = lead >= ELSEWHERE.lead && meanLead > 0 && other.similarity > own.similarity;
    if (away && isElsewhere && other.similarity >= ELSEWHERE.similarity) {
      if (other.similarity >= COMPARISON_DEFAULTS.nearDuplicate) continue;
      const isSevere = isMisplaced(each) && (examined[taken] ?? 0) >= TOO_FEW;
      // In small routes, one text in the wrong place makes the overlap: it is named, the overlap warns.
      const isTold = alike.has(pairKey([home, goal]));
      if (isTold && !isSevere) continue;
      const told = `${quoted(place.utterance)} stands in "${home}" (nearest there: ${own.similarity.toFixed(2)}) but is nearer to ${quoted(away.utterance)} in "${goal}" (${other.similarity.toFixed(2)})`;
      findings.push({
        severity: isSevere && !isTold ? 'warning' : 'info',
        kind: 'nearer_elsewhere',
        routes: [home, goal],
        utterances: [place, away],
        similarity: other.similarity,
        message: isSevere ? told : `${told}; without it, such a text goes to "${goal}"`,
        advice: isSevere
          ? `If it belongs to "${goal}", move it; if not, add utterances like it to "${home}".`
          : `Add utterances like it to "${home}", so that it does not stand alone.`,
      });
    } else if (own.similarity < (limits[route] ?? -1)) {
      findings.push({
        severity: 'info',
        kind: 'outlier',
        routes: [home],
        utterances: [place],
        similarity: own.similarity,
        message: `${quoted(place.utterance)} is unlike everything else in "${home}" (nearest: ${own.similarity.toFixed(2)})`,
        advice: 'If people say such things, add some more like it; if it got there by mistake, delete it.',
      });
    }
  }
  return findings;
}

function pairKey(routes: readonly string[]): string {
  return JSON.stringify([...routes].sort());
}

/** Below which similarity to the nearest neighbour an utterance of each route is an outlier. */
function outlierLimits(routes: number, compared: readonly Compared[]): number[] {
  const similarities = Array.from({ length: routes }, (): number[] => []);
  for (const { route, own } of compared) if (own.row >= 0) similarities[route]?.push(own.similarity);
  return similarities.map((values) => {
    if (values.length < OUTLIER_MIN_SIZE) return -1;
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length;
    return Math.min(OUTLIER_BELOW, mean - OUTLIER_DEVIATIONS * Math.sqrt(variance));
  });
}

/** A text in quotes, short enough for a line. */
function quoted(text: string): string {
  return `"${text.length <= 70 ? text : `${text.slice(0, 69)}…`}"`;
}

/** A share of 1 as people read it. */
function percent(share: number): string {
  return `${Math.round(share * 100)} %`;
}
