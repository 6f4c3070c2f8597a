import { flipProbability, isRight, shareOf } from './evaluation.js';
import type { Judged } from './judge.js';

/** Flips of each kind that are listed. */
const LISTED = 1_000;

/** A text that is decided differently by two sets. */
export interface Flip {
  readonly text: string;
  readonly line: number;
  readonly expected: string | null;
  readonly before: string | null;
  /** Decision of the new set. */
  readonly after: string | null;
}

/** How a route fares with the old and the new set. */
export interface RouteChangeScore {
  readonly route: string | null;
  readonly texts: number;
  readonly before: number;
  readonly after: number;
}

/** Two sets on the same texts; serialized as it is. */
export interface SetComparison {
  readonly before: string;
  readonly after: string;
  readonly accuracy_before: number | null;
  readonly accuracy_after: number | null;
  readonly both_right: number;
  readonly both_wrong: number;
  /** Wrong before, right now. */
  readonly fixed: number;
  /** Right before, wrong now. */
  readonly broken: number;
  /** Chance of flips at least as uneven if both sets were equally good (exact McNemar test). */
  readonly p_value: number;
  readonly fixed_texts: readonly Flip[];
  readonly broken_texts: readonly Flip[];
  /** Texts that are wrong with both; those that are wrong in another way than before come first. */
  readonly both_wrong_texts: readonly Flip[];
  /** Right decisions by the route that texts belong to, where they differ; the largest change first. */
  readonly by_route: readonly RouteChangeScore[];
}

/** Compares what two sets decided about the same texts, in the same order. */
export function compareJudgements(
  before: { readonly name: string; readonly judged: readonly Judged[] },
  after: { readonly name: string; readonly judged: readonly Judged[] },
): SetComparison {
  const fixed: Flip[] = [];
  const broken: Flip[] = [];
  const bothWrong: Flip[] = [];
  let bothRight = 0;
  const routes = new Map<string | null, { texts: number; before: number; after: number }>();
  for (const [index, now] of after.judged.entries()) {
    const then = before.judged[index];
    if (!then) continue;
    const { text, line, expected } = now;
    const flip = { text, line, expected, before: then.got, after: now.got };
    const was = isRight(then);
    const is = isRight(now);
    if (was && is) bothRight += 1;
    else if (is) fixed.push(flip);
    else if (was) broken.push(flip);
    else bothWrong.push(flip);
    const route = routes.get(expected) ?? { texts: 0, before: 0, after: 0 };
    route.texts += 1;
    if (was) route.before += 1;
    if (is) route.after += 1;
    routes.set(expected, route);
  }
  const texts = after.judged.length;
  const otherwise = (flip: Flip): number => (flip.before === flip.after ? 1 : 0);
  bothWrong.sort((a, b) => otherwise(a) - otherwise(b));
  return {
    before: before.name,
    after: after.name,
    accuracy_before: shareOf(bothRight + broken.length, texts),
    accuracy_after: shareOf(bothRight + fixed.length, texts),
    both_right: bothRight,
    both_wrong: bothWrong.length,
    fixed: fixed.length,
    broken: broken.length,
    p_value: flipProbability(fixed.length, broken.length),
    fixed_texts: fixed.slice(0, LISTED),
    broken_texts: broken.slice(0, LISTED),
    both_wrong_texts: bothWrong.slice(0, LISTED),
    by_route: [...routes]
      .map(([route, counts]) => ({ route, ...counts }))
      .filter((each) => each.before !== each.after)
      .sort((a, b) => Math.abs(b.after - b.before) - Math.abs(a.after - a.before)),
  };
}

/** Whether the difference may be chance, in words. */
export function verdict(p: number, fixed: number, broken: number): string {
  if (fixed === broken) return 'Neither set is better on these texts.';
  const value = p < 0.001 ? 'p < 0.001' : `p = ${p.toFixed(3)}`;
  return `${fixed + broken} decisions differ in correctness: ${p < 0.05 ? 'significant' : 'not significant'} (${value}, McNemar).`;
}
