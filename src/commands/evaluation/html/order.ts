import type { EvalConfusion } from '../evaluation.js';

/**
 * An order of routes in which those that are confused stand beside each other, so that a picture shows groups: from
 * each route to the one that it is confused with most, and where there is none left, to the next by name.
 */
export function orderByConfusion(routes: readonly string[], confusions: readonly EvalConfusion[]): string[] {
  const weights = new Map<string, Map<string, number>>();
  const add = (from: string, to: string, count: number): void => {
    const row = weights.get(from) ?? new Map<string, number>();
    row.set(to, (row.get(to) ?? 0) + count);
    weights.set(from, row);
  };
  for (const { expected, got, count } of confusions) {
    if (expected === null || got === null) continue;
    add(expected, got, count);
    add(got, expected, count);
  }
  const left = new Set([...routes].sort());
  const ordered: string[] = [];
  let current = left.values().next().value;
  while (current !== undefined) {
    ordered.push(current);
    left.delete(current);
    // Looked for from the last few: a group is rarely one chain.
    let best: { name: string; count: number } | undefined;
    for (const placed of ordered.slice(-3).reverse()) {
      for (const [name, count] of weights.get(placed) ?? []) {
        if (left.has(name) && count > (best?.count ?? 0)) best = { name, count };
      }
      if (best) break;
    }
    current = best?.name ?? left.values().next().value;
  }
  return ordered;
}
