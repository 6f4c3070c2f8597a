import type { CacheStatus, VerificationReport } from '../api/cache.js';
import type { ClassifyBatchBody, ClassifyBody, Decision, Decisions } from '../api/classify.js';
import type { Health } from '../api/health.js';
import type { DraftLintReport, LintReport } from '../api/lint.js';
import type {
  RouteBody,
  RouteChangeBody,
  RouteInputBody,
  RouteSetBody,
  RouteSetInputBody,
  RouteVersionsBody,
} from '../api/routes.js';
import { type CallOptions, type ClientOptions, createTransport } from './transport.js';

/** Options of a change of the routes. */
export interface ChangeOptions extends CallOptions {
  /** `digest` of the routes that the change was made from; the daemon refuses it when they are others now. */
  readonly ifMatch: string;
}

/** A daemon's HTTP surface. Every method throws {@link ClientError}, or the reason of its signal's abort. */
export interface Client {
  /** Where should this text go? */
  classify(request: ClassifyBody, options?: CallOptions): Promise<Decision>;
  /** Where should each of these texts go? */
  classifyBatch(request: ClassifyBatchBody, options?: CallOptions): Promise<Decisions>;
  /** How the daemon is, also when it is not ready. */
  health(options?: CallOptions): Promise<Health>;
  /** The routes that are served. */
  routes(options?: CallOptions): Promise<RouteSetBody>;
  route(name: string, options?: CallOptions): Promise<RouteBody>;
  /** What could be better about the routes that are served, or about a draft. */
  lint(options?: CallOptions): Promise<LintReport>;
  lintDraft(draft: RouteSetInputBody, options?: CallOptions): Promise<DraftLintReport>;
  /** Changes want one of `ADMIN_KEYS`. */
  replaceRoutes(routes: RouteSetInputBody, options: ChangeOptions): Promise<RouteChangeBody>;
  putRoute(name: string, route: RouteInputBody, options: ChangeOptions): Promise<RouteChangeBody>;
  deleteRoute(name: string, options: ChangeOptions): Promise<RouteChangeBody>;
  /** @param version default: the last one with other routes than are served now */
  rollbackRoutes(options: ChangeOptions & { readonly version?: number }): Promise<RouteChangeBody>;
  routeVersions(options?: CallOptions): Promise<RouteVersionsBody>;
  cacheStatus(options?: CallOptions): Promise<CacheStatus>;
  /** Verifies every file now, and repairs what is not right; wants one of `ADMIN_KEYS`. */
  verifyCache(options?: CallOptions): Promise<VerificationReport>;
}

/** Makes a client of the daemon at `url`. It keeps no connection of its own and needs no closing. */
export function createClient(options: ClientOptions): Client {
  const send = createTransport(options);
  const json = async <T>(call: Parameters<typeof send>[0]): Promise<T> =>
    (await (await send(call)).json()) as T;
  const get = <T>(path: string, call?: CallOptions): Promise<T> => json({ ...call, method: 'GET', path });
  const post = <T>(path: string, body: unknown, call?: CallOptions): Promise<T> =>
    json({ ...call, method: 'POST', path, body });
  const change = (
    method: 'PUT' | 'DELETE' | 'POST',
    path: string,
    body: unknown,
    { ifMatch, signal, headers }: ChangeOptions,
  ): Promise<RouteChangeBody> =>
    json({
      method,
      path,
      body,
      headers: { ...headers, 'if-match': `"${ifMatch}"` },
      ...(signal && { signal }),
    });
  const at = (name: string): string => `/routes/${encodeURIComponent(name)}`;
  return {
    classify: (request, call) => post('/classify', request, call),
    classifyBatch: (request, call) => post('/classify/batch', request, call),
    health: (call) => json({ ...call, method: 'GET', path: '/health', accept: [503] }),
    routes: (call) => get('/routes', call),
    route: (name, call) => get(at(name), call),
    lint: (call) => get('/routes/lint', call),
    lintDraft: (draft, call) => post('/routes/lint', draft, call),
    replaceRoutes: (routes, call) => change('PUT', '/routes', routes, call),
    putRoute: (name, route, call) => change('PUT', at(name), route, call),
    deleteRoute: (name, call) => change('DELETE', at(name), undefined, call),
    rollbackRoutes: ({ version, ...call }) =>
      change('POST', '/routes/rollback', version === undefined ? {} : { version }, call),
    routeVersions: (call) => get('/routes/versions', call),
    cacheStatus: (call) => get('/cache/status', call),
    verifyCache: (call) => post('/cache/verify', undefined, call),
  };
}
