import type Router from '@koa/router';
import type { Context, Next } from 'koa';
import {
  type RouteChangeBody,
  type RouteSetBody,
  type RouteSourceBody,
  type RouteVersionsBody,
  rollbackSchema,
} from '../api/routes.js';
import { routeOf, withoutRoute, withRoute } from '../routes/route-edits.js';
import type { RouteVersion } from '../routes/route-history.js';
import { type RouteSet, routeSetToJson, routeToJson } from '../routes/route-set.js';
import type { RouteChange } from '../routes/route-versions.js';
import { parseRoute, parseRouteSet } from '../routes/routes.js';
import type { ChangeReport, ServedRoutes } from '../routes/served-routes.js';
import { AppError } from '../shared/errors.js';
import { answerJsonText } from './answer.js';
import { readJson } from './body.js';
import { requireIfMatch } from './if-match.js';
import { adminOnly } from './keys.js';
import { asRequest, changeAsRequest, readRouteText } from './route-body.js';

/** What the paths of the routes ask. */
export interface RoutesPort {
  readonly served: ServedRoutes | undefined;
  readonly history: readonly RouteVersion[];
  /** What is wrong with the versions on the volume. */
  readonly problem: string | undefined;
  /** Digest of the routes in the routes file. */
  readonly fileDigest: string | undefined;
  change(
    expected: readonly string[],
    change: Omit<RouteChange, 'based_on'>,
    edit: (set: RouteSet) => RouteSet,
  ): Promise<ChangeReport>;
  rollback(expected: readonly string[], version?: number): Promise<ChangeReport>;
}

/** What the paths of the routes are made with. */
export interface RoutesDeps {
  readonly routes: RoutesPort;
  /** The routes file's base name. */
  readonly routesFile: string;
  readonly adminKeys: readonly string[];
  readonly limits: { readonly maxBodyBytes: number };
}

/** Paths beside `/routes/:name`. A route of such a name is changed together with the others (`PUT /routes`). */
const OWN_PATHS: ReadonlySet<string> = new Set(['lint', 'versions', 'rollback']);

/** `/routes`: the set, its parts, and for administrators its changes and its history. */
export function routeSetRoutes(router: Router, deps: RoutesDeps): void {
  const { routes, limits } = deps;
  const { maxBodyBytes } = limits;
  const admin = adminOnly(deps.adminKeys);

  router.get('/routes', (context) => {
    const served = require(routes);
    tag(context, served);
    answerJsonText(context, setJson(served, deps));
  });

  router.get('/routes/versions', admin, (context: Context) => {
    context.set('Cache-Control', 'no-store');
    context.body = {
      current: routes.served?.version?.version ?? null,
      source: routes.served ? sourceOf(routes.served, deps) : null,
      problem: routes.problem ?? null,
      versions: routes.history.toReversed(),
    } satisfies RouteVersionsBody;
  });

  router.get('/routes/:name', async (context, next) => {
    if (OWN_PATHS.has(nameOf(context))) {
      await next();
      return;
    }
    const served = require(routes);
    const route = routeOf(served.set, nameOf(context));
    tag(context, served);
    context.body = routeToJson(route);
  });

  router.put('/routes', admin, async (context: Context) => {
    const expected = requireIfMatch(context);
    const body = await readRouteText(context, maxBodyBytes);
    const report = await changeAsRequest(
      routes.change(expected, { action: 'replace' }, () =>
        asRequest(() => parseRouteSet(body.text, body.options), body),
      ),
    );
    answer(context, report, deps);
  });

  router.put('/routes/:name', admin, async (context: Context, next: Next) => {
    if (OWN_PATHS.has(nameOf(context))) {
      await next();
      return;
    }
    const expected = requireIfMatch(context);
    const name = nameOf(context);
    const body = await readRouteText(context, maxBodyBytes);
    let created = false;
    const report = await changeAsRequest(
      routes.change(expected, { action: 'put', route: name }, (set) => {
        created = !set.indexOf.has(name);
        const route = asRequest(() => parseRoute(body.text, name, body.options), body);
        return asRequest(() => withRoute(set, route));
      }),
    );
    if (created) context.status = 201;
    answer(context, report, deps);
  });

  router.delete('/routes/:name', admin, async (context: Context, next: Next) => {
    if (OWN_PATHS.has(nameOf(context))) {
      await next();
      return;
    }
    const expected = requireIfMatch(context);
    const name = nameOf(context);
    const report = await changeAsRequest(
      routes.change(expected, { action: 'delete', route: name }, (set) =>
        asRequest(() => withoutRoute(set, name)),
      ),
    );
    answer(context, report, deps);
  });

  router.post('/routes/rollback', admin, async (context: Context) => {
    const expected = requireIfMatch(context);
    const empty = context.get('content-length') === '0' || context.is() === null;
    const { version } = empty ? {} : await readJson(context, rollbackSchema, maxBodyBytes);
    answer(context, await changeAsRequest(routes.rollback(expected, version)), deps);
  });
}

function require(routes: RoutesPort): ServedRoutes {
  if (routes.served) return routes.served;
  throw new AppError('not_ready', 'no route set is loaded yet', { retryable: true });
}

/** The name in the path; a `/` in it is written as `%2F`. */
function nameOf(context: Context): string {
  const { name } = context.params as { name?: string };
  return name ?? '';
}

/** Decisions name the same digest as `routes_digest`. */
function tag(context: Context, { set }: ServedRoutes): void {
  context.set('ETag', `"${set.digest}"`);
  // Where the routes come from may change while the routes do not.
  context.set('Cache-Control', 'no-store');
}

/** The routes of each set as JSON, without its first brace: they are asked for far more often than they change. */
const routesJson = new WeakMap<RouteSet, string>();

function setJson(served: ServedRoutes, deps: RoutesDeps): string {
  const { set } = served;
  const head: Omit<RouteSetBody, keyof ReturnType<typeof routeSetToJson>> = {
    digest: set.digest,
    source: sourceOf(served, deps),
    problem: deps.routes.problem ?? null,
    utterances: set.utteranceCount,
  };
  let rest = routesJson.get(set);
  if (rest === undefined) {
    rest = JSON.stringify(routeSetToJson(set)).slice(1);
    routesJson.set(set, rest);
  }
  return `${JSON.stringify(head).slice(0, -1)},${rest}`;
}

function sourceOf({ version }: ServedRoutes, { routes, routesFile }: RoutesDeps): RouteSourceBody {
  const file = { name: routesFile, digest: routes.fileDigest ?? null };
  if (!version) return { kind: 'file', file };
  const { version: number, action, at } = version;
  return { kind: 'version', version: number, action, at, file };
}

function answer(context: Context, report: ChangeReport, deps: RoutesDeps): void {
  const { set, changed } = report;
  tag(context, report);
  context.body = {
    digest: set.digest,
    changed,
    source: sourceOf(report, deps),
    routes: set.routes.length,
    utterances: set.utteranceCount,
    warnings: set.warnings.map(({ path, message }) => ({ path, message })),
  } satisfies RouteChangeBody;
}
