import type { IncomingMessage, RequestListener } from 'node:http';
import Koa, { type Middleware } from 'koa';
import { MAX_VECTOR_BYTES, type RequestLimits } from '../api/limits.js';
import type { RateLimit, TrustedProxy } from '../config/parsers.js';
import type { WorkerPool } from '../inference/pool.js';
import { Turns } from '../shared/concurrent.js';
import { AppError, messageOf } from '../shared/errors.js';
import { Authenticator, type Keys, requireHost, trustProxy } from './auth.js';
import { EndpointTable, type Match } from './endpoint.js';
import { allEndpoints, type Ports } from './endpoints/index.js';
import { policyOf } from './endpoints/pages.js';
import { sendError } from './errors.js';
import { ByteBudget, createMeter } from './gates.js';
import type { ContractSettings } from './openapi.js';
import {
  type RecordDeps,
  type RequestContext,
  type RequestState,
  recordRequest,
  truncate,
} from './request.js';

/** Everything that the application is given. */
export interface AppDeps extends Omit<Ports, 'bytes'>, Omit<RecordDeps, 'metrics'> {
  /** Asked at each request. */
  readonly keys: () => Keys;
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
  app.use(async (context) => {
    const match = table.match(context.method, context.path ?? '');
    context.state.dialect = match.dialect;
    await recordRequest(context, () => secured(context, match), deps, match.endpoint);
    if (health.draining()) context.set('Connection', 'close');
  });
  // A connection that broke while we wrote is the client's affair; everything else was answered above.
  app.on('error', (error) => log.debug({ err: error }, 'response not delivered'));
  return app.callback();

  async function secured(context: RequestContext, match: Match<Ports>): Promise<void> {
    setSecureHeaders(context);
    if (!loadingCors) return answered(context, match);
    const cors = await loadingCors;
    await cors(context, () => answered(context, match));
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
