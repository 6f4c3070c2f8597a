import { type Finding, type LintReport, SEVERITIES, type Severity } from '../api/lint.js';
import type { Stop } from '../inference/embedder.js';
import { type DraftText, parseDraft } from '../routes/drafts.js';
import type { RouteSet, RouteWarning } from '../routes/set.js';
import type { ActiveSet } from '../scoring/active-set.js';
import { requireScorable } from '../scoring/head/head-scoring.js';
import type { RouteVectors } from '../scoring/row-matrix.js';
import { embedRoutes } from '../scoring/vectors.js';
import { Slices } from '../shared/concurrent.js';
import { AppError } from '../shared/errors.js';
import { SharedCache } from '../shared/shared-cache.js';
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

/** Bounds on looking over sets that anybody may send. */
export const DRAFT_LIMITS = {
  utterances: 5_000,
  /** Drafts under way at once, of different clients. */
  concurrent: 2,
} as const;

/** Report on a set from a request. */
export interface LintedDraft {
  readonly report: LintReport;
  readonly warnings: readonly RouteWarning[];
}

/** The client that sent a set, and the signal that ends its report. */
export type DraftAsker = Pick<Stop, 'client'> & { readonly signal: AbortSignal };

/** Comparisons of two utterances that one report may cost: some seconds. A larger set is sampled. */
const MAX_COMPARISONS = 40_000_000;

/** Looks route sets over with the model that serves. The report of the served set is made once and kept. */
export class Linter {
  readonly #active: () => ActiveSet | undefined;
  readonly #reports = new SharedCache<LintReport>(1, 1);
  /** Clients with a draft under way. */
  readonly #drafts = new Set<string>();

  /** @param active what is served now */
  constructor(active: () => ActiveSet | undefined) {
    this.#active = active;
  }

  /** @throws AppError `not_ready`, `aborted` */
  async current(signal: AbortSignal): Promise<LintReport> {
    const { set, vectors, encoder } = this.#required();
    const make = (stop: AbortSignal): Promise<LintReport> => lintRoutes(set, vectors, boundsOf(set, stop));
    return this.#reports.get(`${encoder.model.digest} ${set.digest}`, 1, make, signal);
  }

  /**
   * Reads a set, embeds what the served one does not have, and keeps nothing.
   * @throws AppError `routes_invalid`, `validation_failed` when it is too large, `overloaded`, `not_ready`, `aborted`
   */
  async draft(text: DraftText, asker: DraftAsker): Promise<LintedDraft> {
    this.#required();
    const { client = '' } = asker;
    const own = this.#drafts.has(client);
    if (own || this.#drafts.size >= DRAFT_LIMITS.concurrent) {
      const message = `${own ? 'another draft of this client is' : 'other drafts are'} being checked; try again`;
      throw new AppError('overloaded', message, { retryable: true, gate: 'queue' });
    }
    this.#drafts.add(client);
    try {
      const set = await parseDraft(text, asker.signal);
      return { report: await this.#lookOver(set, asker), warnings: set.warnings };
    } finally {
      this.#drafts.delete(client);
    }
  }

  async #lookOver(set: RouteSet, { client, signal }: DraftAsker): Promise<LintReport> {
    const { encoder, vectors: previous } = this.#required();
    const texts = set.utteranceCount + set.none.length;
    if (texts > DRAFT_LIMITS.utterances) {
      const message = `has ${texts} utterances; at most ${DRAFT_LIMITS.utterances} are looked over here, "ai-router lint" takes any number`;
      throw new AppError('validation_failed', `the set ${message}`, {
        issues: [{ path: 'routes', message }],
      });
    }
    // One text at a time: requests for answers go first.
    const options = { client, signal, previous, concurrency: 1, shortLived: true };
    const { vectors } = await embedRoutes(set, encoder.embedder, options);
    return lintRoutes(set, vectors, boundsOf(set, signal));
  }

  #required(): ActiveSet {
    const active = this.#active();
    if (!active) throw new AppError('not_ready', 'no route set is loaded yet', { retryable: true });
    return active;
  }
}

function boundsOf(set: RouteSet, signal: AbortSignal): LintOptions {
  const examined = Math.ceil(MAX_COMPARISONS / set.utteranceCount);
  return { signal, maxExamined: Math.min(COMPARISON_DEFAULTS.examined, examined) };
}
