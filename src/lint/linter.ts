import type { LintReport } from '../api/lint.js';
import { type DraftText, parseDraft } from '../routes/drafts.js';
import type { RouteSet, RouteWarning } from '../routes/set.js';
import type { ActiveSet } from '../scoring/active-set.js';
import type { Stop } from '../scoring/embed-texts.js';
import { embedRoutes } from '../scoring/vectors.js';
import { AppError } from '../shared/errors.js';
import { SharedCache } from '../shared/shared-cache.js';
import { COMPARISON_DEFAULTS } from './comparison.js';
import { type LintOptions, lintRoutes } from './lint.js';

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
