import * as z from 'zod';
import { type DraftLintReport, draftReportSchema, lintReportSchema } from '../../api/lint.js';
import {
  pathNameSchema,
  ROUTE_TYPES,
  type RouteChangeBody,
  type RouteDocumentBody,
  type RouteSetBody,
  type RouteSourceBody,
  type RouteVersionsBody,
  rollbackSchema,
  routeChangeSchema,
  routeDocumentSchema,
  routeInputSchema,
  routeSchema,
  routeSetInputSchema,
  routeSetSchema,
  routeVersionsSchema,
} from '../../api/routes.js';
import type { Linter } from '../../lint/lint.js';
import type { ChangeReport, RouteCatalogue, ServedRoutes } from '../../routes/catalogue.js';
import { type DraftText, parseDraft, parseRouteDraft } from '../../routes/drafts.js';
import { routeOf, withoutRoute, withRoute } from '../../routes/parse.js';
import { type RouteSet, routeSetToJson, routeToJson } from '../../routes/set.js';
import { AppError, type FieldIssue } from '../../shared/errors.js';
import { type BodyDeps, JSON_TYPES, readJson, readText } from '../body.js';
import { type Endpoint, json, jsonBody } from '../openapi.js';
import { isFresh, type RequestContext, sendJson, sendJsonText, withDeadline } from '../request.js';

/** The routes, and their changes. */
export type RoutesPort = Pick<
  RouteCatalogue,
  'served' | 'history' | 'problem' | 'fileDigest' | 'change' | 'rollback' | 'version'
>;

export type LintPort = Pick<Linter, 'current' | 'draft'>;

export interface RoutePorts extends BodyDeps {
  readonly routes: RoutesPort;
  /** Base name of the routes file. */
  readonly routesFile: string;
  /** Threshold of routes that have none of their own; `undefined` before a set is served. */
  readonly defaultThreshold: () => number | undefined;
  readonly lint: LintPort;
  readonly requestTimeoutMs: number;
}

const YAML_TYPES = ['application/yaml', 'application/x-yaml', 'text/yaml', 'text/x-yaml', '+yaml'] as const;

const ETAG = {
  ETag: z
    .string()
    .meta({ description: 'The digest of the routes, in quotes; send it as `If-Match` with a change' }),
};
const IF_MATCH = z.object({
  'If-Match': z
    .string()
    .regex(/"[^"]*"/)
    .meta({
      description: 'The `ETag` of the routes on which the change is based',
      example: '"sha256:f0ab6608ee1396e394e936e88bbade135ed7b890bed0c78d815edcbeef483d38"',
    }),
});
const NAME = z.object({
  name: pathNameSchema.meta({ description: 'A `/` in it is written as `%2F`', example: 'weather' }),
});

const SET_BODY = jsonBody(
  routeSetInputSchema,
  { greeting: { value: { routes: [{ name: 'greeting', utterances: ['hello', 'good morning'] }] } } },
  ROUTE_TYPES,
);
const ROUTE_BODY = jsonBody(
  routeInputSchema,
  { greeting: { value: { utterances: ['hello', 'good morning'], metadata: { model: 'small' } } } },
  ROUTE_TYPES,
);

const READ = { access: 'key', tag: 'Routes' } as const;
const CHANGE = { access: 'admin', tag: 'Routes' } as const;

/** `/routes`: the set, its parts, lint findings, and for administrators its changes and its history. */
export function routeEndpoints(): Endpoint<RoutePorts>[] {
  return [...readEndpoints(), ...changeEndpoints(), ...lintEndpoints()];
}

function readEndpoints(): Endpoint<RoutePorts>[] {
  return [
    {
      method: 'GET',
      path: '/routes',
      ...READ,
      id: 'routes',
      summary: 'The served routes',
      answers: {
        200: json('The routes', routeSetSchema, { headers: ETAG }),
        304: { description: 'Not modified: `If-None-Match` names the current routes' },
      },
      handle(context, ports) {
        const served = required(ports.routes);
        tag(context, served);
        // Followers ask every few seconds.
        if (isFresh(context, `"${served.set.digest}"`)) return;
        sendJsonText(context, setJson(served, ports));
      },
    },
    {
      method: 'GET',
      path: '/routes/{name}',
      ...READ,
      id: 'route',
      summary: 'One route',
      params: { path: NAME },
      answers: { 200: json('The route', routeSchema, { headers: ETAG }) },
      problems: [400, 404],
      handle(context, ports, { name = '' }) {
        const served = required(ports.routes);
        tag(context, served);
        sendJson(context, routeToJson(routeOf(served.set, name)));
      },
    },
    {
      method: 'GET',
      path: '/routes/versions',
      ...CHANGE,
      id: 'routeVersions',
      summary: 'The history of the routes',
      answers: { 200: json('The history', routeVersionsSchema) },
      handle(context, ports) {
        const { routes } = ports;
        context.set('Cache-Control', 'no-store');
        sendJson(context, {
          current: routes.served?.version?.version ?? null,
          source: routes.served ? sourceOf(routes.served, ports) : null,
          problem: routes.problem ?? null,
          versions: routes.history.toReversed(),
        } satisfies RouteVersionsBody);
      },
    },
    {
      method: 'GET',
      path: '/routes/versions/{version}',
      ...CHANGE,
      id: 'routeVersion',
      summary: 'The routes of one version',
      params: { path: VERSION },
      answers: { 200: json('The routes of that version', routeDocumentSchema) },
      problems: [404],
      async handle(context, { routes }, { version = '' }) {
        const set = await routes.version(Number(version));
        context.set('Cache-Control', 'no-store');
        sendJson(context, { digest: set.digest, ...routeSetToJson(set) } satisfies RouteDocumentBody);
      },
    },
  ];
}

/** A version by its number, as a path has it. */
const VERSION = z.object({
  version: z
    .string()
    .regex(/^[1-9]\d{0,8}$/)
    .meta({ description: 'The number of the version in the history', example: '1' }),
});

function changeEndpoints(): Endpoint<RoutePorts>[] {
  const changed = json('Result of the change', routeChangeSchema, { headers: ETAG });
  return [
    {
      method: 'PUT',
      path: '/routes',
      ...CHANGE,
      id: 'replaceRoutes',
      summary: 'Replaces all routes',
      params: { header: IF_MATCH },
      body: SET_BODY,
      answers: { 200: changed },
      problems: [400, 412, 413, 415, 422, 428],
      async handle(context, ports) {
        const expected = requireIfMatch(context);
        const body = await readRouteText(context, ports);
        const set = await withDeadline(context, ports.requestTimeoutMs, ({ signal }) =>
          asClientError(parseDraft(body, signal)),
        );
        const change = ports.routes.change(expected, { action: 'replace' }, () => set);
        sendChange(context, await asClientError(change), ports);
      },
    },
    {
      method: 'PUT',
      path: '/routes/{name}',
      ...CHANGE,
      id: 'putRoute',
      summary: 'Adds or replaces a route',
      params: { header: IF_MATCH, path: NAME },
      body: ROUTE_BODY,
      answers: { 200: changed, 201: json('The route was added', routeChangeSchema, { headers: ETAG }) },
      problems: [400, 412, 413, 415, 422, 428],
      async handle(context, ports, { name = '' }) {
        const expected = requireIfMatch(context);
        const body = await readRouteText(context, ports);
        const route = await withDeadline(context, ports.requestTimeoutMs, ({ signal }) =>
          asClientError(parseRouteDraft(body, name, signal)),
        );
        let created = false;
        const change = ports.routes.change(expected, { action: 'put', route: name }, (set) => {
          created = !set.indexOf.has(name);
          return withRoute(set, route);
        });
        const report = await asClientError(change);
        if (created) context.status = 201;
        sendChange(context, report, ports);
      },
    },
    {
      method: 'DELETE',
      path: '/routes/{name}',
      ...CHANGE,
      id: 'deleteRoute',
      summary: 'Removes a route',
      params: { header: IF_MATCH, path: NAME },
      answers: { 200: changed },
      problems: [400, 404, 412, 422, 428],
      async handle(context, ports, { name = '' }) {
        const expected = requireIfMatch(context);
        const change = ports.routes.change(expected, { action: 'delete', route: name }, (set) =>
          withoutRoute(set, name),
        );
        sendChange(context, await asClientError(change), ports);
      },
    },
    {
      method: 'POST',
      path: '/routes/rollback',
      ...CHANGE,
      id: 'rollbackRoutes',
      summary: 'Restores an earlier version as a new version',
      params: { header: IF_MATCH },
      body: { ...jsonBody(rollbackSchema, { last: { value: {} } }), required: false },
      answers: { 200: changed },
      problems: [400, 412, 413, 415, 422, 428],
      async handle(context, ports) {
        const expected = requireIfMatch(context);
        const empty = context.get('content-length') === '0' || context.is() === null;
        const { version } = empty ? {} : await readJson(context, rollbackSchema, ports);
        sendChange(context, await asClientError(ports.routes.rollback(expected, version)), ports);
      },
    },
  ];
}

function lintEndpoints(): Endpoint<RoutePorts>[] {
  return [
    {
      method: 'GET',
      path: '/routes/lint',
      ...READ,
      id: 'lintRoutes',
      summary: 'Possible improvements of the served routes',
      answers: { 200: json('The report', lintReportSchema) },
      async handle(context, { lint, requestTimeoutMs }) {
        context.set('Cache-Control', 'no-store');
        sendJson(
          context,
          await withDeadline(context, requestTimeoutMs, ({ signal }) => lint.current(signal)),
        );
      },
    },
    {
      method: 'POST',
      path: '/routes/lint',
      ...READ,
      id: 'lintDraft',
      summary: 'Possible improvements of routes in the body, which are not stored',
      body: SET_BODY,
      answers: { 200: json('The report', draftReportSchema) },
      problems: [400, 413, 415, 422],
      async handle(context, ports) {
        const body = await readRouteText(context, ports);
        const { report, warnings } = await withDeadline(context, ports.requestTimeoutMs, (call) =>
          asClientError(ports.lint.draft(body, call)),
        );
        sendJson(context, { ...report, warnings: warnings.map(remark) } satisfies DraftLintReport);
      },
    },
  ];
}

/** Reads a body of JSON or YAML. */
async function readRouteText(context: RequestContext, ports: BodyDeps): Promise<DraftText> {
  const wanted = 'routes with "Content-Type: application/json" or "application/yaml"';
  const { text, type } = await readText(context, [...JSON_TYPES, ...YAML_TYPES], wanted, ports);
  return { text, options: { origin: 'body', format: /json$/.test(type) ? 'json' : 'yaml' }, isBody: true };
}

/**
 * Turns faults of routes into the client's.
 * @throws AppError `validation_failed` with every fault, its line and column; what `work` throws
 */
async function asClientError<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (!(error instanceof AppError) || error.code !== 'routes_invalid') throw error;
    throw new AppError('validation_failed', error.message, { issues: error.issues, cause: error });
  }
}

/**
 * Returns the digests that a change was made from. A weak tag counts like a strong one: proxies that compress turn one
 * into the other, and these tags are digests of what is served, whatever became of its bytes on the way.
 * @throws AppError `precondition_required` without the header, and for `*`, which would overwrite anything
 */
function requireIfMatch(context: RequestContext): string[] {
  const header = context.get('if-match').trim();
  const tags = [...header.matchAll(/(?:W\/)?"([^"]*)"/g)].map(([, etag]) => etag ?? '');
  if (tags.length > 0) return tags;
  throw new AppError(
    'precondition_required',
    'send "If-Match" with the ETag of the routes that your change was made from' +
      (header === '' ? '' : `, in quotes, not ${header === '*' ? '"*"' : 'this'}`),
  );
}

function required(routes: RoutesPort): ServedRoutes {
  if (routes.served) return routes.served;
  throw new AppError('not_ready', 'no route set is loaded yet', { retryable: true });
}

/** Decisions name the same digest as `routes_digest`. */
function tag(context: RequestContext, { set }: ServedRoutes): void {
  context.set('ETag', `"${set.digest}"`);
  // The source of the routes may change while the routes do not.
  context.set('Cache-Control', 'no-store');
}

/** The routes of each set as JSON, without its first brace: they are read far more often than they change. */
const routesJson = new WeakMap<RouteSet, string>();

function setJson(served: ServedRoutes, ports: RoutePorts): string {
  const { set } = served;
  const head: Omit<RouteSetBody, keyof ReturnType<typeof routeSetToJson>> = {
    digest: set.digest,
    source: sourceOf(served, ports),
    problem: ports.routes.problem ?? null,
    utterances: set.utteranceCount,
    default_threshold: ports.defaultThreshold() ?? 0,
  };
  let rest = routesJson.get(set);
  if (rest === undefined) {
    rest = JSON.stringify(routeSetToJson(set)).slice(1);
    routesJson.set(set, rest);
  }
  return `${JSON.stringify(head).slice(0, -1)},${rest}`;
}

function sourceOf({ version }: ServedRoutes, { routes, routesFile }: RoutePorts): RouteSourceBody {
  const file = { name: routesFile, digest: routes.fileDigest ?? null };
  if (!version) return { kind: 'file', file };
  const { version: number, action, at } = version;
  return { kind: 'version', version: number, action, at, file };
}

function sendChange(context: RequestContext, report: ChangeReport, ports: RoutePorts): void {
  const { set, changed } = report;
  tag(context, report);
  sendJson(context, {
    digest: set.digest,
    changed,
    source: sourceOf(report, ports),
    routes: set.routes.length,
    utterances: set.utteranceCount,
    warnings: set.warnings.map(remark),
  } satisfies RouteChangeBody);
}

function remark({ path, message }: FieldIssue): FieldIssue {
  return { path, message };
}
