import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { machineLimits } from './machine-limits.js';
import {
  cron,
  flag,
  hosts,
  httpUrl,
  integer,
  keys,
  list,
  oneOf,
  origin,
  PRIVATE_HOSTS,
  proxy,
  type RateLimit,
  rate,
  SCORING_METHODS,
  type ScoringMethod,
  SOURCE_KINDS,
  type SourceKind,
  share,
  sourceOrder,
  type TrustedProxy,
} from './parsers.js';
import { builtInManifest, PACKAGE_ROOT, VARIANTS, type Variant } from './program-files.js';

/** One setting of the program: its environment variable, its default, and how its text is read. */
export interface Setting<T> {
  readonly env: string;
  /** One line for `--help` and the README. */
  readonly help: string;
  /** The default in words, where it is not just a value. */
  readonly defaultText?: string;
  /** Never printed, neither by `--help` nor in an error. */
  readonly secret?: true;
  /** The value when the variable is unset or empty. */
  readonly fallback: (env: NodeJS.ProcessEnv) => T;
  /** Reads the text; throws an `Error` whose message completes "NAME …". */
  readonly parse: (text: string) => T;
}

/** The volume when no setting names one. */
function defaultCacheDir(env: NodeJS.ProcessEnv): string {
  if (env.RAILWAY_VOLUME_MOUNT_PATH) return resolve(env.RAILWAY_VOLUME_MOUNT_PATH);
  // Every image has it. If it cannot be written, it may still hold a whole model, or the reason is reported.
  return existsSync('/data/models') ? '/data/models' : resolve('volume');
}

/** The variant that the environment names; a name that is wrong is reported by its own setting. */
function variantOf(env: NodeJS.ProcessEnv): Variant {
  const variant = env.MODEL_VARIANT?.trim().toLowerCase();
  return VARIANTS.find((name) => name === variant) ?? 'q8';
}

function setting<T>(of: Setting<T>): Setting<T> {
  return of;
}

/** A text that has no default. */
function optional(env: string, help: string, more: Partial<Setting<string | undefined>> = {}) {
  return setting<string | undefined>({
    ...{ env, help, defaultText: 'none', fallback: () => undefined, parse: (text: string) => text },
    ...more,
  });
}

/** A whole number within bounds; by default a time of up to an hour. */
function whole(
  env: string,
  help: string,
  value: number,
  [min, max]: readonly [number, number] = [1, 3_600_000],
) {
  return setting({ env, help, fallback: () => value, parse: integer(min, max) });
}

/** A switch that is off by default. */
function onOff(env: string, help: string) {
  return setting({ env, help, fallback: () => false, parse: flag });
}

/** Every setting, in the order of `--help`. Times are milliseconds where the name ends in `_MS`. */
export const SETTINGS = {
  port: whole('PORT', 'TCP port to listen on; 0 takes a free one', 3000, [0, 65_535]),
  host: optional('HOST', 'address to listen on', { defaultText: '`::` (IPv6 and IPv4)' }),
  cacheDir: setting({
    env: 'MODEL_CACHE_DIR',
    help: 'the volume that keeps the verified model',
    defaultText: '`$RAILWAY_VOLUME_MOUNT_PATH`, else `/data/models` if it exists, else `./volume`',
    fallback: defaultCacheDir,
    parse: (text) => resolve(text),
  }),
  requireMount: setting({
    env: 'REQUIRE_MOUNT',
    help: 'fail at start if the volume is not a mount point, so that nothing is cached on a disk that ends with the container',
    defaultText: '`true` on Railway, else `false`',
    fallback: (env) => env.RAILWAY_ENVIRONMENT_ID !== undefined,
    parse: flag,
  }),
  withoutVolume: setting({
    env: 'WITHOUT_VOLUME',
    help: 'while the volume is unusable: `wait` for it, or serve from `memory`, degraded',
    fallback: () => 'wait' as const,
    parse: oneOf('wait', 'memory'),
  }),
  manifestFile: setting({
    env: 'MODEL_MANIFEST',
    help: 'manifest that pins the model',
    defaultText: 'the built-in one of `MODEL_VARIANT`',
    fallback: (env) => builtInManifest(variantOf(env)),
    parse: (text) => resolve(text),
  }),
  variant: setting<Variant>({
    env: 'MODEL_VARIANT',
    help: 'which built-in model: `q8` (23 MB, bundled), `q8-dynamic` (the same file without fixed scales) or `fp32` (90 MB); ignored beside `MODEL_MANIFEST`',
    fallback: () => 'q8',
    parse: oneOf(...VARIANTS),
  }),
  sources: setting<readonly SourceKind[]>({
    env: 'MODEL_SOURCES',
    help: 'sources of missing files, in the order in which they are tried',
    defaultText: '`bundled,mirror,hub`',
    fallback: () => SOURCE_KINDS,
    parse: sourceOrder,
  }),
  bundledDir: setting({
    env: 'MODEL_BUNDLED_DIR',
    help: 'folder of the `bundled` source',
    defaultText: 'the built-in `model/`',
    fallback: () => resolve(PACKAGE_ROOT, 'model'),
    parse: (text) => resolve(text),
  }),
  mirrors: setting<readonly string[]>({
    env: 'MODEL_MIRRORS',
    help: 'comma-separated URLs of your own mirrors: a file tree, or a .tar.gz / .tar',
    defaultText: 'none',
    fallback: () => [],
    parse: (text) => list(text).map(httpUrl),
  }),
  mirrorToken: optional('MODEL_MIRROR_TOKEN', 'Bearer token for mirrors whose URL has no user and password', {
    secret: true,
  }),
  hubEndpoint: setting({
    env: 'HF_ENDPOINT',
    help: 'base URL of the Hugging Face hub',
    fallback: () => 'https://huggingface.co',
    parse: httpUrl,
  }),
  hubToken: optional('HF_TOKEN', 'token for the hub; sent to its own host only', { secret: true }),
  hubOffline: onOff('HF_HUB_OFFLINE', 'never ask the hub'),
  routesFile: setting({
    env: 'ROUTES_FILE',
    help: 'route set (YAML or JSON), watched while serving',
    defaultText: 'the built-in `routes/default.yaml`',
    fallback: () => resolve(PACKAGE_ROOT, 'routes/default.yaml'),
    parse: (text) => resolve(text),
  }),
  routesUrl: optional(
    'ROUTES_URL',
    'instead of a file: `/routes` of another daemon, or a routes file on any web server, whose routes are followed; changes over HTTP are refused here',
    { parse: httpUrl },
  ),
  routesUrlToken: optional(
    'ROUTES_URL_TOKEN',
    'Bearer token for `ROUTES_URL`, such as one of the API_KEYS of that daemon',
    { secret: true },
  ),
  routesPollMs: whole(
    'ROUTES_POLL_MS',
    'mean time between two requests to `ROUTES_URL`; each wait is half to one and a half times this',
    2_000,
    [100, 3_600_000],
  ),
  classifyMethod: setting<ScoringMethod>({
    env: 'CLASSIFY_METHOD',
    help: 'scoring of routes: `head` (trained), `nearest` (utterances), or `auto`: a head where there is enough to train on; a route set may name its own (`method`)',
    fallback: () => 'auto',
    parse: oneOf(...SCORING_METHODS),
  }),
  verifyCron: setting({
    env: 'VERIFY_CRON',
    help: 'cron expression of full verifications of the volume',
    fallback: () => '17 * * * *',
    parse: cron,
  }),
  workers: setting({
    env: 'INFERENCE_WORKERS',
    help: 'inference processes, one thread each',
    defaultText: 'one per core, within the CPU quota and the memory limit of the container',
    fallback: (env) => machineLimits(variantOf(env)).workers,
    parse: integer(1, 256),
  }),
  maxQueue: whole(
    'MAX_QUEUE',
    'maximum number of texts that wait for inference; further requests get 503',
    2_048,
    [1, 1_000_000],
  ),
  maxQueueMs: whole(
    'MAX_QUEUE_MS',
    'maximum estimated queueing time; requests that would wait longer get 503',
    500,
  ),
  embeddingCacheBytes: whole(
    'EMBEDDING_CACHE_BYTES',
    'memory for the embeddings of repeated texts; 0 disables the cache',
    32 * 2 ** 20,
    [0, 2 ** 40],
  ),
  maxTextChars: whole(
    'MAX_TEXT_CHARS',
    'maximum length of a text, in characters (Unicode code points)',
    20_000,
    [1, 1_000_000],
  ),
  maxBatch: whole('MAX_BATCH', 'maximum number of texts in one request', 256, [1, 100_000]),
  maxBodyBytes: whole('MAX_BODY_BYTES', 'maximum size of a request body, in bytes', 4 * 2 ** 20, [
    1_024,
    2 ** 30,
  ]),
  maxConnections: whole(
    'MAX_CONNECTIONS',
    'maximum number of connections; further ones are closed',
    1_000,
    [1, 1_000_000],
  ),
  maxHeaders: whole('MAX_HEADERS', 'maximum number of headers of one request', 100, [1, 10_000]),
  maxHeaderBytes: whole(
    'MAX_HEADER_BYTES',
    "maximum size of a request's line and headers, in bytes",
    16_384,
    [512, 2 ** 20],
  ),
  headersTimeoutMs: whole('HEADERS_TIMEOUT_MS', "time for a request's headers to arrive", 15_000),
  bodyTimeoutMs: whole('BODY_TIMEOUT_MS', 'time for a request body to arrive after its headers', 30_000),
  keepAliveMs: whole(
    'KEEP_ALIVE_MS',
    'idle time of a connection between requests; longer than that of proxies, so that they close first',
    65_000,
  ),
  sendTimeoutMs: whole('SEND_TIMEOUT_MS', 'time that a client may read nothing of its response', 30_000),
  requestTimeoutMs: whole('REQUEST_TIMEOUT_MS', 'time for one classification, queueing included', 30_000),
  shutdownDelayMs: whole(
    'SHUTDOWN_DELAY_MS',
    'time after SIGTERM in which `/readyz` says 503 and requests are still accepted, so that load balancers look away first',
    0,
    [0, 600_000],
  ),
  drainMs: whole(
    'DRAIN_MS',
    'time for open requests after SIGTERM and `SHUTDOWN_DELAY_MS`',
    10_000,
    [0, 600_000],
  ),
  apiKeys: setting<readonly string[]>({
    env: 'API_KEYS',
    help: 'comma-separated keys of 16 characters or more, plain or `sha256:<hex>`; if set, all but health, page and API description need one (`Authorization: Bearer`)',
    defaultText: 'none',
    secret: true,
    fallback: () => [],
    parse: keys,
  }),
  adminKeys: setting<readonly string[]>({
    env: 'ADMIN_KEYS',
    help: 'keys for admin endpoints (403 if unset); an admin key is accepted everywhere else, too',
    defaultText: 'none',
    secret: true,
    fallback: () => [],
    parse: keys,
  }),
  apiKeysFile: optional(
    'API_KEYS_FILE',
    'file with further `API_KEYS`, one a line, as secrets are mounted; read again when it changes',
    { parse: (text) => resolve(text) },
  ),
  adminKeysFile: optional('ADMIN_KEYS_FILE', 'the same with `ADMIN_KEYS`', {
    parse: (text) => resolve(text),
  }),
  rateLimit: setting<RateLimit | undefined>({
    env: 'RATE_LIMIT',
    help: 'maximum rate of one key, or of one address without a key, such as `600/minute`; further requests get 429',
    defaultText: 'none',
    fallback: () => undefined,
    parse: rate,
  }),
  trustedProxy: setting<TrustedProxy>({
    env: 'TRUST_PROXY',
    help: 'source of client addresses: `none` (the connection), `x-real-ip`, or the number of proxies that append to `X-Forwarded-For`',
    defaultText: '`x-real-ip` on Railway, else `none`',
    fallback: (env) => ({ kind: env.RAILWAY_ENVIRONMENT_ID === undefined ? 'none' : 'real-ip' }),
    parse: proxy,
  }),
  corsOrigins: setting<readonly string[]>({
    env: 'CORS_ORIGINS',
    help: 'comma-separated origins whose pages may call from a browser, or `*`',
    defaultText: 'none',
    fallback: () => [],
    parse: (text) => list(text).map(origin),
  }),
  allowedHosts: setting<readonly string[]>({
    env: 'ALLOWED_HOSTS',
    help: 'comma-separated values of `Host` that are answered besides IP addresses and localhost: names, `.suffixes`, or `*`; health endpoints answer any. Keeps pages of other sites from calling by DNS rebinding',
    defaultText:
      "any with API_KEYS; else names without a dot, `.local`, `.internal`, `.svc`, and Railway's domains",
    fallback: (env) => {
      if (env.API_KEYS || env.API_KEYS_FILE) return ['*'];
      return [
        ...PRIVATE_HOSTS,
        ...(env.RAILWAY_PUBLIC_DOMAIN ? [env.RAILWAY_PUBLIC_DOMAIN.toLowerCase()] : []),
      ];
    },
    parse: hosts,
  }),
  serveModel: onOff('SERVE_MODEL', 'serve the verified model files to other instances and to hub clients'),
  fallbackUrl: optional(
    'FALLBACK_URL',
    'a larger server of `/v1/systemone`, asked for choices of decision calls of which no option reaches its threshold; it is sent the texts of those calls',
    { parse: httpUrl },
  ),
  fallbackApiKey: optional('FALLBACK_API_KEY', 'Bearer token for `FALLBACK_URL`', { secret: true }),
  fallbackApiKeyFile: optional(
    'FALLBACK_API_KEY_FILE',
    'file with that token instead, read for each request',
    { parse: (text) => resolve(text) },
  ),
  fallbackModel: setting({
    env: 'FALLBACK_MODEL',
    help: 'the `model` that `FALLBACK_URL` is asked for',
    fallback: () => 'jev-latest',
    parse: (text) => text,
  }),
  fallbackTimeoutMs: whole(
    'FALLBACK_TIMEOUT_MS',
    "time for its answer, within that of the request; then the daemon's own answer is sent",
    2_000,
    [1, 600_000],
  ),
  fallbackShare: setting({
    env: 'FALLBACK_SHARE',
    help: 'largest share of decision calls with a choice that it is asked about, above 0 and up to 1',
    fallback: () => 0.1,
    parse: share,
  }),
  logLevel: setting({
    env: 'LOG_LEVEL',
    help: '`fatal`, `error`, `warn`, `info`, `debug`, `trace` or `silent`',
    fallback: () => 'info' as const,
    parse: oneOf('fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'),
  }),
  logFormat: setting({
    env: 'LOG_FORMAT',
    help: '`json` (one object a line), `pretty`, or `auto`: pretty on a terminal',
    fallback: () => 'auto' as const,
    parse: oneOf('auto', 'json', 'pretty'),
  }),
  // Platforms set these for all their programs: none of them ends the start. `planTracing` says what is not supported.
  otelEndpoint: optional(
    'OTEL_EXPORTER_OTLP_ENDPOINT',
    'OpenTelemetry collector (OTLP over HTTP, usually port 4318) that receives spans of requests',
  ),
  otelTracesEndpoint: optional(
    'OTEL_EXPORTER_OTLP_TRACES_ENDPOINT',
    'the same for spans alone, with its path',
  ),
  otelProtocol: setting({
    env: 'OTEL_EXPORTER_OTLP_PROTOCOL',
    help: '`http/json`; `http/protobuf` is accepted and sent as JSON, which collectors take as well; with `grpc` no spans are sent, and a warning says so',
    fallback: () => 'http/json',
    parse: (text) => text,
  }),
  otelTracesProtocol: optional('OTEL_EXPORTER_OTLP_TRACES_PROTOCOL', 'the same for spans alone', {
    defaultText: '`OTEL_EXPORTER_OTLP_PROTOCOL`',
  }),
  tracesExporter: optional(
    'OTEL_TRACES_EXPORTER',
    '`otlp` sends spans, `none` sends none; others are not supported, which a warning says',
    { defaultText: '`otlp` where an endpoint is set, else `none`' },
  ),
  otelServiceName: setting({
    env: 'OTEL_SERVICE_NAME',
    help: 'the name that spans carry; the other standard `OTEL_` variables of exporter, batches, sampler and resource apply as well',
    fallback: () => 'ai-router',
    parse: (text) => text,
  }),
  otelDisabled: setting({
    env: 'OTEL_SDK_DISABLED',
    help: '`true` sends no spans, whatever the other variables say, and silences warnings about them',
    fallback: () => false,
    parse: (text) => /^(true|1|yes|on)$/i.test(text),
  }),
} as const;

/** A setting or a command that is gone. */
export interface Retired {
  readonly name: string;
  /** The advice that completes "NAME is gone: …". */
  readonly successor: string;
}

/** Settings that earlier versions had. One that is still set is named at start. */
export const RETIRED_SETTINGS: readonly Retired[] = [];

/** Commands that earlier versions had. */
export const RETIRED_COMMANDS: readonly Retired[] = [
  {
    name: 'drill',
    successor: 'copy the cache folder, damage the copy, and run "ai-router verify --repair --cache-dir COPY"',
  },
];

/** The retired settings that are still set. */
export function retiredIn(env: NodeJS.ProcessEnv, retired: readonly Retired[] = RETIRED_SETTINGS): Retired[] {
  return retired.filter(({ name }) => (env[name] ?? '').trim() !== '');
}
