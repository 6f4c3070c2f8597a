import type Router from '@koa/router';
import type { Context } from 'koa';
import type { DraftLintReport } from '../api/lint.js';
import type { LintReport } from '../lint/lint.js';
import type { FieldIssue } from '../shared/errors.js';
import { faultOfRequest, type RouteText, readRouteText } from './route-body.js';
import { within } from './within.js';

/** What the lint paths ask. */
export interface LintPort {
  /** Looks over the set that is served. */
  current(signal: AbortSignal): Promise<LintReport>;
  /** Reads and looks over a set that is not served. */
  draft(
    text: RouteText,
    asker: { readonly client: string; readonly signal: AbortSignal },
  ): Promise<{ readonly report: LintReport; readonly warnings: readonly FieldIssue[] }>;
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
    context.body = await within(context, requestTimeoutMs, ({ signal }) => lint.current(signal));
  });

  router.post('/routes/lint', async (context: Context) => {
    const body = await readRouteText(context, limits.maxBodyBytes);
    const { report, warnings } = await within(context, requestTimeoutMs, (stop) =>
      lint.draft(body, stop).catch((error: unknown) => {
        throw faultOfRequest(error, body);
      }),
    );
    context.body = {
      ...report,
      warnings: warnings.map(({ path, message }) => ({ path, message })),
    } satisfies DraftLintReport;
  });
}
