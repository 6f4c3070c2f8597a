import type {
  CacheStatus,
  ClassifyBatchRequest,
  ClassifyRequest,
  Decision,
  Decisions,
  DraftLintReport,
  Health,
  LintReport,
  Route,
  RouteChange,
  RouteDocument,
  RouteInput,
  RouteSet,
  RouteSetInput,
  RouteVersions,
  VerificationReport,
} from './contract.js';
import { type CallOptions, ClientError, type ClientOptions, createTransport } from './transport.js';

export type * from './contract.js';
export { type CallOptions, ClientError, type ClientErrorCode, type ClientOptions } from './transport.js';

/** Options of a change of the routes. */
export interface ChangeOptions extends CallOptions {
  /** `digest` of the routes that the change was made from; the daemon rejects the change if they differ now. */
  readonly ifMatch: string;
}

/** A daemon's HTTP surface. Every method throws {@link ClientError}, or the reason of its signal's abort. */
export interface Client {
  /** Decides the route of a text. */
  classify(request: ClassifyRequest, options?: CallOptions): Promise<Decision>;
  /** Decides the route of each text. */
  classifyBatch(request: ClassifyBatchRequest, options?: CallOptions): Promise<Decisions>;
  /** Returns the health of the daemon, also while it is not ready. */
  health(options?: CallOptions): Promise<Health>;
  /** Returns the served routes. */
  routes(options?: CallOptions): Promise<RouteSet>;
  /** Returns the digest of the served routes, which changes with them. */
  routesDigest(options?: CallOptions): Promise<string>;
  route(name: string, options?: CallOptions): Promise<Route>;
  /** Returns lint findings about the served routes, or about a draft. */
  lint(options?: CallOptions): Promise<LintReport>;
  lintDraft(draft: RouteSetInput, options?: CallOptions): Promise<DraftLintReport>;
  /** Changes need one of `ADMIN_KEYS`. */
  replaceRoutes(routes: RouteSetInput, options: ChangeOptions): Promise<RouteChange>;
  putRoute(name: string, route: RouteInput, options: ChangeOptions): Promise<RouteChange>;
  deleteRoute(name: string, options: ChangeOptions): Promise<RouteChange>;
  /** @param version default: the last one whose routes differ from the served ones */
  rollbackRoutes(options: ChangeOptions & { readonly version?: number }): Promise<RouteChange>;
  routeVersions(options?: CallOptions): Promise<RouteVersions>;
  /** Returns the routes of one version. */
  routeVersion(version: number, options?: CallOptions): Promise<RouteDocument>;
  cacheStatus(options?: CallOptions): Promise<CacheStatus>;
  /** Verifies every file and repairs bad ones; needs one of `ADMIN_KEYS`. */
  verifyCache(options?: CallOptions): Promise<VerificationReport>;
  /** Returns `/metrics` in the Prometheus text format. */
  metrics(options?: CallOptions): Promise<string>;
}

/** Makes a client of the daemon at `url`. It keeps no connection of its own and needs no closing. */
export function createClient(options: ClientOptions): Client {
  const send = createTransport(options);
  const json = async <T>(call: Parameters<typeof send>[0]): Promise<T> => {
    const text = await send(call);
    try {
      return JSON.parse(text) as T;
    } catch (cause) {
      throw new ClientError('unexpected_answer', `${call.path}: not JSON, so not from an ai-router`, {
        cause,
      });
    }
  };
  const get = <T>(path: string, call?: CallOptions): Promise<T> => json({ ...call, method: 'GET', path });
  const post = <T>(path: string, body: unknown, call?: CallOptions): Promise<T> =>
    json({ ...call, method: 'POST', path, body });
  const change = (
    method: 'PUT' | 'DELETE' | 'POST',
    path: string,
    body: unknown,
    { ifMatch, headers, ...call }: ChangeOptions,
  ): Promise<RouteChange> =>
    json({
      ...call,
      method,
      path,
      body,
      headers: { ...headers, 'if-match': `"${ifMatch}"` },
    });
  const at = (name: string): string => `/routes/${encodeURIComponent(name)}`;
  return {
    classify: (request, call) => post('/classify', request, call),
    classifyBatch: (request, call) => post('/classify/batch', request, call),
    health: (call) => json({ ...call, method: 'GET', path: '/health', accept: [503] }),
    routes: (call) => get('/routes', call),
    routesDigest: async (call) => {
      let etag: string | null = null;
      const onResponse = (response: Response): void => {
        etag = response.headers.get('etag');
        call?.onResponse?.(response);
      };
      await send({ ...call, method: 'HEAD', path: '/routes', onResponse });
      return String(etag).replaceAll('"', '');
    },
    route: (name, call) => get(at(name), call),
    lint: (call) => get('/routes/lint', call),
    lintDraft: (draft, call) => post('/routes/lint', draft, call),
    replaceRoutes: (routes, call) => change('PUT', '/routes', routes, call),
    putRoute: (name, route, call) => change('PUT', at(name), route, call),
    deleteRoute: (name, call) => change('DELETE', at(name), undefined, call),
    rollbackRoutes: ({ version, ...call }) =>
      change('POST', '/routes/rollback', version === undefined ? {} : { version }, call),
    routeVersions: (call) => get('/routes/versions', call),
    routeVersion: (version, call) => get(`/routes/versions/${version}`, call),
    cacheStatus: (call) => get('/cache/status', call),
    verifyCache: (call) => post('/cache/verify', undefined, call),
    metrics: (call) => send({ ...call, method: 'GET', path: '/metrics' }),
  };
}
