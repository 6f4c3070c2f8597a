import { compareText } from '../routes/closest.js';
import type { RouteSet } from '../routes/route-set.js';
import { Slices } from '../shared/concurrent.js';
import { evidenceOf, highestOf, SIMILARITY_DEFAULTS, totalOf, withShare } from './evidence.js';
import { createRouteScores, type RouteScores } from './scorer.js';
import { multiplyRoutes, type RouteVectors } from './vectors.js';

/** The best route's evidence for utterances of the set, each compared with all the others. */
export async function leaveOneOutEvidence(
  set: RouteSet,
  vectors: RouteVectors,
  signal?: AbortSignal,
): Promise<Float64Array> {
  const { offsets } = vectors;
  const rows: { readonly row: number; readonly key: string }[] = [];
  for (const [route, { name, utterances }] of set.routes.entries()) {
    // A route's only utterance has nothing to be compared with.
    if (utterances.length < 2) continue;
    const from = offsets[route] ?? 0;
    for (const [index, text] of utterances.entries())
      rows.push({ row: from + index, key: `${name}\n${text}` });
  }
  // The digest of a set does not tell the order in its file, so the sample must not depend on it.
  rows.sort((a, b) => compareText(a.key, b.key));
  const size = Math.min(rows.length, SIMILARITY_DEFAULTS.leaveOneOutSample);
  const sample = Array.from({ length: size }, (_, i) => rows[Math.floor((i * rows.length) / size)]?.row ?? 0);
  const evidence = new Float64Array(size);
  await leaveOut(vectors, sample, signal, (index, { score }) => {
    evidence[index] = score.reduce((best, value) => Math.max(best, value), Number.NEGATIVE_INFINITY);
  });
  return evidence;
}

/**
 * For each utterance of a set the index of the route that would take it if the set did not contain it, in
 * the order of the rows: the raw material of a confusion table.
 * @throws AppError `aborted`
 */
export async function leaveOneOutRoutes(vectors: RouteVectors, signal?: AbortSignal): Promise<Uint32Array> {
  const taken = new Uint32Array(vectors.matrix.rows);
  const rows = Array.from(taken.keys());
  await leaveOut(vectors, rows, signal, (row, { score }) => {
    let best = 0;
    for (let route = 1; route < score.length; route += 1) {
      if ((score[route] ?? 0) > (score[best] ?? 0)) best = route;
    }
    taken[row] = best;
  });
  return taken;
}

/** Compares each of `rows` with all the others, giving way to other work now and then. */
async function leaveOut(
  vectors: RouteVectors,
  rows: readonly number[],
  signal: AbortSignal | undefined,
  visit: (index: number, evidence: RouteScores) => void,
): Promise<void> {
  const routes = vectors.offsets.length - 1;
  const all = Uint32Array.from({ length: routes }, (_, index) => index);
  const out = createRouteScores(routes);
  const slices = new Slices(signal);
  for (const [index, row] of rows.entries()) {
    multiplyRoutes(vectors, vectors.matrix.row(row));
    // Whatever it was: it takes no part in the maximum and adds nothing to the sum.
    vectors.matrix.products[row] = Number.NEGATIVE_INFINITY;
    for (const route of all) out.score[route] = evidenceOf(vectors, route, out.similarity, row);
    const highest = highestOf(all, out.score);
    const logTotal = Math.log(totalOf(all, out.score, highest));
    for (const route of all) out.score[route] = withShare(out.score[route] as number, highest, logTotal);
    visit(index, out);
    if (slices.over) await slices.giveWay();
  }
}
