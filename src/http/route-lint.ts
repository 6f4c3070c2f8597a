import type Router from '@koa/router';
import type { Context } from 'koa';
import type { LintReport } from '../classify/lint.js';
import type { RouteSet } from '../classify/route-set.js';
import { parseRouteSet } from '../classify/routes.js';
import type { DraftLintReport } from '../contract/lint.js';
import { asRequest, readRouteText } from './route-body.js';
import { within } from './within.js';

/** What the lint paths ask. */
export interface LintPort {
  /** Looks over the set that is served. */
  current(signal: AbortSignal): Promise<LintReport>;
  /** Looks over a set that is not served. */
  draft(set: RouteSet, signal: AbortSignal): Promise<LintReport>;
}

/** What the lint paths are made with. */
export interface LintDeps {
  readonly lint: LintPort;
  readonly limits: { readonly maxBodyBytes: number };
  readonly requestTimeoutMs: number;
}

/** `GET /routes/lint` (the set that is served) and `POST /routes/lint` (the one in the body, which is not kept). */
export function lintPaths(router: Router, { lint, limits, requestTimeoutMs }: LintDeps): void {
  router.get('/routes/lint', async (context) => {
    context.set('Cache-Control', 'no-store');
    context.body = await within(context, requestTimeoutMs, (signal) => lint.current(signal));
  });

  router.post('/routes/lint', async (context: Context) => {
    const body = await readRouteText(context, limits.maxBodyBytes);
    const set = asRequest(() => parseRouteSet(body.text, body.options), body);
    context.body = {
      ...(await within(context, requestTimeoutMs, (signal) => lint.draft(set, signal))),
      warnings: set.warnings.map(({ path, message }) => ({ path, message })),
    } satisfies DraftLintReport;
  });
}
