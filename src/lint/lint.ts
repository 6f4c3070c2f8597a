import { type Finding, type LintReport, SEVERITIES, type Severity } from '../api/lint.js';
import type { RouteSet } from '../routes/set.js';
import { requireScorable } from '../scoring/head/head-scoring.js';
import type { RouteVectors } from '../scoring/vectors.js';
import { Slices } from '../shared/concurrent.js';
import {
  confusionsOf,
  findCollisions,
  findDuplicates,
  findOverlaps,
  findSizes,
  findStrays,
  type Place,
} from './checks.js';
import { COMPARISON_DEFAULTS, type Compared, closenessOf, compareUtterances } from './comparison.js';

/** Findings in a report, at most; the most serious ones. */
const MAX_FINDINGS = 500;

/** Options of {@link lintRoutes}. */
export interface LintOptions {
  readonly signal?: AbortSignal;
  /** Utterances that are compared with all the others, at most; of a larger set an even sample. */
  readonly maxExamined?: number;
  readonly onProgress?: (done: number, total: number) => void;
}

/**
 * Looks a route set over. Takes well under a second for 150 routes of 10 utterances; for more utterances the time
 * grows with the square of their number, up to `maxExamined`.
 * @throws AppError `aborted`; `routes_invalid` where the set demands a head that cannot be trained
 */
export async function lintRoutes(
  set: RouteSet,
  vectors: RouteVectors,
  { signal, maxExamined = COMPARISON_DEFAULTS.examined, onProgress }: LintOptions = {},
): Promise<LintReport> {
  requireScorable(set, 'auto');
  const comparison = await compareUtterances(vectors, maxExamined, signal, onProgress);
  const { compared } = comparison;
  const names = set.routes.map(({ name }) => name);
  const places = set.routes.flatMap(({ name, utterances }): Place[] =>
    utterances.map((utterance) => ({ route: name, utterance })),
  );
  const slices = new Slices(signal);
  const closeness = await closenessOf(set, vectors, slices);
  const tallies = tally(names.length, compared);
  const examined = tallies.reduce((sum, each) => sum + each.examined, 0);
  const recovered = tallies.reduce((sum, each) => sum + each.recovered, 0);
  const accuracy = examined === 0 ? null : round(recovered / examined);
  const confusions = confusionsOf(names, compared);
  const sizes = tallies.map((each) => each.examined);
  // Utterances that are near the other route by a single text alone are no overlap.
  const convinced = compared.filter(({ meanLead }) => meanLead > 0);
  const overlaps = await findOverlaps(names, sizes, confusionsOf(names, convinced), closeness, slices);
  const findings = [
    ...findSizes(set, accuracy),
    ...findDuplicates(set, places, comparison),
    ...findCollisions(set.none, places, comparison),
    ...overlaps,
    ...findStrays(names, places, compared, sizes, overlaps),
  ].sort((a, b) => SEVERITIES.indexOf(a.severity) - SEVERITIES.indexOf(b.severity));
  const count = (severity: Severity): number =>
    findings.filter((finding) => finding.severity === severity).length;
  return {
    digest: set.digest,
    routes: names.length,
    utterances: set.utteranceCount,
    examined,
    accuracy,
    counts: { error: count('error'), warning: count('warning'), info: count('info') },
    findings: findings.slice(0, MAX_FINDINGS).map(rounded),
    findings_hidden: Math.max(0, findings.length - MAX_FINDINGS),
    confusions,
    by_route: set.routes.map(({ name, utterances }, index) => ({
      name,
      utterances: utterances.length,
      ...(tallies[index] ?? { examined: 0, recovered: 0 }),
      cohesion: round(closeness.within[index] ?? 1),
    })),
  };
}

/** A route's only utterance cannot find its way back, which says nothing about the route. */
function tally(routes: number, compared: readonly Compared[]): { examined: number; recovered: number }[] {
  const tallies = Array.from({ length: routes }, () => ({ examined: 0, recovered: 0 }));
  for (const { route, taken, own } of compared) {
    const each = tallies[route];
    if (!each || own.row < 0) continue;
    each.examined += 1;
    if (taken === route) each.recovered += 1;
  }
  return tallies;
}

function rounded(finding: Finding): Finding {
  return finding.similarity === undefined ? finding : { ...finding, similarity: round(finding.similarity) };
}

function round(value: number): number {
  return Math.round(value * 1e4) / 1e4;
}
