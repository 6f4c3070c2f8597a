import { accessSync, constants } from 'node:fs';
import { availableParallelism } from 'node:os';
import { resolve } from 'node:path';
import { isSchedule } from '../cache/triggers.js';
import type { TrustedProxy } from '../http/client-address.js';
import type { RateLimit } from '../http/rate-limit.js';
import { SCORING_METHODS, type ScoringMethod } from '../routes/scoring-method.js';
import { keys, list, origin, proxy, rate } from './access-settings.js';
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

const SOURCE_KINDS = ['bundled', 'mirror', 'hub'] as const;

/** The kinds of source that `MODEL_SOURCES` may list. */
export type SourceKind = (typeof SOURCE_KINDS)[number];

function integer(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!/^\d+$/.test(text) || value < min || value > max) {
      throw new Error(`must be a whole number from ${min} to ${max}, not "${text}"`);
    }
    return value;
  };
}

function oneOf<const T extends string>(...allowed: readonly T[]): (text: string) => T {
  return (text) => {
    const found = allowed.find((candidate) => candidate === text.toLowerCase());
    if (!found) throw new Error(`must be one of ${allowed.join(', ')}, not "${text}"`);
    return found;
  };
}

/** An http(s) URL. The text is not repeated in the error: it may hold a password or a signature. */
function httpUrl(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.protocol !== 'http:' && url?.protocol !== 'https:') {
    throw new Error('must be a URL that starts with http:// or https://');
  }
  return text;
}

function flag(text: string): boolean {
  if (/^(1|true|yes|on)$/i.test(text)) return true;
  if (/^(0|false|no|off)$/i.test(text)) return false;
  throw new Error(`must be true or false, not "${text}"`);
}

function sourceOrder(text: string): readonly SourceKind[] {
  const kinds = list(text).map(oneOf(...SOURCE_KINDS));
  if (kinds.length === 0) throw new Error(`must name at least one of ${SOURCE_KINDS.join(', ')}`);
  if (new Set(kinds).size < kinds.length) throw new Error('must not name a source twice');
  return kinds;
}

/** Where the volume is when nobody says so. */
function defaultCacheDir(env: NodeJS.ProcessEnv): string {
  if (env.RAILWAY_VOLUME_MOUNT_PATH) return resolve(env.RAILWAY_VOLUME_MOUNT_PATH);
  try {
    accessSync('/data/models', constants.W_OK);
    return '/data/models';
  } catch {
    return resolve('volume');
  }
}

function setting<T>(of: Setting<T>): Setting<T> {
  return of;
}

/** Every setting, in the order of `--help`. Times are milliseconds where the name ends in `_MS`. */
export const SETTINGS = {
  port: setting({
    env: 'PORT',
    help: 'TCP port to listen on; 0 takes a free one',
    fallback: () => 3000,
    parse: integer(0, 65_535),
  }),
  host: setting<string | undefined>({
    env: 'HOST',
    help: 'address to listen on',
    defaultText: '`::` (IPv6 and IPv4)',
    fallback: () => undefined,
    parse: (text) => text,
  }),
  cacheDir: setting({
    env: 'MODEL_CACHE_DIR',
    help: 'the volume that keeps the verified model',
    defaultText: '`$RAILWAY_VOLUME_MOUNT_PATH`, else `/data/models` if writable, else `./volume`',
    fallback: defaultCacheDir,
    parse: (text) => resolve(text),
  }),
  requireMount: setting({
    env: 'REQUIRE_MOUNT',
    help: 'whether the volume must be a mount, so that a container never fills a disk that goes away with it',
    defaultText: '`true` on Railway, else `false`',
    fallback: (env) => env.RAILWAY_ENVIRONMENT_ID !== undefined,
    parse: flag,
  }),
  withoutVolume: setting({
    env: 'WITHOUT_VOLUME',
    help: 'what to do while the volume is unusable: `wait` for it, or serve from `memory`, degraded',
    fallback: () => 'wait' as const,
    parse: oneOf('wait', 'memory'),
  }),
  manifestFile: setting({
    env: 'MODEL_MANIFEST',
    help: 'manifest that pins the model',
    defaultText: 'the built-in one of `MODEL_VARIANT`',
    fallback: (env) => builtInManifest(env.MODEL_VARIANT?.trim().toLowerCase() === 'fp32' ? 'fp32' : 'q8'),
    parse: (text) => resolve(text),
  }),
  variant: setting<Variant>({
    env: 'MODEL_VARIANT',
    help: 'which built-in model: `q8` (23 MB, bundled) or `fp32` (90 MB); ignored beside `MODEL_MANIFEST`',
    fallback: () => 'q8',
    parse: oneOf(...VARIANTS),
  }),
  sources: setting<readonly SourceKind[]>({
    env: 'MODEL_SOURCES',
    help: 'where missing files may come from, the first that delivers wins',
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
  hubEndpoint: setting({
    env: 'HF_ENDPOINT',
    help: 'the hub',
    fallback: () => 'https://huggingface.co',
    parse: httpUrl,
  }),
  hubToken: setting<string | undefined>({
    env: 'HF_TOKEN',
    help: 'token for the hub; sent to its own host only',
    defaultText: 'none',
    secret: true,
    fallback: () => undefined,
    parse: (text) => text,
  }),
  hubOffline: setting({
    env: 'HF_HUB_OFFLINE',
    help: 'never ask the hub',
    fallback: () => false,
    parse: flag,
  }),
  routesFile: setting({
    env: 'ROUTES_FILE',
    help: 'route set (YAML or JSON), watched while serving',
    defaultText: 'the built-in `routes/default.yaml`',
    fallback: () => resolve(PACKAGE_ROOT, 'routes/default.yaml'),
    parse: (text) => resolve(text),
  }),
  classifyMethod: setting<ScoringMethod>({
    env: 'CLASSIFY_METHOD',
    help: 'how routes are scored: `head` (trained), `nearest` (utterances), or `auto`: a head where there is enough to train on; a route set may name its own (`method`)',
    fallback: () => 'auto',
    parse: oneOf(...SCORING_METHODS),
  }),
  verifyCron: setting({
    env: 'VERIFY_CRON',
    help: 'when to verify the whole volume (cron)',
    fallback: () => '17 * * * *',
    parse: (text) => {
      if (!isSchedule(text)) throw new Error(`must be a cron expression such as "17 * * * *", not "${text}"`);
      return text;
    },
  }),
  workers: setting({
    env: 'INFERENCE_WORKERS',
    help: 'inference processes, one thread each',
    defaultText: 'one per available core',
    fallback: () => availableParallelism(),
    parse: integer(1, 256),
  }),
  maxQueue: setting({
    env: 'MAX_QUEUE',
    help: 'texts that may wait for inference, the last bound after MAX_QUEUE_MS; beyond it requests get 503',
    fallback: () => 2_048,
    parse: integer(1, 1_000_000),
  }),
  maxQueueMs: setting({
    env: 'MAX_QUEUE_MS',
    help: 'longest wait for inference in a burst, estimated; beyond it requests get 503, in lasting overload from a fortieth of it',
    fallback: () => 1_000,
    parse: integer(1, 3_600_000),
  }),
  embeddingCacheBytes: setting({
    env: 'EMBEDDING_CACHE_BYTES',
    help: 'memory for the embeddings of repeated texts; 0 remembers none, nor answers to repeated requests',
    fallback: () => 32 * 2 ** 20,
    parse: integer(0, 2 ** 40),
  }),
  maxTextChars: setting({
    env: 'MAX_TEXT_CHARS',
    help: 'longest text, in characters (Unicode code points)',
    fallback: () => 20_000,
    parse: integer(1, 1_000_000),
  }),
  maxBatch: setting({
    env: 'MAX_BATCH',
    help: 'most texts in one request',
    fallback: () => 256,
    parse: integer(1, 100_000),
  }),
  maxBodyBytes: setting({
    env: 'MAX_BODY_BYTES',
    help: 'largest request body, in bytes',
    fallback: () => 4 * 2 ** 20,
    parse: integer(1_024, 2 ** 30),
  }),
  maxConnections: setting({
    env: 'MAX_CONNECTIONS',
    help: 'most connections at once; further ones are closed',
    fallback: () => 1_000,
    parse: integer(1, 1_000_000),
  }),
  maxHeaders: setting({
    env: 'MAX_HEADERS',
    help: 'most headers of one request',
    fallback: () => 100,
    parse: integer(1, 10_000),
  }),
  maxHeaderBytes: setting({
    env: 'MAX_HEADER_BYTES',
    help: "size of one request's line and headers, in bytes",
    fallback: () => 16_384,
    parse: integer(512, 2 ** 20),
  }),
  headersTimeoutMs: setting({
    env: 'HEADERS_TIMEOUT_MS',
    help: "time for a request's headers to arrive",
    fallback: () => 15_000,
    parse: integer(1, 3_600_000),
  }),
  bodyTimeoutMs: setting({
    env: 'BODY_TIMEOUT_MS',
    help: 'time for its body to arrive after them',
    fallback: () => 30_000,
    parse: integer(1, 3_600_000),
  }),
  keepAliveMs: setting({
    env: 'KEEP_ALIVE_MS',
    help: 'how long a connection may idle between requests; longer than proxies do, so that they close first',
    fallback: () => 65_000,
    parse: integer(1, 3_600_000),
  }),
  sendTimeoutMs: setting({
    env: 'SEND_TIMEOUT_MS',
    help: 'how long a client may take nothing of its answer',
    fallback: () => 30_000,
    parse: integer(1, 3_600_000),
  }),
  requestTimeoutMs: setting({
    env: 'REQUEST_TIMEOUT_MS',
    help: 'time for one classification, waiting included',
    fallback: () => 30_000,
    parse: integer(1, 3_600_000),
  }),
  drainMs: setting({
    env: 'DRAIN_MS',
    help: 'time for open requests after SIGTERM',
    fallback: () => 10_000,
    parse: integer(0, 600_000),
  }),
  apiKeys: setting<readonly string[]>({
    env: 'API_KEYS',
    help: 'comma-separated keys, plain or `sha256:<hex>`; with any, all but health, page and contract want one (bearer)',
    defaultText: 'none',
    secret: true,
    fallback: () => [],
    parse: keys,
  }),
  adminKeys: setting<readonly string[]>({
    env: 'ADMIN_KEYS',
    help: 'the same for admin paths, which answer 403 without any; they open all other paths, too',
    defaultText: 'none',
    secret: true,
    fallback: () => [],
    parse: keys,
  }),
  rateLimit: setting<RateLimit | undefined>({
    env: 'RATE_LIMIT',
    help: 'requests of one key, or of one address without a key, such as `600/minute`; beyond it they get 429',
    defaultText: 'none',
    fallback: () => undefined,
    parse: rate,
  }),
  trustedProxy: setting<TrustedProxy>({
    env: 'TRUST_PROXY',
    help: 'who says where a request comes from: `none`, `x-real-ip`, or how many proxies append to `X-Forwarded-For`',
    defaultText: '`x-real-ip` on Railway, else `none`',
    fallback: (env) => ({ kind: env.RAILWAY_ENVIRONMENT_ID === undefined ? 'none' : 'real-ip' }),
    parse: proxy,
  }),
  corsOrigins: setting<readonly string[]>({
    env: 'CORS_ORIGINS',
    help: 'comma-separated origins whose pages may ask from a browser, or `*`',
    defaultText: 'none',
    fallback: () => [],
    parse: (text) => list(text).map(origin),
  }),
  serveModel: setting({
    env: 'SERVE_MODEL',
    help: 'serve the verified model files to other instances and to hub clients',
    fallback: () => false,
    parse: flag,
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
  otelEndpoint: setting<string | undefined>({
    env: 'OTEL_EXPORTER_OTLP_ENDPOINT',
    help: 'OpenTelemetry collector (OTLP over HTTP, usually port 4318) that spans of requests are sent to',
    defaultText: 'none',
    fallback: () => undefined,
    parse: httpUrl,
  }),
  otelProtocol: setting({
    env: 'OTEL_EXPORTER_OTLP_PROTOCOL',
    help: '`http/json` is what is sent, also for `http/protobuf`: collectors take both; there is no `grpc`',
    fallback: () => 'http/json' as const,
    parse: oneOf('http/json', 'http/protobuf'),
  }),
  tracesExporter: setting({
    env: 'OTEL_TRACES_EXPORTER',
    help: '`otlp` sends spans, `none` sends none',
    defaultText: '`otlp` where an endpoint is set, else `none`',
    fallback: (env) =>
      env.OTEL_EXPORTER_OTLP_ENDPOINT?.trim() || env.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT?.trim()
        ? 'otlp'
        : 'none',
    parse: oneOf('otlp', 'none'),
  }),
  otelServiceName: setting({
    env: 'OTEL_SERVICE_NAME',
    help: 'the name that spans carry; the other standard `OTEL_` variables of exporter, batches, sampler and resource hold too',
    fallback: () => 'ai-router',
    parse: (text) => text,
  }),
  otelDisabled: setting({
    env: 'OTEL_SDK_DISABLED',
    help: 'send no spans, whatever the other variables say',
    fallback: () => false,
    parse: flag,
  }),
} as const;
