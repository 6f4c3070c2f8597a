import type { IncomingMessage, RequestListener } from 'node:http';
import Koa, { type Middleware } from 'koa';
import { MAX_VECTOR_BYTES, type RequestLimits } from '../api/limits.js';
import type { RateLimit, TrustedProxy } from '../config/parsers.js';
import type { WorkerPool } from '../inference/pool.js';
import { AppError, messageOf } from '../shared/errors.js';
import { Authenticator, type Keys, requireHost, trustProxy } from './auth.js';
import { allEndpoints, type Ports } from './endpoints/index.js';
import { policyOf } from './endpoints/pages.js';
import { type Dialect, sendError } from './errors.js';
import { ByteBudget, createMeter, Turns } from './gates.js';
import type { ContractSettings, Endpoint, PathParams } from './openapi.js';
import {
  type RecordDeps,
  type RequestContext,
  type RequestState,
  recordRequest,
  truncate,
} from './request.js';

/** Everything that the application is given. */
export interface AppDeps extends Omit<Ports, 'bytes'>, Omit<RecordDeps, 'metrics'> {
  /** Another object after each change. */
  readonly keys: { readonly current: Keys };
  /** The queue before the model. */
  readonly queue: Pick<WorkerPool, 'rejectionFor'>;
  readonly contract: ContractSettings;
  readonly limits: RequestLimits;
  readonly trustedProxy: TrustedProxy;
  /** Origins of pages that may call, or `*`; none lets browsers call from the daemon's own pages only. */
  readonly corsOrigins: readonly string[];
  /** Values of `Host` that are answered besides IP addresses and localhost. */
  readonly allowedHosts: readonly string[];
  /** `undefined` counts nothing. */
  readonly rateLimit: RateLimit | undefined;
  /** Most headers of one request. */
  readonly maxHeaders: number;
}

/** Builds the application: match, record, errors, access, then the endpoint. */
export function createApp(deps: AppDeps): RequestListener {
  const { log, metrics, health } = deps;
  const table = new EndpointTable(allEndpoints(deps.contract));
  const ports: Ports = {
    ...deps,
    bytes: new ByteBudget(Math.max(deps.limits.maxBodyBytes, MAX_VECTOR_BYTES)),
  };
  const authenticator = new Authenticator(deps.keys);
  const turns = new Turns();
  const meter = deps.rateLimit && createMeter(deps.rateLimit);
  const loadingCors = deps.corsOrigins.length > 0 ? crossOrigin(deps.corsOrigins) : undefined;

  const app = new Koa<RequestState>();
  trustProxy(app, deps.trustedProxy);
  // One middleware, which calls the steps itself: each further one costs every request a few promises.
  app.use((context) => {
    const match = table.match(context.method, context.path ?? '');
    context.state.dialect = match.dialect;
    return recordRequest(context, () => secured(context, match), deps, match.endpoint);
  });
  // A connection that broke while we wrote is the client's affair; everything else was answered above.
  app.on('error', (error) => log.debug({ err: error }, 'response not delivered'));
  return app.callback();

  function secured(context: RequestContext, match: Match<Ports>): Promise<void> {
    setSecureHeaders(context);
    if (!loadingCors) return answered(context, match);
    return loadingCors.then((cors) => cors(context, () => answered(context, match)));
  }

  async function answer(context: RequestContext, { endpoint, params, allowed }: Match<Ports>): Promise<void> {
    validateHeaders(context.req, deps.maxHeaders);
    // Platforms probe health under names of their own.
    if (!(endpoint?.access === 'open' && endpoint.quiet)) requireHost(context.get('host'), deps.allowedHosts);
    const caller = authenticator.identify(context);
    context.state.client = caller.client;
    // A path without an endpoint needs a key as well, so that strangers do not learn which paths exist.
    const access = endpoint?.access ?? 'key';
    if (access !== 'open' && meter) await meter(context, caller.client);
    authenticator.require(access, caller, context);
    if (!endpoint) throw notFound(context, allowed);
    if (endpoint.inference) {
      // Before the body is read: in a flood, refusals must leave the processor to the answers. What waits for its turn will
      // be in the queue: without it, more would be let in than have room, to be refused when their turn comes.
      const rejection = deps.queue.rejectionFor(caller.client, turns.waiting(caller.client));
      if (rejection) throw rejection;
      // Many requests that arrive together would hold up the others, health among them, until all of them are answered.
      if (turns.over) await turns.next(caller.client);
    }
    // Its end, if it came while this request waited, is not announced again.
    if (context.res.destroyed) throw new AppError('aborted', 'the client closed the connection');
    await endpoint.handle(context, ports, params);
  }

  async function answered(context: RequestContext, match: Match<Ports>): Promise<void> {
    try {
      await answer(context, match);
    } catch (thrown) {
      const error =
        thrown instanceof AppError ? thrown : new AppError('internal', messageOf(thrown), { cause: thrown });
      if (error.code === 'internal') log.error({ err: thrown, ...context.state.ids }, 'request failed');
      metrics.failed(error.code, error.gate);
      sendError(context, error);
    }
    if (health.draining) context.set('Connection', 'close');
  }
}

function notFound(context: RequestContext, allowed: readonly string[]): AppError {
  const path = truncate(context.path ?? '');
  if (allowed.length === 0) {
    const lacksVersion = context.state.dialect === 'openai' && !/^\/v1(\/|$)/i.test(context.path ?? '');
    const hint = lacksVersion ? "; the base URL of OpenAI's clients ends in /v1: use http://…/v1" : '';
    return new AppError('not_found', `there is nothing at ${path}${hint}`);
  }
  const methods = allowed.join(', ');
  context.set('Allow', methods);
  return new AppError('method_not_allowed', `${path} takes ${methods}, not ${context.method}`);
}

const SECURE_HEADERS: readonly (readonly [name: string, value: string])[] = [
  ['Content-Security-Policy', policyOf()],
  ['X-Content-Type-Options', 'nosniff'],
  ['X-Frame-Options', 'DENY'],
  ['Referrer-Policy', 'no-referrer'],
  ['Cross-Origin-Opener-Policy', 'same-origin'],
  ['Cross-Origin-Resource-Policy', 'same-origin'],
];

/** Seconds for which a browser may remember what a page of another origin is allowed. */
const CORS_MAX_AGE = 600;

/** Sets the headers that keep browsers from misusing an answer. An endpoint may set other values. */
function setSecureHeaders(context: RequestContext): void {
  for (const [name, value] of SECURE_HEADERS) context.res.setHeader(name, value);
  // Only what came through TLS may promise it; the proxy that ends it says so.
  if (context.secure) context.set('Strict-Transport-Security', 'max-age=31536000');
}

/** Middleware that lets pages of some origins, or of any (`*`), call this daemon. Keys travel as bearer, never as cookies. */
async function crossOrigin(origins: readonly string[]): Promise<Middleware> {
  const { default: cors } = await import('@koa/cors');
  const any = origins.includes('*');
  return cors({
    origin: (context) => {
      const origin = context.get('Origin');
      return any ? '*' : origins.includes(origin) ? origin : '';
    },
    exposeHeaders: [
      'ETag',
      'RateLimit',
      'RateLimit-Policy',
      'Retry-After',
      'Server-Timing',
      'WWW-Authenticate',
      'X-Request-Id',
    ],
    maxAge: CORS_MAX_AGE,
  });
}

/**
 * Refuses request headers that Node's parser accepts: other versions of HTTP, too many headers (it would drop the last ones
 * silently), no Host or several (RFC 9112, 3.2), a target without a path, expectations that are not supported.
 * @throws AppError `headers_too_large`, `bad_request`, `expectation_failed`
 */
function validateHeaders(
  { rawHeaders, httpVersion, headers, url }: IncomingMessage,
  maxHeaders: number,
): void {
  if (!httpVersion.startsWith('1.')) throw new AppError('bad_request', 'send HTTP/1.1');
  // "http://" is an absolute URL to the parser, though it has no host.
  if (!/^(\/|\*$|https?:\/\/[^/])/i.test(url ?? '')) {
    throw new AppError('bad_request', 'invalid request target');
  }
  if (rawHeaders.length / 2 > maxHeaders) {
    throw new AppError('headers_too_large', `a request may have ${maxHeaders} headers at most (MAX_HEADERS)`);
  }
  let hosts = 0;
  for (let at = 0; at < rawHeaders.length; at += 2) {
    if (rawHeaders[at]?.toLowerCase() === 'host') hosts += 1;
  }
  if (hosts > 1 || (hosts === 0 && httpVersion !== '1.0')) {
    throw new AppError('bad_request', 'send exactly one Host header');
  }
  if (headers.expect !== undefined && headers.expect.toLowerCase() !== '100-continue') {
    throw new AppError('expectation_failed', 'unsupported Expect header (only 100-continue)');
  }
}

/** The outcome of {@link EndpointTable.match}. */
interface Match<Ports> {
  /** `undefined` where nothing is at this path, or nothing that takes this method. */
  readonly endpoint: Endpoint<Ports> | undefined;
  readonly params: PathParams;
  /** Methods of this path; empty where nothing is there. */
  readonly allowed: readonly string[];
  readonly dialect: Dialect;
}

/** All endpoints of one template. */
interface Place<Ports> {
  readonly segments: readonly string[];
  readonly endpoints: Endpoint<Ports>[];
  /** Their methods. */
  allowed: readonly string[];
}

const PARAMETER = /^\{(\w+)(\+?)\}$/;

/**
 * Finds the endpoint of a request. Case and one slash at the end of a path make no difference. A path that is written out
 * in the table comes before any template with parameters, for all methods.
 */
export class EndpointTable<Ports> {
  readonly #literal = new Map<string, Place<Ports>>();
  readonly #templates: Place<Ports>[] = [];
  /** By first segment, for errors at unknown paths below it. */
  readonly #dialects = new Map<string, Dialect>(
    // An OpenAI client whose base URL lacks /v1 sends these; it shows no error in another shape.
    ['', 'v1', 'chat', 'completions', 'responses', 'moderations'].map((first) => [
      first,
      first === '' ? 'problem' : 'openai',
    ]),
  );

  constructor(endpoints: readonly Endpoint<Ports>[]) {
    const places = new Map<string, Place<Ports>>();
    for (const endpoint of endpoints) {
      const { path, dialect } = endpoint;
      let place = places.get(path);
      if (!place) {
        place = { segments: path.split('/').slice(1), endpoints: [], allowed: [] };
        places.set(path, place);
        if (path.includes('{')) this.#templates.push(place);
        else this.#literal.set(path, place);
      }
      place.endpoints.push(endpoint);
      place.allowed = place.endpoints
        .flatMap((each) => (each.method === 'GET' ? ['GET', 'HEAD'] : [each.method]))
        .sort();
      const [first = ''] = place.segments;
      if (dialect && !this.#dialects.has(first)) this.#dialects.set(first, dialect);
    }
  }

  /**
   * @param method HEAD is answered where GET is
   * @param path as it was sent, without query
   */
  match(method: string, path: string): Match<Ports> {
    const plain = path.length > 2 && path.endsWith('/') ? path.slice(0, -1) : path;
    const literal = this.#literal.get(plain.toLowerCase());
    if (literal) return this.#choose(literal, method, {});
    const segments = plain.split('/').slice(1);
    for (const template of this.#templates) {
      const params = paramsOf(template.segments, segments);
      if (params) return this.#choose(template, method, params);
    }
    return {
      endpoint: undefined,
      params: {},
      allowed: [],
      dialect: this.#dialects.get(segments[0] ?? '') ?? 'problem',
    };
  }

  #choose({ endpoints, allowed }: Place<Ports>, method: string, params: PathParams): Match<Ports> {
    const wanted = method === 'HEAD' ? 'GET' : method;
    const endpoint = endpoints.find((each) => each.method === wanted);
    return { endpoint, params, allowed, dialect: (endpoint ?? endpoints[0])?.dialect ?? 'problem' };
  }
}

/** The parameters of a path that fits a template, or `undefined`. */
function paramsOf(template: readonly string[], segments: readonly string[]): PathParams | undefined {
  const params: Record<string, string> = {};
  for (const [index, part] of template.entries()) {
    const segment = segments[index];
    if (segment === undefined) return undefined;
    const [, name, rest] = PARAMETER.exec(part) ?? [];
    if (name === undefined) {
      if (segment.toLowerCase() !== part) return undefined;
      continue;
    }
    const value = decode(rest ? segments.slice(index).join('/') : segment);
    if (value === '') return undefined;
    params[name] = value;
    if (rest) return params;
  }
  return segments.length === template.length ? params : undefined;
}

/** A name with a broken escape stands for itself. */
function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
