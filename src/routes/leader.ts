import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ROUTE_LIMITS } from '../api/limits.js';
import { ensureDirectory, readSmall, writeAtomic } from '../cache/disk.js';
import type { Layout } from '../cache/layout.js';
import { contentLengthOf, headerOf, overLimitFault } from '../cache/sources/faults.js';
import { HttpClient } from '../cache/sources/http-client.js';
import { WIRE_DEFAULTS, type WireLimits } from '../cache/sources/retry.js';
import { type BaseUrl, exactUrl, parseBaseUrl, redactUrl } from '../cache/sources/url.js';
import { throwIfAborted } from '../shared/concurrent.js';
import { AppError, messageOf } from '../shared/errors.js';
import type { Log } from '../shared/log.js';
import { parseDraft } from './drafts.js';
import { faultOf, type RouteFileFault, type RouteFileOptions, type RouteFileStatus } from './file.js';
import { type RouteSet, routeSetToJson } from './set.js';

/** Bounds on one request to the leader; a slow one must not keep the next answer away for long. Times in ms. */
const LEADER_LIMITS: WireLimits = {
  ...WIRE_DEFAULTS,
  connectTimeoutMs: 3_000,
  headersTimeoutMs: 5_000,
  idleTimeoutMs: 5_000,
  fileDeadlineMs: 60_000,
};

/** At most four bytes for each character that a set may have. */
const MAX_BYTES = 4 * ROUTE_LIMITS.textChars;

/** Options of {@link RouteLeader}. */
export interface RouteLeaderOptions {
  /** A daemon's `/routes`, or a routes file on any web server. */
  readonly url: string;
  readonly token?: string | undefined;
  /** Mean time between two requests in ms; each wait is between half and one and a half times this. */
  readonly pollMs: number;
  /** The volume that keeps the last good set. */
  readonly layout: Layout;
  readonly apply: RouteFileOptions['apply'];
  readonly log: Log;
  /** Bounds that differ from {@link LEADER_LIMITS}. */
  readonly limits?: Partial<WireLimits>;
}

/** A content of the leader that came to an end: served, or refused for good. */
interface Settled {
  readonly etag: string | undefined;
  readonly sha256: string;
  readonly fault: RouteFileFault | undefined;
}

/**
 * Follows the routes of a leader by their ETag. Whatever the leader answers, the last good set is served: from memory,
 * and after a restart from the volume. Without any set, `start` waits for the leader.
 */
export class RouteLeader {
  readonly #options: RouteLeaderOptions;
  readonly #base: BaseUrl;
  /** The address without secrets. */
  readonly address: string;
  readonly #limits: WireLimits;
  readonly #client: HttpClient;
  readonly #stop = new AbortController();
  #set: RouteSet | undefined;
  #loadedAt: Date | undefined;
  #confirmedAt: number | undefined;
  #settled: Settled | undefined;
  #error: RouteFileFault | undefined;
  #loop: Promise<void> | undefined;
  /** Why a set was not applied that is not at fault itself. */
  #failure: unknown;
  /** Last remark on the set as a whole. */
  #remark: string | undefined;

  /** @throws AppError `config_invalid` */
  constructor(options: RouteLeaderOptions) {
    this.#options = options;
    this.#base = parseBaseUrl(options.url, options.token);
    this.address = redactUrl(this.#base.url);
    this.#limits = { ...LEADER_LIMITS, ...options.limits };
    this.#client = new HttpClient(this.#base, this.#limits);
  }

  /** Seconds since the leader confirmed the routes that are served; `undefined` before it did. */
  get ageSeconds(): number | undefined {
    return this.#confirmedAt === undefined
      ? undefined
      : Math.round((performance.now() - this.#confirmedAt) / 100) / 10;
  }

  /**
   * Applies the leader's routes, or while it is away those of the volume, and begins to follow. May be called again for
   * another model.
   * @throws what `apply` throws where the set is not at fault; AppError `aborted`
   */
  async start({ signal }: { readonly signal?: AbortSignal } = {}): Promise<void> {
    const both = signal ? AbortSignal.any([signal, this.#stop.signal]) : this.#stop.signal;
    if (this.#set) await this.#options.apply(this.#set, { signal: both });
    this.#failure = undefined;
    while (!this.#set) {
      await this.#poll(both);
      if (!this.#set) await this.#applySaved(both);
      // The model failed, not the leader: the caller loads it again.
      if (this.#failure) throw this.#failure;
      if (!this.#set) await this.#pause(both);
    }
    this.#loop ??= this.#follow();
  }

  status(): RouteFileStatus {
    return {
      file: this.address,
      digest: this.#set?.digest,
      loadedAt: this.#loadedAt,
      loading: false,
      error: this.#error,
    };
  }

  async close(): Promise<void> {
    this.#stop.abort(new AppError('draining', 'shutting down'));
    await this.#client.close();
    await this.#loop;
  }

  async #follow(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      await this.#pause(signal).then(
        () => this.#poll(signal),
        () => undefined,
      );
    }
  }

  /** Waits with jitter, so that a thousand replicas that began together do not ask together. */
  async #pause(signal: AbortSignal): Promise<void> {
    await sleep(this.#options.pollMs * (0.5 + Math.random()), undefined, { signal });
  }

  /** Asks once. Rejects only when `signal` is aborted. */
  async #poll(signal: AbortSignal): Promise<void> {
    try {
      await this.#ask(signal);
      this.#error = this.#settled?.fault;
      if (!this.#error) this.#confirmedAt = performance.now();
    } catch (error) {
      if (signal.aborted && this.#stop.signal.aborted) return;
      throwIfAborted(signal);
      const fault = faultOf(error);
      if (fault.message !== this.#error?.message) {
        const faults = fault.message.split('\n');
        const fields = { code: fault.code, digest: this.#set?.digest, faults };
        this.#options.log.error(fields, 'routes of the leader not taken');
      }
      this.#error = fault;
    }
  }

  async #ask(signal: AbortSignal): Promise<void> {
    const { etag } = this.#settled ?? {};
    const answer = await this.#client.get({
      url: exactUrl(this.#base),
      label: 'routes',
      signal,
      deadline: performance.now() + this.#limits.fileDeadlineMs,
      ...(etag !== undefined && { headers: { 'if-none-match': etag } }),
    });
    const { status, headers, place, body } = answer;
    try {
      if (status === 304 && this.#settled) return;
      if (status !== 200) throw refusal(status, place);
      // Refused at once where the leader says how long it is.
      if ((contentLengthOf(headers) ?? 0) > MAX_BYTES) throw overLimitFault(place, MAX_BYTES);
      await this.#take(
        await body.all(MAX_BYTES),
        headerOf(headers, 'etag'),
        headerOf(headers, 'content-type') ?? '',
        signal,
      );
    } finally {
      body.close();
    }
  }

  async #take(bytes: Buffer, etag: string | undefined, type: string, signal: AbortSignal): Promise<void> {
    const sha256 = createHash('sha256').update(bytes).digest('hex');
    if (sha256 === this.#settled?.sha256) {
      this.#settled = { ...this.#settled, etag };
      return;
    }
    const isJson = /\bjson\b/i.test(type) || this.#base.url.pathname.endsWith('.json');
    const options = { origin: this.address, format: isJson ? 'json' : 'yaml', isServed: true } as const;
    try {
      const set = await parseDraft({ text: textOf(bytes), options }, signal);
      await this.#apply(set, signal);
      this.#settled = { etag, sha256, fault: undefined };
      this.#options.log.info({ leader: this.address, digest: set.digest }, 'routes of the leader loaded');
      this.#tellOfVersion(set);
      await this.#save(set);
    } catch (error) {
      // Asked again, it would be refused again; anything else may pass.
      const final = error instanceof AppError && error.code === 'routes_invalid';
      this.#settled = final ? { etag, sha256, fault: faultOf(error) } : undefined;
      throw error;
    }
  }

  async #apply(set: RouteSet, signal: AbortSignal): Promise<void> {
    try {
      await this.#options.apply(set, { signal });
    } catch (error) {
      if (!(error instanceof AppError) || error.code !== 'routes_invalid') this.#failure = error;
      throw error;
    }
    this.#set = set;
    this.#loadedAt = new Date();
  }

  /** Says once what a newer leader sends that this version leaves out. */
  #tellOfVersion({ warnings }: RouteSet): void {
    const remark = warnings.find(({ path }) => path === '')?.message;
    if (remark !== undefined && remark !== this.#remark)
      this.#options.log.warn({ leader: this.address }, `routes of the leader: ${remark}`);
    this.#remark = remark;
  }

  get #savedPath(): string {
    return join(this.#options.layout.routes, 'leader.json');
  }

  async #save(set: RouteSet): Promise<void> {
    const { routes, ingest } = this.#options.layout;
    try {
      for (const folder of [routes, ingest]) await ensureDirectory(folder);
      const saved = { leader: this.address, set: { digest: set.digest, ...routeSetToJson(set) } };
      await writeAtomic(this.#savedPath, `${JSON.stringify(saved)}\n`, ingest);
    } catch (error) {
      this.#options.log.warn({ reason: messageOf(error) }, 'routes of the leader not kept on the volume');
    }
  }

  /** Applies the set of the volume, if it came from this leader and is whole. */
  async #applySaved(signal: AbortSignal): Promise<void> {
    try {
      const bytes = await readSmall(this.#savedPath, MAX_BYTES);
      const { leader, set: saved } = JSON.parse(bytes?.toString('utf8') ?? '{}');
      if (leader !== this.address) return;
      const options = { origin: 'routes/leader.json', format: 'json', isServed: true } as const;
      const set = await parseDraft({ text: JSON.stringify(saved), options }, signal);
      await this.#apply(set, signal);
      this.#options.log.warn(
        { digest: set.digest },
        'leader away: the last good routes of the volume are served',
      );
    } catch (error) {
      throwIfAborted(signal);
      this.#options.log.warn({ reason: messageOf(error) }, 'no routes of the leader on the volume');
    }
  }
}

function refusal(status: number, place: string): AppError {
  const message = `${place}: answered ${status}`;
  if (status === 401 || status === 403)
    return new AppError('source_unauthorized', `${message}; set ROUTES_URL_TOKEN to a key of the leader`);
  if (status === 404 || status === 410) return new AppError('source_not_found', message);
  return new AppError(status >= 500 || status === 429 ? 'source_unreachable' : 'source_refused', message);
}

function textOf(bytes: Buffer): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new AppError('routes_invalid', 'the answer is not UTF-8 text', { cause });
  }
}
